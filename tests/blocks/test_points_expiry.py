"""One row per batch of points and the day it expires."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Batches that look the same keep a row each; a century ahead is a date like others."""
    plain = {"program_id": 501, "points": Decimal(10), "expiry_date": date(2117, 7, 18)}
    assert own_rows(full(), "points_expiry_schedules") == [
        {
            "ordinal": 0,
            "program_id": 501,
            "points": Decimal(400),
            "expiry_date": date(2117, 7, 18),
            "expiry_date_iso": datetime(2117, 7, 18, tzinfo=UTC),
            "points_type": "bill_regular",
            "expiry_type": "fixed",
        },
        {"ordinal": 1, **plain},
        {"ordinal": 2, **plain},
    ]
