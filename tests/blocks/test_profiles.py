"""One row per profile."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """A profile with all it can have, and one with little."""
    assert own_rows(full(), "profiles") == [
        {
            "ordinal": 0,
            "source": "INSTORE",
            "account_id": "",
            "user_id": 4711,
            "first_name": "Mira",
            "last_name": "",
            "create_date": datetime(2021, 2, 18, 15, 1, 15, tzinfo=UTC),
            "modified_date": datetime(2021, 2, 22, 13, 27, 29, tzinfo=UTC),
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
            "modified_by_type": "TILL",
            "auto_update_time": datetime(2026, 9, 14, 12, 23, 13, tzinfo=UTC),
            "conflicting_profile_list": "[]",
        },
        {
            "ordinal": 1,
            "source": "WECHAT",
            "account_id": "wechat-1",
            "user_id": 4711,
            "first_name": "Mira",
            "auto_update_time": datetime(2026, 9, 14, 12, 23, 13, tzinfo=UTC),
        },
    ]


def test_same_source_and_account_twice() -> None:
    """Nobody promises that they are unique: the ordinal keeps the rows apart."""
    profile = {"source": "INSTORE", "accountId": ""}
    rows = own_rows({"profiles": [profile, dict(profile)]}, "profiles")
    assert [row["ordinal"] for row in rows] == [0, 1]
