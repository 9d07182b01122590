"""The same customers before and tonight: each kind of wrong answer moves the number that is there for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pipeline.checks.drifts import drifts_of
from tests.checks.rows import BEFORE, NIGHT, members, numbers

COUNT = 300


def drifts(count: int = COUNT, **tonight: Any) -> dict[str, dict[str, float]]:
    """What moved where tonight's rows differ so."""
    found = drifts_of("members", members(COUNT, night=BEFORE), members(count, **tonight), COUNT, NIGHT)
    return {check: numbers(found, check) for check in found}


def test_nothing_moves_where_nothing_changed() -> None:
    """All numbers are nought."""
    assert all(value == 0 for check in drifts().values() for value in check.values())


def test_a_currency_times_100_is_a_shift_of_two_powers() -> None:
    """The usual row's factor and the sums' are told exactly, and that nearly all rows changed."""
    found = drifts(points=lambda n: Decimal(n % 50) * 1000)
    assert found["shift"]["members.points"] == pytest.approx(2)
    assert found["sums"]["members.points"] == pytest.approx(2)
    assert found["changed"]["members.points"] == pytest.approx(0.98)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [COUNT, COUNT - 1])
def test_rows_are_compared_by_their_keys_however_the_tables_line_up(first: int, count: int) -> None:
    """Where tonight lacks the first row, the last one, both or none: only one customer's points changed."""
    tonight = members(count, points=lambda n: Decimal(n % 50) * 10 + (n == 5)).slice(first)
    found = drifts_of("members", members(COUNT, night=BEFORE), tonight, COUNT, NIGHT)
    assert found["changed"]["members.points"] == (1 / (count - first), count - first)
    assert found["changed"]["members.tier"][0] == 0


def test_another_unit_for_a_few_is_told_though_the_usual_row_stands_still() -> None:
    """Exactly a hundred times or a thousandth; other factors are no unit's."""

    def points(factor: str) -> Any:
        return lambda n: Decimal(n % 50) * 10 * (Decimal(factor) if n % 20 == 7 else 1)

    for factor in ("100", "0.01", "1000", "0.001"):
        found = drifts(points=points(factor))
        assert found["shift"]["members.points"] == 0
        assert found["units"]["members.points"] == pytest.approx(0.05, abs=0.002)
    assert drifts(points=points("99"))["units"]["members.points"] == 0


def test_amounts_a_little_lower_fall_in_every_row() -> None:
    """One per cent is not much of a sum, but no usual night shifts the usual row."""
    found = drifts(points=lambda n: Decimal(n % 50) * 10 * Decimal("0.99"))
    assert found["shift"]["members.points"] == pytest.approx(np.log10(0.99))
    assert found["backwards"]["members.points"] == pytest.approx(0.98)


def test_a_zone_applied_twice_moves_all_by_the_same_hours() -> None:
    """Moves of other lengths than a zone's do not count."""

    def joined(hours: float) -> Any:
        return lambda n: (
            datetime(2020, 1 + n % 12, 1 + n % 28, n % 24, n % 60, tzinfo=UTC) + timedelta(hours=hours)
        )

    assert drifts(joined_on=joined(5.5))["zones"]["members.joined_on"] == 1
    assert drifts(joined_on=joined(24 * 3))["zones"]["members.joined_on"] == 0


def test_a_renamed_tier_is_a_new_value_and_a_lost_one() -> None:
    """The share of rows with a value that nobody had, and what became of the old one's share."""
    found = drifts(tier=lambda n: ("Base", "Silver", "Golden")[n % 3])
    assert found["new_values"]["members.tier"] == pytest.approx(1 / 3)
    assert found["values"]["members.tier=Gold"] == pytest.approx(-1 / 3)
    assert found["values"]["members.tier=Golden"] == pytest.approx(1 / 3)


def test_one_body_for_everybody_leaves_one_value() -> None:
    """Distinct values of each row, as a logarithm."""
    assert drifts(name=lambda _: "Asha")["distinct"]["members.name"] == pytest.approx(-np.log10(COUNT))


def test_rows_that_vanish_are_a_factor() -> None:
    """Half of the rows: a factor of a half."""
    assert drifts(count=COUNT // 2)["rows"]["members"] == pytest.approx(np.log10(151 / 301))


def test_values_that_came_or_went_have_changed() -> None:
    """Null against a value is a change; null against null is none."""
    found = drifts(tier=lambda n: None if n % 3 == 2 else ("Base", "Silver")[n % 3])
    assert found["changed"]["members.tier"] == pytest.approx(1 / 3)
    assert found["nulls"]["members.tier"] == pytest.approx(1 / 3)


def test_how_differently_rows_moved_is_told() -> None:
    """Nothing where all grew by the same factor; much where some came from nought and others went there."""
    alike = drifts(points=lambda n: Decimal(n % 50) * 10 * 9 + 8 if n % 50 else Decimal(0))
    assert alike["swing"]["members.points"] < 0.2
    flipped = drifts(points=lambda n: Decimal(0 if n % 50 else 3000))
    assert flipped["swing"]["members.points"] > 0.5
    later = drifts(joined_on=lambda n: datetime(2026, 11, 21 if n % 3 else 1, tzinfo=UTC))
    assert later["swing"]["members.joined_on"] > 0.3
