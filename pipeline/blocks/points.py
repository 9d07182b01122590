"""One row per customer: points and tier of the default programme. Key: customer_id."""

from __future__ import annotations

from pipeline.blocks.balances import BALANCE_COLUMNS
from pipeline.blocks.base import Block, Table

POINTS_SUMMARY = Table(
    name="points_summary",
    meaning="One row per customer: points and tier of the organisation's default programme.",
    rows=("pointsSummary",),
    key=("customer_id",),
    columns=BALANCE_COLUMNS,
)

BLOCK = Block(tables=(POINTS_SUMMARY,), embed=("points",))
