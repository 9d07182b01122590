"""One row per return that took points back; the shape is nobody's yet."""

from __future__ import annotations

from decimal import Decimal

from pipeline.jsontext import JsonFloat
from tests.blocks.bodies import full
from tests.blocks.collecting import collect, own_rows


def test_full_answer() -> None:
    """What is likely has columns; the whole is in raw."""
    assert own_rows(full(), "returned_points") == [
        {"ordinal": 0, "program_id": 501, "points": Decimal("12.5"), "raw": '{"programId":501,"points":12.5}'}
    ]


def test_unknown_keys_are_in_raw_and_counted() -> None:
    """Once, not in extra again; the count says that a column is due."""
    doc = {"returnedPoints": [{"billNumber": "b1", "points": JsonFloat("1.50")}]}
    assert own_rows(doc, "returned_points") == [
        {"ordinal": 0, "points": Decimal("1.5"), "raw": '{"billNumber":"b1","points":1.50}'}
    ]
    assert list(collect(doc).unknown) == [("returnedPoints[].billNumber", "string")]
