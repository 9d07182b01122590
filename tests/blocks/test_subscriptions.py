"""One row per channel and kind of message."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Inside subscriptionInfo, and at the top as in the API's sibling."""
    assert own_rows(full(), "subscriptions") == [
        {"block": "subscriptionInfo", "ordinal": 0, "channel": "EMAIL", "priority": "TRANS", "type": "OPTIN"},
        {
            "block": "subscriptionInfo",
            "ordinal": 1,
            "channel": "SMS",
            "priority": "BULK",
            "type": "OPTOUT",
            "source_name": "INSTORE",
            "account_id": "7",
        },
        {
            "block": "subscriptions",
            "ordinal": 0,
            "channel": "IOS",
            "type": "OPTIN",
            "campaign_id": -1,
            "communication_id": -1,
        },
    ]
