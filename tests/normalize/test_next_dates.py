"""The next expiry of each answer, from answers that were really flattened."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.collect import Options
from pipeline.normalize.chunk import ChunkNormalizer
from pipeline.normalize.next_dates import EXPIRIES
from pipeline.outcome import Outcome
from pipeline.store.journal import Record
from pipeline.store.ledger import CALLS
from pipeline.store.parts import part_name, read_part

FETCHED = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def calls_of(tmp_path: Path, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `_calls` for a chunk with these answers, each after a call that was made in vain."""
    normalizer = ChunkNormalizer(TABLES, Options(date(2026, 11, 21)), tmp_path)
    at = int(FETCHED.timestamp() * 1e6)
    for number, document in enumerate(documents, 1):
        for outcome, body in (
            (Outcome.RETRIED, b""),
            (Outcome.EXPORTED, json.dumps({"id": number} | document).encode()),
        ):
            normalizer.add(Record(number, at, 0, 0, 1000, 1, 1, 200, int(outcome), b"", body), 3)
    normalizer.write(3)
    return [row for batch in read_part(tmp_path / CALLS / part_name(3)) for row in batch.to_pylist()]


def days(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, 0),
        ({"pointsSummary": {"slabExpiryDate": "2027-01-31T23:59:59Z"}}, days("2027-01-31")),
        ({"loyaltyProgramDetails": [{"slabExpiryDate": "2027-03-01T00:00:00+05:30"}]}, days("2027-02-28")),
        (
            {"loyaltyProgramDetails": [{"gapToRenewSummary": {"tierExpiryDate": "2026-12-31"}}]},
            days("2026-12-31"),
        ),
        (
            {
                "loyaltyProgramDetails": [
                    {"linkedPartnerPrograms": [{"partnerTierExpiryDate": "2026-12-03T00:00:00Z"}]}
                ]
            },
            days("2026-12-03"),
        ),
        (
            {"expirySchedules": [{"expiryDate": "2027-05-05"}, {"expiryDate": "2027-04-04"}]},
            days("2027-04-04"),
        ),
        ({"expirySchedules": [{"expiryDateISO": "2027-05-05T00:00:00Z"}]}, days("2027-05-05")),
        ({"expirySchedules": [{"expiryDate": "2026-11-20"}]}, 0),
        ({"expirySchedules": [{"expiryDate": "2026-11-21"}]}, days("2026-11-21")),
        ({"pointsSummary": {"slabExpiryDate": "2026-11-21T19:00:00Z"}}, 0),
        (
            {"promotionalPoints": {"customerPromotionType": [{"expiryDate": "2026-11-21T21:00:00Z"}]}},
            days("2026-11-21"),
        ),
        (
            {
                "expirySchedules": [{"expiryDate": "2026-01-01"}],
                "pointsSummary": {"slabExpiryDate": "2124-01-01T00:00:00Z"},
            },
            days("2124-01-01"),
        ),
    ],
)
def test_the_first_expiry_still_to_come_is_noted(
    tmp_path: Path, document: dict[str, Any], expected: int
) -> None:
    """Of all places that hold one; past ones don't count, today's calendar day does."""
    in_vain, answered = calls_of(tmp_path, document)
    assert answered["next_date"] == expected
    assert in_vain["next_date"] == 0


def test_each_answer_has_its_own(tmp_path: Path) -> None:
    """Several answers in a chunk are told apart; calls without data have neither date nor hash."""
    rows = calls_of(
        tmp_path,
        {"expirySchedules": [{"expiryDate": "2027-05-05"}]},
        {},
        {"expirySchedules": [{"expiryDate": "2027-06-06"}]},
    )
    assert [row["next_date"] for row in rows] == [0, days("2027-05-05"), 0, 0, 0, days("2027-06-06")]
    assert [bool(row["body_hash"]) for row in rows] == [False, True] * 3


def test_the_hash_is_that_of_the_customers_table(tmp_path: Path) -> None:
    """The number in `_calls` is the hex text in `customers`."""
    rows = calls_of(tmp_path, {}, {"segments": {"a": "b"}})
    customers = [
        row for batch in read_part(tmp_path / "customers" / part_name(3)) for row in batch.to_pylist()
    ]
    assert [int(row["body_hash"], 16) for row in customers] == [row["body_hash"] for row in rows[1::2]]


def test_the_declared_columns_are_there() -> None:
    """Each table and column that holds an expiry is one of ours."""
    columns = {table.name: {column.name for column in table.columns} for table in TABLES}
    for table, names in EXPIRIES.items():
        assert set(names) <= columns[table]
