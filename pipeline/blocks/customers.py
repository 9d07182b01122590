"""One row per customer: the answer's single values, and how many of each child came. Key: customer_id.

What is odd at the top of an answer is kept in this table's `extra`.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Privacy, Table, integer, json_text, text

CUSTOMERS = Table(
    name="customers",
    meaning="One row per customer whose answer was exported.",
    rows=("",),
    key=("customer_id",),
    columns=(
        integer(
            "id",
            "id",
            "The ID that the answer itself carries; the same as customer_id.",
            privacy=Privacy.IDENTIFIER,
        ),
        text("loyalty_type", "loyaltyInfo.loyaltyType", "loyalty or non_loyalty."),
        text("associated_with", "associatedWith", "Code of the till that registered the customer."),
        text(
            "status_label",
            "statusLabel",
            "The brand's label for the customer's status (see customer_status).",
        ),
        text("referral_code", "referralCode", "The customer's own referral code.", Privacy.IDENTIFIER),
        integer(
            "entity",
            "entity",
            "ID that some answers of the family give beside `id`.",
            privacy=Privacy.IDENTIFIER,
        ),
        json_text(
            "ug2_pagination", "ug2Pagination", "Which page of the user groups this is, and of how many."
        ),
        integer("profile_count", "#profiles", "Profiles in the answer.", "profiles"),
        integer("segment_count", "#segments", "Segments in the answer.", "segments"),
        integer("extended_field_count", "#extendedFields", "Extended fields in the answer.", "fields"),
        integer("program_count", "#loyaltyProgramDetails", "Loyalty programmes in the answer.", "programmes"),
        integer(
            "group_program_count",
            "#groupLoyaltyProgramDetails",
            "Group programmes in the answer.",
            "programmes",
        ),
        integer(
            "subscription_count",
            "#subscriptionInfo.subscriptions",
            "Subscriptions in the answer.",
            "subscriptions",
        ),
        integer("card_count", "#cardDetails", "Cards in the answer.", "cards"),
        integer("image_count", "#customerImage", "Customer images in the answer.", "images"),
        integer("warning_count", "#warnings", "Warnings in the answer.", "warnings"),
        Column(
            "body_hash",
            Kind.TEXT,
            "@body_hash",
            "Hash of the answer without its warnings and signed URLs: the same hash, nothing has changed.",
        ),
    ),
)

BLOCK = Block(tables=(CUSTOMERS,))
