"""One row per promotion that gave points."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Each kind's list; the kind is the list's name."""
    assert own_rows(full(), "promotional_points") == [
        {
            "kind": "customerPromotionType",
            "ordinal": 0,
            "points": Decimal(200),
            "issued_on": datetime(2025, 12, 12, 5, 53, 3, tzinfo=UTC),
            "expiry_date": datetime(2026, 12, 31, 18, 29, 59, tzinfo=UTC),
            "issued_at_code": "store",
            "issued_at_name": "Store 10",
            "promotion_name": "Goodwill",
            "promotion_source_id": -1,
            "promotion_source_type": "GOODWILL",
            "program_id": 501,
        },
        {"kind": "transactionPromotionType", "ordinal": 0, "points": Decimal(7)},
    ]
