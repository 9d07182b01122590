"""One row per programme and alternate currency."""

from __future__ import annotations

from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """One currency, two in a list, none."""
    rows = own_rows(full(), "alternate_currencies")
    assert rows[0] == {
        "program_ordinal": 0,
        "program_id": 501,
        "program_name": "Harbour Club",
        "ordinal": 0,
        "name": "Shells",
        "earned": Decimal(5),
        "lifetime_earned": Decimal(9),
        "redeemed": Decimal(4),
        "expired": Decimal(0),
        "returned": Decimal(0),
        "delayed_earned": Decimal(1),
        "delayed_lifetime_earned": Decimal(1),
        "delayed_returned": Decimal(0),
        "delayed_expired": Decimal(0),
        "total_available": Decimal("5.5"),
        "total_redeemed": Decimal(4),
        "total_returned": Decimal(0),
        "total_expired": Decimal(0),
    }
    pier = {"program_ordinal": 1, "program_id": 502, "program_name": "Pier Club"}
    assert rows[1:] == [
        {**pier, "ordinal": 0, "name": "A"},
        {**pier, "ordinal": 1, "name": "B"},
        {"program_ordinal": 2, "program_id": 503, "program_name": "No currency", "ordinal": 0},
    ]
