"""The checks: each passes on a true account, and fails when one number is off by one."""

from __future__ import annotations

import pytest

from pipeline import checks

OUTCOMES = {"exported": 5, "partial": 2, "absent": 1, "deleted": 1, "merged": 1, "failed": 1, "deferred": 3}
IDS = {"read": 20, "distinct": 14, "repeated": 5, "rejected": 2, "carried": 1}


def test_every_id_has_one_verdict() -> None:
    """Distinct IDs, verdicts and rows of tonight are the same number."""
    assert checks.account_balances(14, OUTCOMES, 14).passed


@pytest.mark.parametrize(("distinct", "rows", "failed"), [(13, 14, 1), (14, 15, 1), (14, 14, 2), (14, 14, 0)])
def test_an_id_without_a_verdict_or_with_two_is_found(distinct: int, rows: int, failed: int) -> None:
    """Any of the three numbers off by one fails, and the detail holds all three."""
    found = checks.account_balances(distinct, OUTCOMES | {"failed": failed}, rows)
    assert not found.passed
    assert found.detail.startswith(f"{distinct} distinct IDs, {13 + failed} verdicts, {rows} rows")


def test_every_csv_row_is_something() -> None:
    """Rows read are distinct, repeated or rejected; IDs carried over from a dead night are no rows."""
    assert checks.reading_balances(IDS).passed
    assert checks.reading_balances({"read": 3, "distinct": 1, "repeated": 1, "rejected": 1}).passed


@pytest.mark.parametrize("name", IDS)
def test_a_csv_row_that_vanished_is_found(name: str) -> None:
    """One more or less of anything fails."""
    for change in (-1, 1):
        assert not checks.reading_balances(IDS | {name: IDS[name] + change}).passed


def test_every_answer_is_a_row() -> None:
    """Exported and partial answers are rows of `customers`; other verdicts are not."""
    assert checks.answers_are_rows(OUTCOMES, 7).passed
    assert not checks.answers_are_rows(OUTCOMES, 6).passed
    assert not checks.answers_are_rows(OUTCOMES, 8).passed


@pytest.mark.parametrize(
    ("tonight", "kept", "in_files", "passed"), [(3, 4, 7, True), (3, 4, 6, False), (0, 0, 1, False)]
)
def test_rows_add_up(tonight: int, kept: int, in_files: int, passed: bool) -> None:
    """Tonight's rows and the kept ones are those in the files; the table is named."""
    found = checks.rows_add_up("segments", tonight, kept, in_files)
    assert found.passed is passed
    assert found.name == "rows of segments add up"
    assert found.detail == f"{tonight} from tonight + {kept} kept, {in_files} in the files"
