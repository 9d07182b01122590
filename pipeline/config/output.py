"""`output`, `snapshot`: where the tables go, and what stands in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from pipeline.config.catalog import CatalogConfig
from pipeline.config.values import A_WEEK_S, Number, Seconds, Section, Whole, Word, is_loopback, with_nearest

OBJECT_STORES = ("s3", "gs", "az", "abfs", "abfss")
"""Schemes of `output.url` that name an object store."""
_ENDPOINTS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "STORAGE_EMULATOR_HOST",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
)


def allows_http(environ: Mapping[str, str] | None = None) -> bool:
    """Whether an object store may be talked to without TLS: it is on this machine, or somebody said so."""
    found = os.environ if environ is None else environ
    if any(
        found.get(f"{cloud}_ALLOW_HTTP", "").lower() in ("1", "true") for cloud in ("AWS", "GOOGLE", "AZURE")
    ):
        return True
    plain = [found[name] for name in _ENDPOINTS if found.get(name, "").startswith("http://")]
    return bool(plain) and all(is_loopback(urlsplit(url).hostname or "") for url in plain)


class OutputConfig(Section):
    """Where the tables go."""

    url: Word = "export"
    format: Literal["parquet", "delta", "iceberg"] = "parquet"
    catalog: CatalogConfig | None = Field(None, validate_default=True)
    tables: Literal["all"] | list[str] = "all"
    keep_snapshots: Whole = Field(7, ge=1)
    keep_days: Number = Field(0, ge=0)
    grace: Seconds = Field(3600.0, ge=0, le=A_WEEK_S)
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    keep_offsets: bool = False
    drift: dict[Word, Literal["keep", "fail"]] = {}

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        scheme, slashes, rest = value.partition("://")
        if not slashes:
            return value
        if scheme == "file" and rest.startswith("/"):
            return rest
        parts = urlsplit(value)
        if scheme not in OBJECT_STORES or not parts.hostname:
            schemes = ", ".join(f"{one}://" for one in OBJECT_STORES)
            raise ValueError(f"must be a folder, file:///folder, or a bucket and prefix by {schemes}")
        if parts.query or parts.fragment or parts.password or ("@" in rest and "abfs" not in scheme):
            raise ValueError("must hold no key, user or query: credentials come from the environment")
        return value.rstrip("/")

    @field_validator("catalog")
    @classmethod
    def _belongs_to_the_format(
        cls, value: CatalogConfig | None, info: ValidationInfo
    ) -> CatalogConfig | None:
        """A catalog is Iceberg's; on a disk it has one of its own where none is named."""
        kind, url = info.data.get("format"), info.data.get("url", "")
        if value is not None and kind in ("parquet", "delta"):
            raise ValueError("is for format: iceberg only")
        if value is None and kind == "iceberg" and "://" in url:
            raise ValueError(
                "must be given where the tables lie in an object store: {kind: rest, uri: …} or sql"
            )
        return value

    @field_validator("tables", "drift")
    @classmethod
    def _tables_are_known(cls, value: Iterable[str], info: ValidationInfo) -> Iterable[str]:
        known: Iterable[str] = (info.context or {}).get("tables", ())
        unknown = [name for name in value if name not in known] if known and value != "all" else []
        if unknown:
            told = with_nearest(unknown, known)
            raise ValueError(f"there is no table {told}; `capillary-export tables` lists them")
        return value


class SnapshotConfig(Section):
    """What stands in a snapshot: the last one's rows and tonight's, or tonight's alone; who stays without an answer."""

    mode: Literal["merge", "full"] = "merge"
    absent: Literal["keep", "drop"] = "keep"
    failed: Literal["keep", "drop"] = "keep"
    changes: bool = False
