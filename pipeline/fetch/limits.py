"""What the API allows, and when: limits, and the timetable that says which of them hold at a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Protocol
from zoneinfo import ZoneInfo

from pipeline.config import LimitConfig, QuotaConfig

PACED_S = 3600.0
"""A longer window (a day's budget) is only counted, not spread evenly: the night may spend it in its first hours."""
DAY_S = 86_400.0
GUARD_S = 5.0
"""By so much the server's clock may differ from ours where a fixed window ends."""
LOOK_AHEAD = timedelta(days=2)


@dataclass(frozen=True)
class Limit:
    """`calls` in any `per_s` seconds, as the server counts them; `is_fixed`: from one multiple of them to the next."""

    calls: int
    per_s: float
    is_fixed: bool = False

    @property
    def is_paced(self) -> bool:
        """Whether its calls are spread evenly."""
        return self.per_s <= PACED_S

    @property
    def starts_anew(self) -> bool:
        """Whether calls before the clock's last multiple of `per_s` count no more.

        A short fixed window is kept as a sliding one. That is always safe, because a stretch of the clock is one of
        those that a sliding window keeps; and to trust the clock would gain nothing where calls are spread evenly,
        but lose the limit where the server's clock is off by a second. A window that does not divide a day is kept
        as a sliding one too: nobody knows from which day it is counted.
        """
        return self.is_fixed and not self.is_paced and DAY_S % self.per_s == 0


class Timetable(Protocol):
    """Which limits hold at a moment, and until when."""

    @property
    def every(self) -> Sequence[Limit]:
        """All limits that ever hold."""

    @property
    def zone(self) -> ZoneInfo | None:
        """Whose midnight fixed windows count from; None for the machine's."""

    def limits(self, moment: datetime) -> Sequence[Limit]:
        """Those that hold now."""

    def next_change(self, moment: datetime) -> datetime | None:
        """When others may hold; None for never."""


@dataclass(frozen=True)
class Always:
    """The same limits at any time."""

    every: Sequence[Limit]
    zone: ZoneInfo | None = None

    def limits(self, moment: datetime) -> Sequence[Limit]:
        """All of them."""
        return self.every

    def next_change(self, moment: datetime) -> datetime | None:
        """Never."""
        return None


@dataclass(frozen=True)
class ByCalendar:
    """The limits of the config, by its calendar, the reserved share taken off."""

    quota: QuotaConfig
    zone: ZoneInfo | None

    @property
    def every(self) -> Sequence[Limit]:
        """Those of the calendar and those of the other hours; the reserved share included."""
        found = chain(self.quota.limits, *(hours.limits for hours in self.quota.calendar))
        return list(map(_limit, found))

    def limits(self, moment: datetime) -> Sequence[Limit]:
        """What may be used at a moment."""
        return list(map(_limit, self.quota.limits_at(moment, self.zone)))

    def next_change(self, moment: datetime) -> datetime | None:
        """The next moment at which others hold; two days on, where it is later than that."""
        if not self.quota.calendar:
            return None
        _, until, _ = next(self.quota.spans(moment, moment + LOOK_AHEAD, self.zone))
        return until


def _limit(limit: LimitConfig) -> Limit:
    return Limit(limit.calls, limit.per_s, limit.window == "fixed")


def fixed_window(limit: Limit, moment: datetime, zone: ZoneInfo | None) -> tuple[datetime, datetime]:
    """From when to when calls count together (UTC), for a limit that starts anew.

    It begins `GUARD_S` late by our clock and counts what was called in the `GUARD_S` before: whichever way the
    server's clock is off, a call near the boundary counts in both windows, as it may there.
    """
    config = LimitConfig(calls=limit.calls, per_s=limit.per_s, window="fixed")
    guard = timedelta(seconds=GUARD_S)
    began = config.window_began(moment - guard, zone)
    # Half a window later, too, because the zone's clocks may be put forward or back in between.
    ends = config.window_began(began + timedelta(seconds=1.5 * limit.per_s), zone)
    return began - guard, ends + guard


def utc_now() -> datetime:
    """The machine's clock on the wall."""
    return datetime.fromtimestamp(time.time(), UTC)  # where `time` is hurried, this is too


Wall = Callable[[], datetime]
