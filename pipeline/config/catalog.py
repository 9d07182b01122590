"""`output.catalog`: who knows the Iceberg tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from pipeline.config.secrets import SecretSource
from pipeline.config.values import Section, Variable, Word, is_loopback

_SECRETIVE = re.compile(r"secret|password|token|credential|access-key|account-key|sas", re.IGNORECASE)
_NAMESPACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class _Catalog(Section):
    """What both kinds have. `namespace` may have levels, with dots between them."""

    namespace: Word = "capillary"
    properties: dict[Word, str] = {}

    @field_validator("namespace")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAMESPACE.fullmatch(value):
            raise ValueError("must be a name of letters, digits and _, with dots between levels")
        return value

    @field_validator("properties")
    @classmethod
    def _holds_no_secret(cls, value: dict[str, str]) -> dict[str, str]:
        if found := next((key for key in value if _SECRETIVE.search(key)), None):
            raise ValueError(f"must hold no secret ({found}): credentials come from the environment")
        return value


class SqlCatalogConfig(_Catalog):
    """Tables in a database, by SQLAlchemy: one file on a disk, or PostgreSQL."""

    kind: Literal["sql"]
    name: Word = "capillary"  # several catalogs may share a database
    uri: Word | None = None
    uri_env: Variable | None = Field(None, validate_default=True)

    @field_validator("uri")
    @classmethod
    def _is_a_database(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "sqlite:////")
        if not parts.scheme or (
            parts.scheme == "sqlite" and not (value or "sqlite:////").startswith("sqlite:////")
        ):
            raise ValueError(
                "must be SQLAlchemy's, such as sqlite:////whole/path/catalog.db or postgresql://host/db"
            )
        if parts.password:
            raise ValueError("must hold no password: name a variable that holds the whole URI in uri_env")
        return value

    @field_validator("uri_env")
    @classmethod
    def _is_the_only_one(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (value is None) == (info.data.get("uri", "mistaken") is None):
            raise ValueError("needs exactly one of uri and uri_env")
        return value

    def secret(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The whole URI. Raises UsageError."""
        if self.uri_env is None:
            return {"uri": self.uri or ""}
        return {"uri": SecretSource(env=self.uri_env).read("output.catalog.uri", environ).get_secret_value()}


class RestCatalogConfig(_Catalog):
    """An Iceberg REST catalog: Polaris, Lakekeeper, Nessie, Unity, S3 Tables, Glue."""

    kind: Literal["rest"]
    allow_http: bool = False  # plain http elsewhere than on this machine
    uri: Word
    warehouse: Word | None = None
    location: Word | None = None
    credential_env: Variable | None = None
    credential_file: Path | None = None
    token_env: Variable | None = None
    token_file: Path | None = Field(None, validate_default=True)

    @field_validator("uri")
    @classmethod
    def _is_safe(cls, value: str, info: ValidationInfo) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) URL")
        if parts.scheme == "http" and not (is_loopback(parts.hostname) or info.data.get("allow_http")):
            raise ValueError("must be https, but to this machine (allow_http: true allows it elsewhere)")
        if parts.username or parts.password:
            raise ValueError("must hold no user or password: use credential_env or token_env")
        return value.rstrip("/")

    @field_validator("token_file")
    @classmethod
    def _has_one_source(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        names = ("credential_env", "credential_file", "token_env")
        if sum(info.data.get(name) is not None for name in names) + (value is not None) > 1:
            raise ValueError("needs at most one of credential_env, credential_file, token_env and token_file")
        return value

    def secret(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What the catalog is told of who we are: `credential` or `token`, or nothing. Raises UsageError."""
        found: dict[str, SecretStr] = {}
        for name, env, file in (
            ("credential", self.credential_env, self.credential_file),
            ("token", self.token_env, self.token_file),
        ):
            if env or file:
                found[name] = SecretSource(env=env, file=file).read(f"output.catalog.{name}", environ)
        return {name: secret.get_secret_value() for name, secret in found.items()}


CatalogConfig = Annotated[SqlCatalogConfig | RestCatalogConfig, Field(discriminator="kind")]
