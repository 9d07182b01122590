"""Custom and extended fields: one row per field, because every brand has its own and changes them.

custom_fields: profile's `fields` and `allFields`. Key: customer_id, profile_ordinal, list, name.
extended_fields: the customer's. Key: customer_id, name.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Privacy, Table, ordinal_of, text

_ENTRY = (
    Column("name", Kind.TEXT, "@key", "The field's name, as the brand wrote it."),
    Column("value", Kind.TEXT, "@value", "The field's value as text.", privacy=Privacy.FREE_TEXT),
    Column(
        "value_type", Kind.TEXT, "@type", "The value's JSON type: string, integer, number, boolean, null, …"
    ),
)

CUSTOM_FIELDS = Table(
    name="custom_fields",
    meaning="One row per profile and custom field.",
    rows=("profiles[].fields{}", "profiles[].allFields{}"),
    key=("customer_id", "profile_ordinal", "list", "name"),
    columns=(
        ordinal_of(
            "profile_ordinal", "^@ordinal", "Position of the profile in the answer (profiles.ordinal)."
        ),
        text("source", "^.source", "The profile's source."),
        text("account_id", "^.accountId", "The profile's account."),
        Column("list", Kind.TEXT, "@place", "The map it stands in: fields or allFields."),
        *_ENTRY,
    ),
)

EXTENDED_FIELDS = Table(
    name="extended_fields",
    meaning="One row per customer and extended field.",
    rows=("extendedFields{}",),
    key=("customer_id", "name"),
    columns=_ENTRY,
)

BLOCK = Block(tables=(CUSTOM_FIELDS, EXTENDED_FIELDS))
