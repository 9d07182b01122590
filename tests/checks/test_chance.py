"""What chance does to few customers is no fault, however far it moves a mean; what moves them all one way is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pipeline.checks.drifts import drifts_of
from pipeline.checks.judge import judge
from pipeline.config import ChecksConfig
from pipeline.store.history import Measurements
from tests.checks.rows import BEFORE, NIGHT, members

COUNT = 120
GAP = Decimal(3000)


def held_by(was: Any, now: Any) -> list[str]:
    """What holds the second night of customers whose `points`, a gap to a tier, were and are so."""
    before, after = (
        members(COUNT, night=night, points=lambda n, some=some: GAP if some[n] else Decimal(0))
        for night, some in ((BEFORE, was), (NIGHT, now))
    )
    drifts = drifts_of("members", before, after, COUNT, NIGHT)
    tonight = Measurements(
        night=NIGHT, snapshot="s", customers=COUNT, matched=COUNT, gap_days=1.0, drifts=drifts
    )
    return judge(tonight, [], ChecksConfig())[1]


@pytest.mark.parametrize("seed", range(40))
def test_customers_that_come_and_go_each_by_itself_hold_no_night(seed: int) -> None:
    """A third of them reached their tier or began anew: a mean of noughts and thousands moves far."""
    dice = np.random.default_rng(seed)
    was = dice.random(COUNT) < 0.5
    now = was ^ (dice.random(COUNT) < 0.3)
    assert not held_by(was, now)


def test_as_many_that_all_go_one_way_hold_it() -> None:
    """The same third, but nobody came back."""
    was = np.arange(COUNT) % 2 == 0
    now = was & (np.arange(COUNT) % 3 != 0)
    assert {"amounts: members.points", "signs: members.points=0"} & set(held_by(was, now))
