"""Rows of a made-up table, as a snapshot has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NIGHT = date(2026, 11, 22)
BEFORE = date(2026, 11, 21)

_FIELDS: list[pa.Field[Any]] = [
    pa.field("customer_id", pa.int64()),
    pa.field("tier", pa.string(), metadata={"privacy": "none"}),
    pa.field("name", pa.string(), metadata={"privacy": "name"}),
    pa.field("points", pa.decimal128(38, 9)),
    pa.field("joined_on", pa.timestamp("us", "UTC")),
    pa.field("is_active", pa.bool_()),
    pa.field("_night", pa.date32()),
]
SCHEMA = pa.schema(_FIELDS, metadata={"key": json.dumps(["customer_id"])})


def members(count: int, *, night: date = NIGHT, **columns: Any) -> pa.Table:
    """One row for each customer; a column given as a function is made from the customer's number."""
    usual: dict[str, Any] = {
        "customer_id": lambda n: 100 + n,
        "tier": lambda n: ("Base", "Silver", "Gold")[n % 3],
        "name": lambda n: f"Name {n}",
        "points": lambda n: Decimal(n % 50) * 10,
        "joined_on": lambda n: datetime(2020, 1 + n % 12, 1 + n % 28, n % 24, n % 60, tzinfo=UTC),
        "is_active": lambda n: n % 2 == 0,
        "_night": lambda _: night,
    }
    made = {name: [make(n) for n in range(count)] for name, make in {**usual, **columns}.items()}
    return pa.table(made, schema=SCHEMA)


def written(folder: Path, name: str, rows: pa.Table, group_rows: int = 1 << 20) -> list[Path]:
    """As the files of a table."""
    path = folder / name / "part-00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, row_group_size=group_rows)
    return [path]


def numbers(levels: Any, check: str) -> dict[str, float]:
    """A check's values, by subject."""
    return {subject: value for subject, (value, _) in levels.get(check, {}).items()}


def seen(*values: float, count: int = 1000, gap: float = 1.0) -> Sequence[tuple[float, int, float]]:
    """A past, newest first."""
    return tuple((value, count, gap) for value in values)
