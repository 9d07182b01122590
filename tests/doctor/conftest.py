"""Looking at one thing at a time."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.config import Config
from pipeline.doctor import Finding, examine


def found(config: Config, what: str, now: datetime | None = None) -> list[Finding]:
    """All findings of one kind."""
    return [one for one in examine(config, now or datetime.now(UTC)) if one.what == what]


def the(config: Config, what: str, now: datetime | None = None) -> Finding:
    """The one finding of this kind."""
    (one,) = found(config, what, now)
    return one
