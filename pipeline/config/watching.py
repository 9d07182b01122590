"""`log`, `metrics`: how a night is told to whoever watches it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from pipeline.config.values import Section

TAKEN = ("check", "kind", "outcome", "quantile", "result", "severity", "state", "table", "version")
"""Labels of the metrics' own."""


class LogConfig(Section):
    """Events on stderr. `auto`: a progress display or a line a minute, and warnings as they come."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] | None = None  # default: warning with auto, else info


class MetricsConfig(Section):
    """Numbers for Prometheus and OpenTelemetry."""

    textfile: Path | None = None  # for node_exporter's collector
    otlp: str | None = None  # where an OpenTelemetry collector takes OTLP over HTTP
    labels: dict[str, str] = {}  # on every metric: what tells this export from others on the machine

    @field_validator("textfile")
    @classmethod
    def _node_exporter_reads_it(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".prom":
            raise ValueError("must end in .prom: node_exporter reads no other files")
        return value

    @field_validator("labels")
    @classmethod
    def _labels_are_words(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
                raise ValueError(f"{name!r} is no label: letters, digits and _ are")
            if name in TAKEN:
                raise ValueError(f"{name!r} is a label of the metrics' own")
        return value

    @field_validator("otlp")
    @classmethod
    def _otlp_is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("must be a plain URL, such as http://localhost:4318")
        return value.rstrip("/")
