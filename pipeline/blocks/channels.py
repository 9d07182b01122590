"""One row per communication channel of a profile. Key: customer_id, profile_ordinal, ordinal."""

from __future__ import annotations

from pipeline.blocks.base import Block, Privacy, Table, boolean, json_text, ordinal, ordinal_of, text

COMM_CHANNELS = Table(
    name="comm_channels",
    meaning="One row per profile and communication channel.",
    rows=("profiles[].commChannels[]",),
    key=("customer_id", "profile_ordinal", "ordinal"),
    columns=(
        ordinal_of(
            "profile_ordinal", "^@ordinal", "Position of the profile in the answer (profiles.ordinal)."
        ),
        text("source", "^.source", "The profile's source."),
        text("account_id", "^.accountId", "The profile's account."),
        ordinal(),
        text("type", "type", "Kind of channel: mobile, email, wechat, ios, android, whatsapp, …"),
        text("value", "value", "Number, address or device that the channel reaches.", Privacy.CONTACT),
        boolean("is_primary", "primary", "Whether it is the first one to use of its kind."),
        boolean("verified", "verified", "Whether the customer has proved that it is theirs."),
        boolean("residence", "meta.residence", "Whether it is the customer's at home."),
        boolean("office", "meta.office", "Whether it is the customer's at work."),
        text("last_viewed_date", "meta.lastViewedDate", "When it was last seen in use, as given."),
        json_text("attributes", "attributes", "Whatever else the channel carries."),
    ),
)

BLOCK = Block(tables=(COMM_CHANNELS,))
