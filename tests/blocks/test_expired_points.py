"""Points that have expired, and the awards they came from."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_expired_points() -> None:
    """One row per programme and day."""
    assert own_rows(full(), "expired_points") == [
        {
            "ordinal": 0,
            "program_id": 501,
            "expired_on": date(2025, 11, 10),
            "points": Decimal(10200),
            "award_count": 2,
        }
    ]


def test_details() -> None:
    """One row per award; its times have no zone and get none."""
    at = datetime(2025, 11, 10, 1, 4, 5)  # noqa: DTZ001 - as given
    around = {"expired_ordinal": 0, "program_id": 501, "expired_on": date(2025, 11, 10)}
    assert own_rows(full(), "expired_points_details") == [
        {
            **around,
            "ordinal": 0,
            "pa_type": "POINT_AWARDED_LINEITEM",
            "pa_id": 1748,
            "points": Decimal(40),
            "strategy_name": "20 days",
            "expiry_update_reason_type": "Expiry strategy",
            "expiry_update_reason_note": "NA",
            "new_expiry_date": at,
            "event_date": at,
        },
        {**around, "ordinal": 1, "pa_type": "POINT_AWARDED", "points": Decimal(10160)},
    ]
