"""`quota`: what the API allows, by hour and in all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
)

from pipeline.config.values import A_MONTH_S, ClockTime, Number, Seconds, Section, Whole

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - midnight by any zone's clocks


class LimitConfig(Section):
    """So many calls in any so many seconds; in a `fixed` window, from one multiple of them to the next.

    Fixed windows begin at midnight of `window.timezone`: a day's budget that starts anew each night is one.
    """

    calls: Whole = Field(ge=1, le=10_000_000)
    per_s: Seconds = Field(60.0, gt=0, le=A_MONTH_S)
    window: Literal["sliding", "fixed"] = "sliding"

    def window_began(self, moment: datetime, zone: ZoneInfo | None) -> datetime:
        """When the fixed window that holds at a moment began, in UTC; by the zone's clocks, whatever they jump."""
        local = moment.astimezone(zone).replace(tzinfo=None)
        seconds = (local - _EPOCH).total_seconds() // self.per_s * self.per_s
        began = _EPOCH + timedelta(seconds=seconds)
        return (began.replace(tzinfo=zone) if zone else began.astimezone()).astimezone(UTC)


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class HoursConfig(Section):
    """Other limits from one time of day to another, on some days; `to` may be on the next morning."""

    from_: ClockTime = Field(alias="from")
    to: ClockTime
    days: list[Weekday] = Field(list(WEEKDAYS), min_length=1)  # on which it begins
    limits: list[LimitConfig] = Field(min_length=1)

    def holds_at(self, local: datetime) -> bool:
        """Whether these hours are now, by the clock and the day of the window's zone."""
        clock, day = local.time(), local.weekday()
        if self.from_ < self.to:
            return self.from_ <= clock < self.to and WEEKDAYS[day] in self.days
        began = day if clock >= self.from_ else (day - 1) % 7
        return (clock >= self.from_ or clock < self.to) and WEEKDAYS[began] in self.days


class QuotaConfig(Section):
    """What the API allows. Without limits given: 60 calls a minute, which every brand has."""

    limits: list[LimitConfig] = [LimitConfig(calls=60, per_s=60)]
    calendar: list[HoursConfig] = []  # the first whose hours are now counts, else `limits`
    reserved_share: Number = Field(0.0, ge=0, lt=1)  # of every limit, left to others who use the same key
    max_in_flight: Whole = Field(64, ge=1, le=2048)

    def limits_at(self, moment: datetime, zone: ZoneInfo | None) -> list[LimitConfig]:
        """What this night may use of each limit at a moment, the reserved share taken off."""
        local = moment.astimezone(zone)
        hours = next((hours.limits for hours in self.calendar if hours.holds_at(local)), self.limits)
        return [_less(limit, self.reserved_share) for limit in hours]

    def spans(
        self, start: datetime, end: datetime, zone: ZoneInfo | None
    ) -> Iterator[tuple[datetime, datetime, list[LimitConfig]]]:
        """The stretches of `start` … `end` (UTC) with the limits of each, in order."""
        began, limits = start, self.limits_at(start, zone)
        for moment in _clock_changes(self.calendar, start, end, zone):
            now = self.limits_at(moment, zone)
            if now != limits:
                yield began, moment, limits
                began, limits = moment, now
        yield began, end, limits


def _less(limit: LimitConfig, share: float) -> LimitConfig:
    """What is left of a limit; one call at the least."""
    if not share:
        return limit
    return limit.model_copy(update={"calls": max(1, math.floor(limit.calls * (1 - share) + 1e-9))})


def _clock_changes(
    calendar: Sequence[HoursConfig], start: datetime, end: datetime, zone: ZoneInfo | None
) -> list[datetime]:
    """The moments between `start` and `end` at which some hours begin or end, in order."""
    clocks = {clock for hours in calendar for clock in (hours.from_, hours.to)}
    first = start.astimezone(zone).date() - timedelta(days=1)
    days = (first + timedelta(days=later) for later in range((end - start).days + 4))
    moments = {
        datetime.combine(day, clock, zone).astimezone(UTC)
        if zone
        else datetime.combine(day, clock).astimezone(UTC)
        for day in days
        for clock in clocks
    }
    return sorted(moment for moment in moments if start < moment < end)
