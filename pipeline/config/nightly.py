"""`plan`, `window`, `retry`, `work`: how a night goes about it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
)

from pipeline.config.values import ClockTime, Seconds, Section, Whole, Zone


class PlanConfig(Section):
    """Who is asked first where not all fit: always new customers before known ones."""

    order: Literal["oldest", "input", "likely_changed"] = "oldest"
    max_age: Seconds = (
        30 * 86_400.0
    )  # likely_changed: whoever is unseen for longer comes before all other known ones


class WindowConfig(Section):
    """The hours in which the night may call the API."""

    until: ClockTime | None = None
    timezone: Zone | None = None


class RetryConfig(Section):
    """How patient the night is."""

    max_attempts: Whole = Field(5, ge=1, le=100)
    max_wait_s: Seconds = 120.0
    outage_s: Seconds = 900.0
    fresh_for: Seconds = 12 * 3600.0


class WorkConfig(Section):
    """Where the journal lies: raw answers, private."""

    path: Path = Path("work")
    keep_nights: Whole = Field(7, ge=1)
