"""Arrow schemas, made from the declarations: same columns, same order, in every file of every night."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa

from pipeline.blocks.base import Column, Kind, Privacy, Table
from pipeline.blocks.fit import ARROW_TYPES

RECORD = "_record"
"""Only in parts: the answer's number in the night's journal. Of several answers for an ID, the last one
counts.
"""

CUSTOMER_ID = Column("customer_id", Kind.INT, "id", "The ID as it was asked for.", privacy=Privacy.IDENTIFIER)
FETCHED_AT = Column("_fetched_at", Kind.INSTANT, "", "When the answer came.", "UTC")
NIGHT = Column("_night", Kind.DATE, "", "The night that fetched the answer.")
EXTRA = Column(
    "extra",
    Kind.JSON,
    "",
    "What the answer said here and no column holds: JSON path from the row → value. Null when nothing.",
    privacy=Privacy.FREE_TEXT,
)


def columns_of(table: Table, *, offsets: bool = False) -> list[Column]:
    """All columns as readers see them. `offsets`: date-times get a `<name>_offset` beside them."""
    own = [wide for column in table.columns for wide in _with_offset(column, offsets)]
    return [CUSTOMER_ID, *own, FETCHED_AT, NIGHT, EXTRA]


def _with_offset(column: Column, offsets: bool) -> Iterable[Column]:
    yield column
    if offsets and column.kind is Kind.INSTANT:
        meaning = f"The zone that `{column.name}` was written with, such as +05:30 or Z."
        yield Column(f"{column.name}_offset", Kind.TEXT, column.source, meaning)


def arrow_schema(table: Table, *, offsets: bool = False) -> pa.Schema:
    """The table's schema, its columns described in the field metadata."""
    return schema_of(columns_of(table, offsets=offsets), table)


def accounts_schema(table: Table) -> pa.Schema:
    """The schema of an accounts table (`accounts.py`): exactly the columns it declares."""
    return schema_of(table.columns, table)


def schema_of(columns: Iterable[Column], table: Table) -> pa.Schema:
    """A schema of just these columns."""
    about: dict[bytes | str, bytes | str] = {"description": table.meaning, "key": json.dumps(table.key)}
    return pa.schema([_field(column) for column in columns], metadata=about)


def part_schema(table: Table, *, offsets: bool = False) -> pa.Schema:
    """The schema of a chunk's part: the table's, and which answer each row came from."""
    return arrow_schema(table, offsets=offsets).append(pa.field(RECORD, pa.int64(), nullable=False))


def _field(column: Column) -> pa.Field[pa.DataType]:
    about = {"description": column.meaning, "privacy": str(column.privacy)}
    if column.source:
        about["source"] = column.source
    if column.unit:
        about["unit"] = column.unit
    return pa.field(column.name, ARROW_TYPES[column.kind], nullable=is_nullable(column), metadata=about)


def is_nullable(column: Column) -> bool:
    """Whether the column may be null: all may but the customer and the night."""
    return column.name not in ("customer_id", "_night")
