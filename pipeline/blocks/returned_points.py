"""One row per return that took points back. Key: customer_id, ordinal.

Nothing public shows this block's fields: the whole element is kept in `raw`, and keys without a column are
counted.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, decimal, integer, json_text, ordinal

RETURNED_POINTS = Table(
    name="returned_points",
    meaning="One row per return that took points back.",
    rows=("returnedPoints[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("program_id", "programId", "ID of the loyalty programme."),
        decimal("points", "points", "Points taken back.", "points"),
        json_text("raw", "@row", "The whole element, as it came."),
    ),
)

BLOCK = Block(tables=(RETURNED_POINTS,), embed=("returnedPoints",))
