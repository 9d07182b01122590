"""From a document to what the collector makes of it, for tests."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline.blocks import TABLES, table
from pipeline.blocks.collect import Collected, Collector, Options
from pipeline.blocks.schema import RECORD
from pipeline.jsontext import Json, decode, dump

NIGHT = date(2026, 11, 22)
FETCHED = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
FETCHED_US = int(FETCHED.timestamp()) * 1_000_000
CUSTOMER = 4711

OURS = ("customer_id", "_fetched_at", "_night", RECORD)


def collect(*docs: Json, zone: str | None = None, keep_offsets: bool = False) -> Collected:
    """Flatten copies of documents (customers 4711, 4712, …) with every table."""
    collector = _collector(zone, keep_offsets)
    collector.drain()
    for number, doc in enumerate(docs):
        collector.add(decode(dump(doc).encode()).doc, CUSTOMER + number, FETCHED_US, number, f"hash-{number}")
    return collector.drain()


@cache
def _collector(zone: str | None, keep_offsets: bool) -> Collector:
    """Making one compiles its function; the tests share them."""
    return Collector(TABLES, Options(NIGHT, ZoneInfo(zone) if zone else None, keep_offsets))


def rows_of(collected: Collected, name: str) -> list[dict[str, Any]]:
    """A table's rows, in order."""
    batch = collected.batches.get(name)
    return [] if batch is None else batch.to_pylist()


def own_rows(doc: Json, name: str) -> list[dict[str, Any]]:
    """A table's rows from one document: the values that are not null, of its own columns and `extra`."""
    return [
        {column: value for column, value in row.items() if value is not None and column not in OURS}
        for row in rows_of(collect(doc), name)
    ]


def column_names(name: str) -> list[str]:
    """The names of a table's own columns."""
    return [column.name for column in table(name).columns]


def as_table(batch: pa.RecordBatch) -> pa.Table:
    """A batch as a table, to check it fully."""
    whole = pa.Table.from_batches([batch])
    whole.validate(full=True)
    return whole
