"""Which tables a partial answer lacks, by its warnings."""

from __future__ import annotations

import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.gaps import LOST_KEYS, TORN, is_gap, tables_without
from pipeline.fetch.outcomes import is_partial_code
from pipeline.sandbox.bodies import _GAPS


def test_a_code_is_a_gap_where_the_verdict_is_partial() -> None:
    """The verdict and the merge agree on every code there may be: none is partial for one and whole for the other."""
    codes = [*range(500, 1_000), *range(8_000, 8_200), *range(90_900, 91_200)]
    assert [code for code in codes if is_gap(code)] == [code for code in codes if is_partial_code(code)]


@pytest.mark.parametrize(
    ("code", "lost", "there"),
    [
        (8062, "points_summary", "segments"),
        (8063, "segments", "points_summary"),
        (8076, "tier_upgrade_gaps", "loyalty_programs"),
        (8088, "customer_status", "loyalty"),
        (91001, "loyalty_programs", "segments"),
        (91002, "subscriptions", "segments"),
        (91004, "segments", "subscriptions"),
        (91013, "tier_upgrade_gaps", "tier_renewal_gaps"),
        (91014, "tier_renewal_gaps", "tier_upgrade_gaps"),
        (91005, "profiles", "customers"),
    ],
)
def test_each_code_costs_its_own_tables(code: int, lost: str, there: str) -> None:
    """A table that the warning does not concern is replaced, also by no rows."""
    assert lost in tables_without(code)
    assert there not in tables_without(code)


def test_every_answer_brings_customers_and_warnings() -> None:
    """Whatever is missing, these two are tonight's."""
    for code in [*LOST_KEYS, 91005]:
        assert not tables_without(code) & {"customers", "warnings"}


def test_what_the_sandbox_takes_away_is_told_by_the_code() -> None:
    """Each gap of the sandbox's costs rows only in tables that its code names."""
    for gap in _GAPS:
        assert set(gap.lost) & set(LOST_KEYS[gap.code]), gap.code


def test_names_are_names_of_tables() -> None:
    """A typing error would keep nobody's rows."""
    assert {name for names in TORN.values() for name in names} <= {table.name for table in TABLES}
    assert all(tables_without(code) for code in LOST_KEYS)
