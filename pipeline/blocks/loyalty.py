"""One row per customer: loyaltyInfo. Key: customer_id."""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, decimal, instant, person, text

LOYALTY = Table(
    name="loyalty",
    meaning="One row per customer: enrolment and lifetime purchases.",
    rows=("loyaltyInfo",),
    key=("customer_id",),
    columns=(
        text("loyalty_type", "loyaltyType", "loyalty or non_loyalty."),
        decimal("lifetime_purchases", "lifetimePurchases", "All purchases so far.", "currency of the org"),
        decimal("score", "score", "A score from 0 to 100 that older answers have.", "score"),
        instant("create_date", "attributionV2.createDate", "When the customer was registered."),
        instant("modified_date", "attributionV2.modifiedDate", "When the registration was last changed."),
        text(
            "created_from_source",
            "attributionV2.createdFromSource",
            "The source that registered the customer.",
        ),
        *person("created_by", "attributionV2.createdBy", "registered the customer"),
        *person("modified_by", "attributionV2.modifiedBy", "last changed the registration"),
    ),
)

BLOCK = Block(tables=(LOYALTY,))
