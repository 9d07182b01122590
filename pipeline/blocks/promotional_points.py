"""One row per promotion that gave points. Key: customer_id, kind, ordinal."""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Table, decimal, instant, integer, ordinal, text

PROMOTIONAL_POINTS = Table(
    name="promotional_points",
    meaning="One row per promotion that gave the customer points.",
    rows=(
        "promotionalPoints.customerPromotionType[]",
        "promotionalPoints.transactionPromotionType[]",
        "promotionalPoints.lineitemPromotionType[]",
    ),
    key=("customer_id", "kind", "ordinal"),
    columns=(
        Column(
            "kind",
            Kind.TEXT,
            "@place",
            "What they were for: customerPromotionType, transactionPromotionType, lineitemPromotionType.",
        ),
        ordinal("0-based position in the list of that kind."),
        decimal("points", "points", "Points given.", "points"),
        instant("issued_on", "issuedOn", "When they were given."),
        instant("expiry_date", "expiryDate", "When they expire."),
        text("issued_at_code", "issuedAt.code", "Code of the store that gave them."),
        text("issued_at_name", "issuedAt.name", "Name of the store that gave them."),
        text("promotion_name", "promotionName", "The promotion's name."),
        integer(
            "promotion_source_id",
            "promotionSource.promotionSourceId",
            "ID of what stands behind it; -1: none.",
        ),
        text(
            "promotion_source_type",
            "promotionSource.promotionSourceType",
            "Its kind, such as GOODWILL.",
        ),
        integer("program_id", "programId", "ID of the loyalty programme."),
    ),
)

BLOCK = Block(tables=(PROMOTIONAL_POINTS,), embed=("promotionalPoints",))
