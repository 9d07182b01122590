"""One row per warning of an answer (or error beside a body). Key: customer_id, list, ordinal."""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Privacy, Table, boolean, integer, ordinal, text

WARNINGS = Table(
    name="warnings",
    meaning="One row per warning that came with the customer's answer.",
    rows=("warnings[]", "errors[]"),
    key=("customer_id", "list", "ordinal"),
    columns=(
        Column("list", Kind.TEXT, "@place", "The list it stands in: warnings or errors."),
        ordinal("0-based position in that list."),
        boolean("status", "status", "As given; false."),
        integer("code", "code", "The API's code, such as 8062: points could not be fetched."),
        text("message", "message", "The API's words; they may hold customer data.", Privacy.FREE_TEXT),
    ),
)

BLOCK = Block(tables=(WARNINGS,))
