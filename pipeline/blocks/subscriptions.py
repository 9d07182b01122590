"""One row per channel and kind of message a customer has agreed to or refused. Key: customer_id, block,
ordinal.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Table, integer, ordinal, text

SUBSCRIPTIONS = Table(
    name="subscriptions",
    meaning="One row per channel and kind of message that the customer has agreed to or refused.",
    rows=("subscriptionInfo.subscriptions[]", "subscriptions[]"),
    key=("customer_id", "block", "ordinal"),
    columns=(
        Column(
            "block", Kind.TEXT, "@block", "Where it stood: subscriptionInfo, or subscriptions at the top."
        ),
        ordinal(),
        text("channel", "channel", "EMAIL, SMS, WHATSAPP, ANDROID, …"),
        text("priority", "priority", "TRANS (about transactions) or BULK (marketing)."),
        text("type", "type", "OPTIN or OPTOUT."),
        text("source_name", "sourceName", "The source it holds for."),
        text("account_id", "accountId", "The account it holds for."),
        integer("campaign_id", "campaignId", "The campaign it came from; -1: none."),
        integer("communication_id", "communicationId", "The message it came from; -1: none."),
    ),
)

BLOCK = Block(tables=(SUBSCRIPTIONS,), embed=("subscriptions",))
