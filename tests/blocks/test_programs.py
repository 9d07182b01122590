"""Loyalty programmes, partner programmes, group programmes."""

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


def test_loyalty_programs() -> None:
    """One row each, in the answer's order."""
    assert own_rows(full(), "loyalty_programs") == [
        {"ordinal": 0, "program_id": 501, **BALANCE},
        {"ordinal": 1, "program_id": 502, "current_slab": "Base", "next_slab": ""},
    ]


def test_partner_programs() -> None:
    """Of each programme, and of pointsSummary; without tiers the tier's columns are null."""
    blue = {
        "ordinal": 0,
        "partner_program_id": 9,
        "partner_program_name": "Sky Miles",
        "partner_program_description": "Miles",
        "partner_program_type": "EXTERNAL",
        "partner_membership_id": "400055500011",
        "tier_based": True,
        "partner_tier_number": 1,
        "partner_tier_name": "Blue",
        "partner_tier_expiry_date": datetime(2027, 12, 29, 23, 59, 59, tzinfo=UTC),
        "partner_program_membership_start_date": datetime(2024, 1, 1, tzinfo=UTC),
        "partner_program_membership_end_date": datetime(2027, 1, 1, tzinfo=UTC),
        "partner_program_membership_last_updated_date": datetime(2025, 1, 1, tzinfo=UTC),
        "partner_program_membership_last_updated_activity": "RENEWED",
    }
    hotel = {
        "ordinal": 1,
        "partner_program_id": 11,
        "partner_program_name": "Hotel Nights",
        "tier_based": False,
    }
    in_list = {"block": "loyaltyProgramDetails", "program_ordinal": 0, "program_id": 501}
    in_summary = {"block": "pointsSummary", "program_id": 500}
    rows = own_rows(full(), "partner_programs")
    assert sorted(rows, key=lambda row: str(row["block"])) == [
        {**in_list, **blue},
        {**in_list, **hotel},
        {**in_summary, **blue},
        {**in_summary, **hotel},
    ]


def test_group_programs() -> None:
    """Points over several programmes."""
    assert own_rows(full(), "group_programs") == [
        {
            "ordinal": 0,
            "group_program_id": 600,
            "title": "All harbours",
            "description": "Together",
            "lifetime_points": Decimal(420),
            "loyalty_points": Decimal(420),
            "promised_points": Decimal(0),
            "points_to_currency_ratio": Decimal(1),
            "program_count": 2,
        }
    ]


def test_group_program_members() -> None:
    """The programmes of a group."""
    group = {"group_ordinal": 0, "group_program_id": 600}
    assert own_rows(full(), "group_program_members") == [
        {**group, "ordinal": 0, "program_id": 501, "name": "Harbour Club", "description": ""},
        {**group, "ordinal": 1, "program_id": 502, "name": "Pier Club", "description": "Piers"},
    ]
