"""One row per customer: loyaltyInfo."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Enrolment, purchases to the last digit, who did it."""
    assert own_rows(full(), "loyalty") == [
        {
            "loyalty_type": "loyalty",
            "lifetime_purchases": Decimal(24000),
            "score": Decimal(97),
            "create_date": datetime(2021, 2, 18, 15, 1, 15, tzinfo=UTC),
            "modified_date": datetime(2021, 2, 22, 7, 57, 29, tzinfo=UTC),
            "created_from_source": "instore",
            "created_by_id": 70011,
            "created_by_code": "harbour.till1",
            "created_by_name": "Harbour Till 1",
            "created_by_type": "TILL",
            "created_by_description": "",
            "created_by_reference_id": -1,
            "created_by_default": False,
            "created_by_admin_type": "GENERAL",
            "created_by_is_active": True,
            "created_by_is_ou_enabled": True,
            "created_by_time_zone_id": 0,
            "created_by_currency_id": 95,
            "created_by_language_id": -1,
            "modified_by_id": 70011,
            "modified_by_code": "harbour.till1",
            "modified_by_name": "Harbour Till 1",
            "modified_by_type": "TILL",
            "modified_by_description": "",
            "modified_by_reference_id": -1,
            "modified_by_default": False,
            "modified_by_admin_type": "GENERAL",
            "modified_by_is_active": True,
            "modified_by_is_ou_enabled": True,
            "modified_by_time_zone_id": 0,
            "modified_by_currency_id": 95,
            "modified_by_language_id": -1,
        }
    ]


def test_missing_block() -> None:
    """No loyaltyInfo, no row; an empty one is a row."""
    assert own_rows({}, "loyalty") == []
    assert own_rows({"loyaltyInfo": {}}, "loyalty") == [{}]
