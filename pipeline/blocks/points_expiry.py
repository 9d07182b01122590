"""One row per batch of points and the day it expires. Key: customer_id, ordinal.

Batches of the same programme, day and type can repeat.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, date, decimal, instant, integer, ordinal, text

POINTS_EXPIRY_SCHEDULES = Table(
    name="points_expiry_schedules",
    meaning="One row per batch of points that will expire.",
    rows=("expirySchedules[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("program_id", "programId", "ID of the loyalty programme."),
        decimal("points", "points", "Points that will expire.", "points"),
        date(
            "expiry_date",
            "expiryDate",
            "The day on which they expire; the API means to drop it for expiryDateISO.",
        ),
        instant("expiry_date_iso", "expiryDateISO", "The moment at which they expire."),
        text(
            "points_type",
            "pointsType",
            "How they were earned: bill_regular, bill_promotions, line_item_regular, …",
        ),
        text("expiry_type", "expiryType", "fixed or rolling."),
    ),
)

BLOCK = Block(tables=(POINTS_EXPIRY_SCHEDULES,), embed=("expirySchedules",))
