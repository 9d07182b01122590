"""Cards and their fields."""

from __future__ import annotations

from datetime import UTC, date, datetime

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_cards() -> None:
    """A card with all it can have, and one with the number's other spelling."""
    assert own_rows(full(), "cards") == [
        {
            "ordinal": 0,
            "card_id": 418,
            "id": 418,
            "card_number": "HC000418",
            "card_external_id": "hc-7",
            "card_customer_id": 4711,
            "type": "DIGITAL",
            "series_id": 23,
            "series_code": "0422",
            "series_name": "harbour",
            "max_active_cards": 60,
            "org_id": 7,
            "entity_id": 70011,
            "entity_code": "harbour.till1",
            "issued_date": datetime(2026, 1, 23, 10, 1, 33, tzinfo=UTC),
            "created_date": date(2026, 1, 23),
            "expiry_days": 0,
            "expiry_date": datetime(2029, 1, 23, tzinfo=UTC),
            "active_and_digital": True,
            "transaction_not_allowed": True,
            "status_info_status": "ACTIVE",
            "status_info_label": "NEW CARD",
            "status_info_label_id": 31,
            "status_info_reason": "",
            "status_info_is_active": True,
            "status_info_id": 478,
            "status_info_entity_id": 418,
            "status_info_created_by": 70011,
            "status_info_created_on": datetime(2026, 1, 23, 10, 1, 33, tzinfo=UTC),
            "status_info_auto_update_time": date(2026, 1, 23),
            "status_info_actions": "[]",
        },
        {"ordinal": 1, "card_id": 419, "card_number": "HC000419"},
    ]


def test_card_fields() -> None:
    """Custom and extended fields, each with its type."""
    card = {"card_ordinal": 0, "card_id": 418}
    custom, extended = card | {"list": "customFields"}, card | {"list": "extendedFields"}
    assert own_rows(full(), "card_fields") == [
        {**custom, "name": "card name", "value": "anchor", "value_type": "string"},
        {**custom, "name": "empty", "value": "", "value_type": "string"},
        {**extended, "name": "balance", "value": "1000.0", "value_type": "number"},
        {**extended, "name": "year", "value": "18", "value_type": "integer"},
        {**extended, "name": "kept", "value": "yes", "value_type": "string"},
        {**extended, "name": "none", "value_type": "null"},
    ]
