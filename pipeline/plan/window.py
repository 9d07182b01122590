"""The hours of a night: when its window ends, which date it has, until when it is gone on with."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NIGHT_HOURS = 12
"""Without a window, an unfinished night is gone on with for so long after it began."""


def window_end(started: datetime, until: time | None, zone: ZoneInfo | None) -> datetime | None:
    """The first `until` o'clock after the night's start, in the window's zone; None without a window.

    In UTC, because subtracting two times of one zone forgets what its clocks do in between.
    """
    if until is None:
        return None
    day = started.astimezone(zone).date()
    days = (datetime.combine(day + timedelta(days=later), until) for later in (0, 1, 2))
    ends = (_instant(clock, zone) for clock in days)
    return next(end for end in ends if end > started)


def _instant(clock: datetime, zone: ZoneInfo | None) -> datetime:
    """The moment when the zone's clocks (the machine's without one) show this; the first of two."""
    local = clock.astimezone() if zone is None else clock.replace(tzinfo=zone)
    return local.astimezone(UTC)


def night_of(now: datetime, zone: ZoneInfo | None) -> date:
    """The local date on which a night that begins now begins."""
    return now.astimezone(zone).date()


def goes_on_until(started: datetime, until: time | None, zone: ZoneInfo | None) -> datetime:
    """Until when `run` goes on with an unfinished night."""
    return window_end(started, until, zone) or started + timedelta(hours=NIGHT_HOURS)
