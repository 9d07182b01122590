"""One row per identifier of a profile."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Both lists of each profile, cards with their own details."""
    assert own_rows(full(), "identifiers") == [
        {
            "profile_ordinal": 0,
            "source": "INSTORE",
            "account_id": "",
            "list": "identifiers",
            "ordinal": 0,
            "type": "mobile",
            "value": "15550100",
        },
        {
            "profile_ordinal": 0,
            "source": "INSTORE",
            "account_id": "",
            "list": "identifiers",
            "ordinal": 1,
            "type": "cardNumber",
            "value": "HC000418",
            "series_id": 23,
            "series_code": "0422",
            "card_id": 418,
            "card_external_id": "hc-7",
            "status_label": "ACTIVE",
            "status_label_info_org_id": 7,
            "status_label_info_type": "CARD",
            "status_label_info_internal_status": "NOT_ISSUED",
            "status_label_info_default": False,
            "extended_fields": '{"deck":"2"}',
        },
        {
            "profile_ordinal": 0,
            "source": "INSTORE",
            "account_id": "",
            "list": "identifiersAll",
            "ordinal": 0,
            "type": "email",
            "value": "mira@example.com",
        },
        {
            "profile_ordinal": 1,
            "source": "WECHAT",
            "account_id": "wechat-1",
            "list": "identifiers",
            "ordinal": 0,
            "type": "wechat",
            "value": "mira_w",
        },
    ]


def test_numeric_identifier_keeps_its_digits() -> None:
    """A mobile number that comes as a number is text all the same."""
    doc = {"profiles": [{"identifiers": [{"type": "mobile", "value": 4915550100}]}]}
    assert own_rows(doc, "identifiers")[0]["value"] == "4915550100"
