"""One row per customer: points of the default programme."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows

BALANCE = {
    "loyalty_id": 88001,
    "current_slab": "Silver",
    "current_slab_description": "The second tier",
    "slab_s_no": 2,
    "slab_expiry_date": datetime(2125, 2, 18, 18, 29, 59, tzinfo=UTC),
    "next_slab": "Gold",
    "next_slab_description": "The third tier",
    "next_slab_serial_number": 3,
    "loyalty_points": Decimal("979.71"),
    "lifetime_points": Decimal("1100.213989258"),
    "redeemed": Decimal("120.5"),
    "expired": Decimal(0),
    "returned": Decimal(0),
    "adjusted": Decimal("-0.01"),
    "delayed_points": Decimal(5),
    "delayed_returned_points": Decimal(0),
    "delayed_expired_points": Decimal(0),
    "total_available_points": Decimal("984.71"),
    "total_returned_points": Decimal(0),
    "cumulative_purchases": Decimal(-1199637100),
    "program_title": "Harbour Club",
    "program_description": " ",
    "program_points_to_currency_ratio": Decimal("0.75"),
    "user_group2_id": 3100,
    "points_contribution_to_group": Decimal(12),
    "extra": '{"lifetimePoints":1100.2139892578125}',
}


def test_full_answer() -> None:
    """Points, tier and programme; the number with too many decimals is rounded and kept beside."""
    assert own_rows(full(), "points_summary") == [{"program_id": 500, **BALANCE}]


def test_missing_programme_id() -> None:
    """Old answers have none."""
    assert own_rows({"pointsSummary": {"redeemed": 0}}, "points_summary") == [{"redeemed": Decimal(0)}]
