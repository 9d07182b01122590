"""One row per identifier of a profile. Key: customer_id, profile_ordinal, list, ordinal.

An answer has two lists, `identifiers` and `identifiersAll`; neither contains the other, so both are kept.
"""

from __future__ import annotations

from pipeline.blocks.base import (
    Block,
    Column,
    Kind,
    Privacy,
    Table,
    boolean,
    integer,
    json_text,
    ordinal,
    ordinal_of,
    text,
)

IDENTIFIERS = Table(
    name="identifiers",
    meaning="One row per profile, list and identifier.",
    rows=("profiles[].identifiers[]", "profiles[].identifiersAll[]"),
    key=("customer_id", "profile_ordinal", "list", "ordinal"),
    columns=(
        ordinal_of(
            "profile_ordinal", "^@ordinal", "Position of the profile in the answer (profiles.ordinal)."
        ),
        text("source", "^.source", "The profile's source."),
        text("account_id", "^.accountId", "The profile's account."),
        Column("list", Kind.TEXT, "@place", "The list it stands in: identifiers or identifiersAll."),
        ordinal("0-based position in that list."),
        text("type", "type", "Kind of identifier: mobile, email, externalId, cardNumber, …"),
        text("value", "value", "The identifier itself.", Privacy.IDENTIFIER),
        integer("series_id", "seriesId", "A card's series."),
        text("series_code", "seriesCode", "Code of a card's series."),
        integer("card_id", "cardId", "A card's ID.", privacy=Privacy.IDENTIFIER),
        text("card_external_id", "cardExternalId", "A card's ID outside Capillary.", Privacy.IDENTIFIER),
        text("status_label", "statusLabel", "The brand's label for a card's status."),
        integer(
            "status_label_info_org_id", "statusLabelInfo.orgId", "Organisation that the label belongs to."
        ),
        text("status_label_info_type", "statusLabelInfo.type", "What the label is for, such as CARD."),
        text(
            "status_label_info_internal_status", "statusLabelInfo.internalStatus", "Status behind the label."
        ),
        boolean(
            "status_label_info_default", "statusLabelInfo.default", "Whether it is the status' default label."
        ),
        json_text("extended_fields", "extendedFields", "A card's extended fields: name → value."),
    ),
)

BLOCK = Block(tables=(IDENTIFIERS,))
