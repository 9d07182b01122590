"""Cards of a customer.

cards: one row per card. Key: customer_id, ordinal.
card_fields: per card and field, custom or extended. Key: customer_id, card_ordinal, list, name.
"""

from __future__ import annotations

from pipeline.blocks.base import (
    Block,
    Column,
    Kind,
    Privacy,
    Table,
    boolean,
    date,
    instant,
    integer,
    json_text,
    ordinal,
    ordinal_of,
    text,
)

CARDS = Table(
    name="cards",
    meaning="One row per card of the customer.",
    rows=("cardDetails[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("card_id", "cardId", "The card's ID.", privacy=Privacy.IDENTIFIER),
        integer("id", "id", "The same ID, as the API gives it twice.", privacy=Privacy.IDENTIFIER),
        text("card_number", "cardNumber|cardnumber", "The card's number.", Privacy.IDENTIFIER),
        text("card_external_id", "cardExternalId", "The card's ID outside Capillary.", Privacy.IDENTIFIER),
        integer(
            "card_customer_id",
            "customerId",
            "The customer that the card itself names.",
            privacy=Privacy.IDENTIFIER,
        ),
        text("type", "type", "DIGITAL, PHYSICAL, …"),
        integer("series_id", "seriesId", "The card's series."),
        text("series_code", "seriesCode", "Code of the series."),
        text("series_name", "seriesName", "Name of the series."),
        integer(
            "max_active_cards", "maxActiveCards", "Cards of the series that a customer may have.", "cards"
        ),
        integer("org_id", "orgId", "The organisation's ID."),
        integer("entity_id", "entityId", "ID of the till that issued the card."),
        text("entity_code", "entityCode", "Code of the till that issued the card."),
        instant("issued_date", "issuedDate", "When the card was issued."),
        date("created_date", "createdDate", "The day on which the card was made."),
        integer("expiry_days", "expiryDays", "How long the card is valid; 0: for ever.", "days"),
        instant("expiry_date", "expiryDate", "When the card expires."),
        boolean("active_and_digital", "activeAndDigital", "Whether it is an active digital card."),
        boolean(
            "transaction_not_allowed",
            "transactionNotAllowed",
            "Whether the API says that no purchase may use it.",
        ),
        text("status_info_status", "statusInfo.status", "The card's status, such as ACTIVE."),
        text("status_info_label", "statusInfo.label", "The brand's label for that status."),
        integer("status_info_label_id", "statusInfo.labelId", "ID of the label."),
        text("status_info_reason", "statusInfo.reason", "Why the status was given.", Privacy.FREE_TEXT),
        boolean("status_info_is_active", "statusInfo.isActive", "Whether the status is the one in force."),
        integer("status_info_id", "statusInfo.id", "ID of the status entry."),
        integer("status_info_entity_id", "statusInfo.entityId", "ID of the card that the entry is for."),
        integer(
            "status_info_created_by", "statusInfo.createdBy", "ID of the till or user that gave the status."
        ),
        instant("status_info_created_on", "statusInfo.createdOn", "When the status was given."),
        date(
            "status_info_auto_update_time",
            "statusInfo.autoUpdateTime",
            "The day on which the entry last changed.",
        ),
        json_text("status_info_actions", "statusInfo.actions", "What the status allows or forbids."),
    ),
)

CARD_FIELDS = Table(
    name="card_fields",
    meaning="One row per card and custom or extended field.",
    rows=("cardDetails[].customFields{}", "cardDetails[].extendedFields{}"),
    key=("customer_id", "card_ordinal", "list", "name"),
    columns=(
        ordinal_of("card_ordinal", "^@ordinal", "Position of the card (cards.ordinal)."),
        integer("card_id", "^.cardId", "The card's ID.", privacy=Privacy.IDENTIFIER),
        Column("list", Kind.TEXT, "@place", "The map it stands in: customFields or extendedFields."),
        Column("name", Kind.TEXT, "@key", "The field's name, as the brand wrote it."),
        Column("value", Kind.TEXT, "@value", "The field's value as text.", privacy=Privacy.FREE_TEXT),
        Column(
            "value_type",
            Kind.TEXT,
            "@type",
            "The value's JSON type: string, integer, number, boolean, null, …",
        ),
    ),
)

BLOCK = Block(tables=(CARDS, CARD_FIELDS))
