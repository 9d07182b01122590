"""Where a number may lie."""

from __future__ import annotations

from datetime import timedelta
from math import inf

import pytest

from pipeline.checks.bands import Past, Width, drift_band, level_band, past_drifts, past_levels, rate_band
from pipeline.checks.rules import RULES
from pipeline.store.history import Measurements
from tests.checks.rows import NIGHT, seen

NULLS, CHANGED, FROZEN, GONE = (RULES[name] for name in ("nulls", "changed", "frozen", "gone"))


def past(*values: float, **more: float) -> Past:
    return Past(tuple(seen(*values, **more)))  # type: ignore[arg-type]


def test_a_quiet_number_has_the_floor_around_it() -> None:
    """No spread: the floor on both sides of the median."""
    band = level_band(Width(NULLS, 0.2), past(0.3, 0.3, 0.3, 0.3), 100_000)
    assert band is not None
    assert (band.low, band.high) == pytest.approx((0.1, 0.5))


def test_a_wild_number_has_a_wide_band() -> None:
    """Five spreads, robustly: one bad night among good ones hardly counts."""
    wild = level_band(Width(NULLS, 0.01), past(0.1, 0.2, 0.3, 0.4, 0.5), 100_000)
    calm = level_band(Width(NULLS, 0.01), past(0.3, 0.3, 0.3, 0.3, 0.9), 100_000)
    assert wild is not None
    assert calm is not None
    assert wild.high - wild.low == pytest.approx(2 * 5 * 1.4826 * 0.1)
    assert calm.high < 0.4


def test_few_nights_make_a_band_twice_as_wide() -> None:
    """Nobody knows the spread of one night."""
    one = level_band(Width(NULLS, 0.2), past(0.5), 100_000)
    assert one is not None
    assert one.high == pytest.approx(0.9)


def test_few_customers_make_a_wide_band() -> None:
    """What chance does to 30 of them is no fault."""
    few = level_band(Width(NULLS, 0.01), past(*[0.5] * 5, count=30), 30)
    assert few is not None
    assert few.high > 0.75


def test_without_a_past_a_level_has_no_band_and_a_drift_a_wide_one() -> None:
    """The first night is judged by its sums, the second by its customers' own rows."""
    assert level_band(Width(NULLS, 0.2), past(), 1000) is None
    band = drift_band(Width(NULLS, 0.05), past(), 100_000, 1.0)
    assert (band.low, band.high) == pytest.approx((-0.1, 0.1))


def test_a_drift_may_be_larger_the_longer_ago_the_customers_answered() -> None:
    """Three times the nights, three times the way."""
    short, long = (drift_band(Width(NULLS, 0.05), past(0.0, 0.0, 0.0), 100_000, gap) for gap in (1.0, 3.0))
    assert long.high == pytest.approx(3 * short.high)


def test_changes_are_judged_by_their_rate_a_day() -> None:
    """8 in 100 a day make 22 in 100 after three days: no alarm, but half of them is one."""
    band = rate_band(Width(CHANGED, 0.1), past(0.08, 0.08, 0.08), 100_000, 3.0)
    assert band is not None
    assert band.excess(0.22) == 0
    assert band.excess(0.5) > 0
    assert band.low == -inf


def test_before_enough_nights_have_told_much_may_change_or_fall() -> None:
    """A column that stood still for a night may move on the next: nobody knows its pace yet."""
    for before in ((), (0.0,), (0.0, 0.0)):
        band = rate_band(Width(RULES["backwards"], 0.05), past(*before), 1000, 3.0)
        assert band is not None
        assert band.excess(0.25) == 0
        assert band.excess(0.8) > 0
    band = rate_band(Width(RULES["backwards"], 0.05), past(0.0, 0.0, 0.0), 1000, 3.0)
    assert band is not None
    assert band.excess(0.25) > 0


def test_answers_that_stand_still_are_out_of_their_band() -> None:
    """A quarter of the usual changes is the least; where few change anyhow, nothing can be said."""
    band = rate_band(Width(FROZEN, 0.0), past(0.08, 0.08, 0.08), 1000, 1.0)
    assert band is not None
    assert band.excess(0.0) > 0
    assert rate_band(Width(FROZEN, 0.0), past(0.001, 0.001, 0.001), 1000, 1.0) is None


def nights(*values: float, failed: dict[int, str] | None = None) -> list[Measurements]:
    """Nights whose nulls of a.b were so, newest first; `failed` ones a person published all the same."""
    wrong = failed or {}
    return [
        Measurements(
            night=NIGHT - timedelta(days=1 + ago),
            snapshot=str(ago),
            levels={"nulls": {"a.b": (value, 1000)}},
            drifts={"nulls": {"a.b": (value, 1000)}},
            failed=[wrong[ago]] if ago in wrong else [],
            forced_reason="meant" if ago in wrong else "",
        )
        for ago, value in enumerate(values)
    ]


def test_a_forced_night_begins_a_levels_past_anew() -> None:
    """What was before it is another world, for what was out on that night; for all else nothing changed."""
    forced = nights(0.9, 0.9, 0.1, 0.1, failed={1: "nulls: a.b"})
    other = nights(0.9, 0.9, 0.1, 0.1, failed={1: "rows: a"})
    assert past_levels(forced, NULLS, "a.b", 0).numbers == (0.9, 0.9)
    assert past_levels(other, NULLS, "a.b", 0).numbers == (0.9, 0.9, 0.1, 0.1)


def test_what_was_let_through_once_is_let_through_again() -> None:
    """The customers whom the forced night did not ask make the same move on a later one."""
    found = past_drifts(nights(0.0, 0.8, 0.0, 0.0, failed={1: "nulls: a.b"}), NULLS, "a.b")
    assert found.accepted == (0.8,)
    band = drift_band(Width(NULLS, 0.05), found, 100_000, 1.0)
    assert band.excess(0.8) == 0
    assert band.excess(0.4) == 0
    assert band.excess(-0.3) > 0


def test_enough_nights_of_a_weekday_are_compared_with_each_other_only() -> None:
    """Sundays with Sundays, once there are six of them."""
    values = [
        0.7 if (NIGHT - timedelta(days=1 + ago)).weekday() == NIGHT.weekday() else 0.1 for ago in range(45)
    ]
    assert set(past_levels(nights(*values), NULLS, "a.b", NIGHT.weekday()).numbers) == {0.7}
    assert 0.1 in past_levels(nights(*values[:30]), NULLS, "a.b", NIGHT.weekday()).numbers
