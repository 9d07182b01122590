"""Who is asked tonight, in which order, and when it ends. Plain arithmetic on IDs, quota and window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from pipeline.config import LimitConfig

Ints = npt.NDArray[Any]
SPREAD_S = 3600.0
"""Limits over longer windows than this are a budget that a night may spend at once (fetch/quota.py)."""
NIGHT_HOURS = 12
"""Without a window, an unfinished night is gone on with for so long after it began."""

A_CENTURY_S = 100 * 365 * 86_400
"""Later than this no end is told: calendars end before some quotas do."""


@dataclass(frozen=True)
class LastSeen:
    """When each known customer last answered: IDs sorted, times in µs since 1970 (0: never)."""

    customer_ids: Ints
    fetched_at: Ints

    def of(self, customer_ids: Ints) -> Ints:
        """The times for these IDs; 0 for those that never answered."""
        if not len(self.customer_ids):
            return np.zeros(len(customer_ids), np.int64)
        at = np.minimum(np.searchsorted(self.customer_ids, customer_ids), len(self.customer_ids) - 1)
        times: Ints = np.where(self.customer_ids[at] == customer_ids, self.fetched_at[at], 0)
        return times


@dataclass(frozen=True)
class Plan:
    """What tonight can cover. `fits` is None where no window ends the night."""

    ids: int
    done: int
    due: int
    asked: int
    calls_per_s: float
    seconds_needed: float
    fits: int | None
    ends_at: datetime
    window_ends: datetime | None

    @property
    def deferred(self) -> int:
        """IDs that this plan leaves for another night."""
        return self.due - self.asked


def calls_per_second(limits: Sequence[LimitConfig]) -> float:
    """What all limits together allow in the long run."""
    return min((limit.calls / limit.per_s for limit in limits), default=float("inf"))


def calls_within(seconds: float, limits: Sequence[LimitConfig], spent: Sequence[float] = ()) -> float:
    """How many calls fit. `spent` are the ages in seconds of calls that still count: a day's budget knows them."""
    fits = [
        seconds * limit.calls / limit.per_s
        if limit.per_s <= SPREAD_S
        else limit.calls * max(1.0, seconds / limit.per_s) - sum(age < limit.per_s for age in spent)
        for limit in limits
    ]
    return max(0.0, min(fits, default=float("inf")))


def seconds_for(calls: float, limits: Sequence[LimitConfig], spent: Sequence[float] = ()) -> float:
    """How long so many calls take at the least."""
    needed = [0.0]
    for limit in limits:
        if limit.per_s <= SPREAD_S:
            needed.append(calls * limit.per_s / limit.calls)
        else:
            at_once = limit.calls - sum(age < limit.per_s for age in spent)
            needed.append(max(0.0, calls - at_once) * limit.per_s / limit.calls)
    return max(needed)


def make_plan(
    *,
    ids: int,
    due: int,
    limit: int | None,
    limits: Sequence[LimitConfig],
    now: datetime,
    window_ends: datetime | None,
    calls_per_id: float = 1.0,
    spent: Sequence[float] = (),
) -> Plan:
    """The plan for `due` of `ids` IDs. `limit` caps how many are asked; `calls_per_id` counts retries in."""
    now, pace = now.astimezone(UTC), calls_per_second(limits)
    wanted = due if limit is None else min(due, limit)
    fits = None
    if window_ends is not None:
        seconds = max(0.0, (window_ends - now).total_seconds())
        calls = calls_within(seconds, limits, spent) if seconds else 0.0
        fits = due if calls == float("inf") else int(calls / calls_per_id)
    asked = wanted if fits is None else min(wanted, fits)
    needed = seconds_for(asked * calls_per_id, limits, spent)
    return Plan(
        ids=ids,
        done=ids - due,
        due=due,
        asked=asked,
        calls_per_s=pace,
        seconds_needed=needed,
        fits=fits,
        ends_at=now + timedelta(seconds=min(needed, A_CENTURY_S)),
        window_ends=window_ends,
    )


def in_order(due: Ints, plan: Plan, last_seen: LastSeen) -> Ints:
    """The IDs to ask: as given when all are asked; else new customers first, then the longest unseen."""
    if plan.asked >= len(due):
        return due
    order: Ints = due[np.argsort(last_seen.of(due), kind="stable")][: plan.asked]
    return order


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
