"""What a table's rows look like in numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pipeline.checks.levels import levels_of
from tests.checks.rows import NIGHT, members, numbers


def test_rows_nulls_blanks_and_values_are_shares_and_logarithms() -> None:
    """Rows of each customer as a logarithm, the others as shares of the rows."""
    rows = members(100, tier=lambda n: None if n < 25 else "" if n < 40 else "Base")
    found = levels_of("members", rows, 1000, NIGHT)
    assert numbers(found, "rows")["members"] == pytest.approx(np.log10(0.101))
    assert numbers(found, "nulls")["members.tier"] == 0.25
    assert numbers(found, "blanks")["members.tier"] == pytest.approx(0.2)
    assert numbers(found, "values")["members.tier=Base"] == pytest.approx(0.8)
    assert numbers(found, "values")["members.is_active=true"] == 0.5


def test_values_about_a_person_are_not_told() -> None:
    """Names are counted, never listed."""
    found = levels_of("members", members(100, name=lambda n: "Asha" if n % 2 else "Ravi"), 100, NIGHT)
    assert not [subject for subject in found["values"] if "name" in subject]
    assert numbers(found, "distinct")["members.name"] == pytest.approx(np.log10(2 / 100))


def test_amounts_tell_size_zeros_and_negatives() -> None:
    """Sizes as powers of ten, with their signs; a giant counts as its digits do."""
    found = levels_of("members", members(4, points=lambda n: Decimal([0, -9, 99, 999_999][n])), 4, NIGHT)
    assert numbers(found, "amounts")["members.points"] == pytest.approx((0 - 1 + 2 + 6) / 4)
    assert numbers(found, "signs") == {"members.points=0": 0.25, "members.points<0": 0.25}


def test_an_empty_table_has_no_rows_and_nothing_else() -> None:
    """No division by nothing."""
    assert set(levels_of("members", members(0), 100, NIGHT)) == {"rows"}


def test_the_exports_own_columns_are_left_out() -> None:
    """`_night` is new every night, and customer_id is nobody's answer."""
    found = levels_of("members", members(10), 10, NIGHT)
    assert not [one for check in found.values() for one in check if "_night" in one or "customer_id" in one]


def test_the_newest_moments_tell_how_late_the_answers_are() -> None:
    """The tenth newest, where new ones come in every day; birthdays and expiries tell nothing."""

    def latest(joined_on: Any) -> dict[str, float]:
        return numbers(levels_of("members", members(100, joined_on=joined_on), 100, NIGHT), "latest")

    midnight = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC)
    hours = latest(lambda n: midnight + timedelta(hours=20 - n))
    assert hours == {"members.joined_on": pytest.approx(11 / 24)}
    wrong_clocks = latest(lambda n: midnight + timedelta(hours=20 - n) + timedelta(days=5 * (n < 9)))
    assert wrong_clocks == {"members.joined_on": pytest.approx(2 / 24)}
    assert latest(lambda n: midnight + timedelta(days=n)) == {}
    assert latest(lambda n: midnight - timedelta(days=n)) == {}
