"""Whole nights by a simulated clock: the plan says what the night does (the long form is `make simulate`)."""

from __future__ import annotations

import pytest

from bench.simulate import Night, learned_from, nights, planned, simulate

SHORT = [one for one in nights(12_000) if one.outage == (0.0, 0.0)]


@pytest.mark.parametrize("night", SHORT, ids=lambda night: night.name)
def test_the_plan_and_the_real_end_agree(night: Night) -> None:
    """Within 5 %, in calls and in time: under repeats, a slow API, a calendar and a day's budget."""
    plan = planned(night, learned_from(night))
    ended = simulate(night, plan)
    assert ended.verdicts == pytest.approx(plan.asked, rel=0.05)
    assert ended.seconds == pytest.approx(plan.seconds_needed, rel=0.05)


def test_an_outage_is_seen_by_the_live_forecast() -> None:
    """Half of the window is lost: the plan did not know, but the night does before its end."""
    night = Night("outage", 12_000, {"limits": [{"calls": 6000}]}, 200 / 3600, outage=(20.0, 120.0))
    plan = planned(night, learned_from(night))
    ended = simulate(night, plan)
    assert ended.verdicts < 0.7 * plan.asked
    assert ended.looks[-1] == pytest.approx(ended.verdicts, rel=0.1)
