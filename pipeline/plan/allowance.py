"""How many calls the quota lets through by when: its calendar, its budgets, what was spent of them already."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from pipeline.config import LimitConfig, QuotaConfig

Floats = npt.NDArray[Any]
PACED_S = 3600.0
"""Limits over longer windows than this are a budget that a night may spend in its first hours (fetch/quota.py)."""
DAY_S = 86_400
STEP = timedelta(hours=1)
MOST_STEPS = 24 * 35
"""So many hours are looked at one by one; what comes later goes on at the pace of the last week of them."""
WEEK_STEPS = 24 * 7


class Stretch(NamedTuple):
    """Some time with the same limits: so many calls are let through, at this pace while they last."""

    start: datetime
    end: datetime
    calls: float
    calls_per_s: float


@dataclass(frozen=True)
class Allowance:
    """What may be called from `start` (UTC) on.

    `spent` are the ages in seconds of the calls that earlier starts made; `most_per_s` is what the calls in flight
    and their latency let through, whatever the quota.
    """

    quota: QuotaConfig
    zone: ZoneInfo | None
    start: datetime
    spent: Floats = field(default_factory=lambda: np.empty(0))
    most_per_s: float = math.inf

    def calls_until(self, end: datetime) -> float:
        """How many calls are let through before `end`; infinite where nothing limits them."""
        if self._is_steady:
            return _product(max(0.0, (end - self.start).total_seconds()), self._pace(self.start))
        stretches = list(islice(self._stretches(end), MOST_STEPS))
        calls = sum(one.calls for one in stretches)
        rest = (end - stretches[-1].end).total_seconds() if stretches else 0.0
        return calls + _product(max(0.0, rest), self._in_the_long_run(stretches))

    def seconds_for(self, calls: float) -> float:
        """How long so many calls take at the least."""
        if calls <= 0:
            return 0.0
        if self._is_steady:
            return calls / self._pace(self.start)
        left, stretches = calls, []
        for one in islice(self._stretches(None), MOST_STEPS):
            stretches.append(one)
            if one.calls >= left:
                return (one.start - self.start).total_seconds() + left / one.calls_per_s
            left -= one.calls
        past = (stretches[-1].end - self.start).total_seconds()
        return past + left / self._in_the_long_run(stretches)

    def _in_the_long_run(self, stretches: Sequence[Stretch]) -> float:
        """Calls per second beyond these stretches: as in their last week, and as the budgets have it."""
        if not stretches:
            return 0.0
        budgets = [one for one in self.quota.limits_at(stretches[-1].start, self.zone) if one.per_s > PACED_S]
        return min([_average_pace(stretches[-WEEK_STEPS:]), *(one.calls / one.per_s for one in budgets)])

    def pace(self) -> float:
        """Calls per second that the short limits let through at the start; infinite without any."""
        return self._pace(self.start)

    @property
    def _is_steady(self) -> bool:
        """Whether the same pace holds for good."""
        return not self.quota.calendar and all(one.per_s <= PACED_S for one in self.quota.limits)

    def _pace(self, moment: datetime) -> float:
        """Calls per second that the short limits let through."""
        return _paced(self.quota.limits_at(moment, self.zone), self.most_per_s)

    def _stretches(self, end: datetime | None) -> Iterator[Stretch]:
        """Hour by hour, and shorter where the limits change."""
        at, made = self.start, list[Stretch]()
        while end is None or at < end:
            _, until, limits = next(self.quota.spans(at, at + STEP, self.zone))
            until = until if end is None else min(until, end)
            pace = _paced(limits, self.most_per_s)
            budgets = [one for one in limits if one.per_s > PACED_S]
            until = min([until, *(self._anew(one, at) for one in budgets if _starts_anew(one))])
            calls = _product((until - at).total_seconds(), pace)
            calls = max(0.0, min([calls, *(self._left(one, at, made) for one in budgets)]))
            made.append(Stretch(at, until, calls, pace))
            yield made[-1]
            at = until

    def _anew(self, budget: LimitConfig, at: datetime) -> datetime:
        """When a fixed budget's next window begins."""
        began = budget.window_began(at, self.zone)
        later = began + timedelta(seconds=1.5 * budget.per_s)  # the zone's clocks may jump in between
        return budget.window_began(later, self.zone)

    def _left(self, budget: LimitConfig, at: datetime, made: Sequence[Stretch]) -> float:
        """What is left of a budget at a moment. Calls of a stretch count until the last of them is old enough."""
        is_fixed = _starts_anew(budget)
        since = budget.window_began(at, self.zone) if is_fixed else at - timedelta(seconds=budget.per_s)
        age = (self.start - since).total_seconds()
        earlier = np.count_nonzero(self.spent < age)
        return budget.calls - earlier - sum(one.calls for one in made if one.end > since)


def _starts_anew(budget: LimitConfig) -> bool:
    """Whether a fixed window's beginning is known: one that does not divide a day is kept as a sliding one."""
    return budget.window == "fixed" and DAY_S % budget.per_s == 0


def _paced(limits: Sequence[LimitConfig], most_per_s: float) -> float:
    return min([most_per_s, *(one.calls / one.per_s for one in limits if one.per_s <= PACED_S)])


def _product(seconds: float, pace: float) -> float:
    """No time lets nothing through, however fast."""
    return seconds * pace if seconds else 0.0


def _average_pace(stretches: Sequence[Stretch]) -> float:
    lengths = [(one.end - one.start).total_seconds() for one in stretches]
    return sum(one.calls_per_s * length for one, length in zip(stretches, lengths, strict=True)) / sum(
        lengths
    )
