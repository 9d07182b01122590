"""In which order IDs are asked for: those come first whose answers are worth most, for the night may not reach all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import PlanConfig
from pipeline.store.columns import column_of, let_go, slices
from pipeline.store.knowledge import Knowledge

Ints = npt.NDArray[Any]
DAY_S = 86_400
AT_ONCE = 1 << 18
"""So many due IDs are looked at at a time."""
PRIOR_DAYS = 30.0
"""A customer's own changes weigh as much as the base's average once it was watched for so long."""


@dataclass(frozen=True)
class Candidates:
    """Due customers that answered before, and what is known of them."""

    places: Ints  # in the array of due IDs
    seen_at: Ints  # uint32, seconds since 1970
    watched_days: Ints  # float32, between the first and the last answer
    changes: Ints
    next_dates: Ints  # days since 1970; 0: none

    def age_days(self, now: datetime) -> Ints:
        """How long ago each answered; not below 0, clocks having been set."""
        found: Ints = np.maximum(0.0, now.timestamp() - self.seen_at).astype(np.float32) / DAY_S
        return found


def in_order(
    due: Ints, knowledge: Knowledge, config: PlanConfig, now: datetime, scratch: Path | None = None
) -> Ints:
    """The due IDs in the order to ask. New customers come first, in input order; then the known ones by `order`.

    A long array lies in a file in `scratch` (`store.columns`).
    """
    if config.order == "input" or not len(due):
        return due
    fresh = np.concatenate([new for new, _ in _told_apart(due, knowledge)])
    rest = _ORDERS[config.order](lambda: (known for _, known in _told_apart(due, knowledge)), config, now)
    let_go()
    ordered = (due[places[one]] for places in (fresh, rest) for one in slices(len(places)))
    return column_of(ordered, scratch)


Known = Callable[[], Iterator[Candidates]]
"""Tells of all due customers that answered before, some at a time; from the first again with each call."""


def _told_apart(due: Ints, knowledge: Knowledge) -> Iterator[tuple[Ints, Candidates]]:
    """The places of those who never answered, and what is known of the others; some at a time."""
    for one in slices(len(due), AT_ONCE):
        at, is_known = knowledge.places_of(due[one])
        if len(knowledge):
            is_known &= knowledge.seen_at[at] > 0
        places, at = np.flatnonzero(is_known), at[is_known]
        seen_at = knowledge.seen_at[at]
        yield (
            (np.flatnonzero(~is_known) + one.start).astype(np.uint32),
            Candidates(
                (places + one.start).astype(np.uint32),
                seen_at,
                (seen_at - knowledge.first_seen_at[at]).astype(np.float32)
                / DAY_S,  # unsigned, but never below 0
                knowledge.changes[at],
                knowledge.next_dates[at],
            ),
        )


def _oldest(known: Known, _config: PlanConfig, _now: datetime) -> Ints:
    """The longest unseen first."""
    return _sorted((one.seen_at, one.places) for one in known())


def _likely_changed(known: Known, config: PlanConfig, now: datetime) -> Ints:
    """Those most likely to have changed first, but nobody is forgotten.

    Nobody stays unseen for longer than `max_age`: who is older comes first, and after them as many of the longest
    unseen as fall due in one day, so that they never pile up. That holds where the quota allows so many a night.
    """
    max_age = config.max_age / DAY_S
    too_old = sum(int(np.count_nonzero(one.age_days(now) > max_age)) for one in known())
    by_age = _oldest(known, config, now)
    turn = too_old + int(np.ceil(len(by_age) / max(1.0, max_age)))
    others = by_age[turn:]
    chances = np.zeros(int(by_age.max(initial=0)) + 1, np.float32)
    average = average_rate(known())
    for some in known():
        chances[some.places] = change_chance(some, average, now)
    likely = _sorted(
        (_falling(chances[others[one]]), np.arange(one.start, one.stop))
        for one in slices(len(others), AT_ONCE)
    )
    return np.concatenate([by_age[:turn], others[likely]])


def _sorted(several: Iterable[tuple[Ints, Ints]]) -> Ints:
    """Places by the keys beside them, both of 32 bits; those of equal keys ascending.

    Sorted are single numbers of both: that takes a third of the memory that `argsort` and its result do.
    """
    found = [np.empty(0, np.uint64)]
    for keys, places in several:
        found.append(keys.astype(np.uint64) << np.uint64(32) | places.astype(np.uint64))
    both = np.concatenate(found)
    found.clear()
    both.sort()
    return both.astype(np.uint32)


def _falling(values: Ints) -> Ints:
    """Keys for the largest first: the bits of numbers that are not below 0 are in their order."""
    keys: Ints = ~np.ascontiguousarray(values, np.float32).view(np.uint32)
    return keys


def average_rate(known: Iterable[Candidates]) -> float:
    """Changes a day, of a customer of the base."""
    watched = changes = 0.0
    for one in known:
        watched += float(one.watched_days.sum(dtype=np.float64))
        changes += float(one.changes.sum(dtype=np.int64))
    return (changes + 1.0) / (max(1.0, watched) + PRIOR_DAYS)


def change_chance(known: Candidates, average: float, now: datetime) -> Ints:
    """How likely it is that each has changed since it was seen, 0 … 1.

    Changes are taken for a Poisson process with a rate of the customer's own, estimated from how often its answers
    differed, shrunk toward the base's average (Cho and Garcia-Molina, "Estimating frequency of change", 2003). Where
    a date of the answer's own has passed since (a tier or points have expired), it has changed.
    """
    prior = np.float32(average * PRIOR_DAYS)
    rate = (known.changes.astype(np.float32) + prior) / (known.watched_days + np.float32(PRIOR_DAYS))
    chance: Ints = 1.0 - np.exp(-rate * known.age_days(now))
    today = int(now.timestamp() // DAY_S)
    has_passed = (known.next_dates > 0) & (known.next_dates <= today)
    return np.where(has_passed, np.float32(1.0), chance)


_ORDERS: dict[str, Callable[[Known, PlanConfig, datetime], Ints]] = {
    "oldest": _oldest,
    "likely_changed": _likely_changed,
}
