"""In which order IDs are asked for: those come first whose answers are worth most, for the night may not reach all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import PlanConfig
from pipeline.store.knowledge import Knowledge

Ints = npt.NDArray[Any]
DAY_S = 86_400
PRIOR_DAYS = 30.0
"""A customer's own changes weigh as much as the base's average once it was watched for so long."""


@dataclass(frozen=True)
class Candidates:
    """The due customers that answered before, and what is known of them."""

    places: Ints  # in the array of due IDs
    seen_at: Ints  # uint32, seconds since 1970
    watched_days: Ints  # float32, between the first and the last answer
    changes: Ints
    next_dates: Ints  # days since 1970; 0: none

    def age_days(self, now: datetime) -> Ints:
        """How long ago each answered; not below 0, clocks having been set."""
        found: Ints = np.maximum(0.0, now.timestamp() - self.seen_at).astype(np.float32) / DAY_S
        return found


def in_order(due: Ints, knowledge: Knowledge, config: PlanConfig, now: datetime) -> Ints:
    """The due IDs in the order to ask. New customers come first, in input order; then the known ones by `order`."""
    if config.order == "input" or not len(due):
        return due
    fresh, known = _told_apart(due, knowledge)
    rest = _ORDERS[config.order](known, config, now)
    ordered: Ints = due[np.concatenate([fresh, known.places[rest]])]
    return ordered


def _told_apart(due: Ints, knowledge: Knowledge) -> tuple[Ints, Candidates]:
    """The places of those who never answered, and what is known of the others."""
    at, is_known = knowledge.places_of(due)
    is_known = is_known & (knowledge.seen_at[at] > 0) if len(knowledge.customer_ids) else is_known
    places = np.flatnonzero(is_known)
    at = at[places]
    seen_at = knowledge.seen_at[at]
    return np.flatnonzero(~is_known), Candidates(
        places,
        seen_at,
        (seen_at - knowledge.first_seen_at[at]).astype(np.float32) / DAY_S,  # unsigned, but never below 0
        knowledge.changes[at],
        knowledge.next_dates[at],
    )


def _oldest(known: Candidates, _config: PlanConfig, _now: datetime) -> Ints:
    """The longest unseen first."""
    return np.argsort(known.seen_at, kind="stable")


def _likely_changed(known: Candidates, config: PlanConfig, now: datetime) -> Ints:
    """Those most likely to have changed first, but nobody is forgotten.

    Nobody stays unseen for longer than `max_age`: who is older comes first, and after them as many of the longest
    unseen as fall due in one day, so that they never pile up. That holds where the quota allows so many a night.
    """
    age = known.age_days(now)
    max_age = config.max_age / DAY_S
    by_age = np.argsort(-age, kind="stable")
    turn = int(np.count_nonzero(age > max_age)) + int(np.ceil(len(age) / max(1.0, max_age)))
    first, others = by_age[:turn], by_age[turn:]
    chance = change_chance(known, now)[others]
    found: Ints = np.concatenate([first, others[np.argsort(-chance, kind="stable")]])
    return found


def change_chance(known: Candidates, now: datetime) -> Ints:
    """How likely it is that each has changed since it was seen, 0 … 1.

    Changes are taken for a Poisson process with a rate of the customer's own, estimated from how often its answers
    differed, shrunk toward the base's average (Cho and Garcia-Molina, "Estimating frequency of change", 2003). Where
    a date of the answer's own has passed since (a tier or points have expired), it has changed.
    """
    watched = max(1.0, float(known.watched_days.sum()))
    average = (float(known.changes.sum()) + 1.0) / (watched + PRIOR_DAYS)
    prior = np.float32(average * PRIOR_DAYS)
    rate = (known.changes.astype(np.float32) + prior) / (known.watched_days + np.float32(PRIOR_DAYS))
    chance: Ints = 1.0 - np.exp(-rate * known.age_days(now))
    today = int(now.timestamp() // DAY_S)
    has_passed = (known.next_dates > 0) & (known.next_dates <= today)
    return np.where(has_passed, 1.0, chance)


_ORDERS: dict[str, Callable[[Candidates, PlanConfig, datetime], Ints]] = {
    "oldest": _oldest,
    "likely_changed": _likely_changed,
}
