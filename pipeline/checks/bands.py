"""Where a number may lie: around the median of the last good nights, by their spread; never narrower than a floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from pipeline.checks.rules import Rule, Unit
from pipeline.store.history import Measurements

RECENT = 14
"""So many good nights make a band."""
SAME_WEEKDAY = 6
"""From so many nights of tonight's weekday on, only these make it."""
ENOUGH = 3
"""Of fewer nights nobody knows the spread: the band is twice as wide."""
ACCEPTED = 45
"""Nights for which a forced night's number goes on being let through."""
_MAD_TO_SIGMA = 1.4826
_LONGEST_GAP = 5.0
_FIRST_RATE = 0.15
"""How many of a column's rows may change or fall in a day, before enough nights have told; and how many may change
however short the time was.
"""
_FIRST_CHANGED = 0.6
_HANDFUL = 10
FEWEST = 30
"""A number that fewer customers are behind, tonight and before, says nothing."""


@dataclass(frozen=True)
class Width:
    """How wide a rule's bands are: never narrower than `floor` on either side, nor than so many `spreads`."""

    rule: Rule
    floor: float
    spreads: float = 5.0


@dataclass(frozen=True)
class Band:
    """From `low` to `high`, and the numbers of the nights that made it, newest first."""

    low: float
    high: float
    nights: tuple[float, ...] = ()

    def excess(self, value: float) -> float:
        """How far outside, in widths of the band; 0 inside."""
        width = min(self.high, 1e9) - max(self.low, -1e9)
        return max(self.low - value, value - self.high, 0.0) / max(width, 1e-9)


@dataclass(frozen=True)
class Past:
    """One number's past: (value, customers behind it, days between answers) of good nights, newest first.

    `accepted` are the numbers of nights that a person published although they were out of their band.
    """

    values: tuple[tuple[float, int, float], ...]
    accepted: tuple[float, ...] = ()

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values alone."""
        return tuple(value for value, _, _ in self.values)

    @property
    def customers(self) -> float:
        """How many customers were usually behind it."""
        return float(np.median([count for _, count, _ in self.values])) if self.values else 0.0


def past_levels(nights: Sequence[Measurements], rule: Rule, subject: str, weekday: int) -> Past:
    """A level's past. It begins anew at a night that was published although this number was out of its band."""
    told = list(_told(nights, rule, subject, drifts=False))
    same = [one for night, one in told if night.night.weekday() == weekday]
    chosen = same if len(same) >= SAME_WEEKDAY else [one for _, one in told][:RECENT]
    return Past(tuple(chosen))


def past_drifts(nights: Sequence[Measurements], rule: Rule, subject: str) -> Past:
    """A drift's past. What a person let through once is let through again: the other customers' turn comes yet."""
    told = list(_told(nights[:ACCEPTED], rule, subject, drifts=True))
    accepted = tuple(
        one[0] for night, one in told if night.forced_reason and _name(rule, subject) in night.failed
    )
    usual = [one for night, one in told if _name(rule, subject) not in night.failed]
    return Past(tuple(usual[:RECENT]), accepted)


def _told(
    nights: Sequence[Measurements], rule: Rule, subject: str, *, drifts: bool
) -> Iterator[tuple[Measurements, tuple[float, int, float]]]:
    for night in nights:
        found = (night.drifts if drifts else night.levels).get(rule.name, {}).get(subject)
        if found is not None:
            yield night, (*found, night.gap_days)
        if not drifts and _name(rule, subject) in night.failed:
            return


def _name(rule: Rule, subject: str) -> str:
    return f"{rule.name}: {subject}"


def level_band(width: Width, past: Past, customers: int) -> Band | None:
    """Where a level may lie; None without a past."""
    if not past.values:
        return None
    rule, (center, spread) = width.rule, _center(past.numbers)
    others = past.customers
    noise = _noise(rule, center, max(customers, others)) + _noise(rule, center, others)
    half = max(width.floor * _caution(past), width.spreads * spread, noise)
    return _sided(rule, center - half, center + half, past)


def drift_band(width: Width, past: Past, customers: int, gap_days: float, chance: float = 0.0) -> Band:
    """Where a drift may lie: around its usual one, the wider the longer ago the customers answered last; never
    narrower than `chance` on either side.
    """
    rule, (center, spread) = width.rule, _center(past.numbers) if past.values else (0.0, 0.0)
    usual_gap = float(np.median([one[2] for one in past.values])) if past.values else 1.0
    longer = min(max(1.0, gap_days / max(usual_gap, 1.0)), _LONGEST_GAP)
    half = max(
        (width.floor * _caution(past) + width.spreads * spread) * longer, _few(rule, customers), chance
    )
    low, high = min(0.0, center) - half, max(0.0, center) + half
    for value in past.accepted:
        low, high = min(low, value - half), max(high, value + half)
    return _sided(rule, low, high, past)


def rate_band(width: Width, past: Past, customers: int, gap_days: float) -> Band | None:
    """Where a share may lie that grows with the days between two answers; None where nothing can be said yet."""
    rule, floor = width.rule, width.floor
    rates = [_rate(value, gap) for value, _, gap in past.values]
    if rule.side == "below":
        return _least(rates, past, customers, gap_days) if len(rates) >= ENOUGH else None
    center, spread = _center(rates) if rates else (0.0, 0.0)
    usual = _over(min(1.0, center + width.spreads * spread), gap_days)
    high = max(1.5 * usual, usual + floor * _caution(past), usual + _few(rule, customers))
    if len(rates) < ENOUGH:
        least = _FIRST_CHANGED if rule.name == "changed" else 0.0
        high = max(high, least, _over(_FIRST_RATE, gap_days) + 2 * floor)
    return Band(-inf, _raised(high, past, floor), past.numbers)


def _raised(high: float, past: Past, floor: float) -> float:
    return max([high, *(value + floor for value in past.accepted)])


def _least(rates: Sequence[float], past: Past, customers: int, gap_days: float) -> Band | None:
    """A quarter of the usual, where the usual is worth speaking of."""
    usual = _over(_center(rates)[0], gap_days)
    return Band(usual / 4, inf, past.numbers) if usual * customers >= 2 * _HANDFUL else None


def _rate(share: float, gap_days: float) -> float:
    """A share changed in so many days, as a rate a day."""
    return 1.0 - float((1.0 - min(share, 1.0)) ** (1.0 / max(gap_days, 0.5)))


def _over(rate: float, gap_days: float) -> float:
    return 1.0 - float((1.0 - rate) ** max(gap_days, 0.5))


def _center(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the spread as a standard deviation would tell it, by the median distance from it."""
    center = float(np.median(values))
    return center, _MAD_TO_SIGMA * float(np.median(np.abs(np.array(values) - center)))


def _caution(past: Past) -> float:
    return 1.0 if len(past.values) >= ENOUGH else 2.0


def _noise(rule: Rule, center: float, customers: float) -> float:
    """How far so few customers may stray by chance."""
    if rule.unit is Unit.SHARE:
        share = (
            min(max(center, 1 / (customers + 1)), 0.5)
            if center <= 0.5
            else max(1 - center, 1 / (customers + 1))
        )
        return 4 * sqrt(share * (1 - share) / max(1.0, customers))
    return 2 * max(1.0, rule.noise) / sqrt(max(1.0, customers))


def _few(rule: Rule, customers: int) -> float:
    """What a handful of customers may do."""
    return _HANDFUL / max(1, customers) if rule.unit is Unit.SHARE else rule.noise / sqrt(max(1, customers))


def _sided(rule: Rule, low: float, high: float, past: Past) -> Band:
    if rule.side == "above":
        low = -inf
    if rule.side == "below":
        high = inf
    return Band(low, high, past.numbers)
