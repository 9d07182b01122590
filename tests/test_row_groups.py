"""A table's file as warehouses like it, and what waits for a row group."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.schema import arrow_schema
from pipeline.merge import ROW_GROUP_BYTES, groups, packing, write_files
from pipeline.merge.coding import Coding
from pipeline.merge.packing import Packing

MIB = 1 << 20
FIELDS: list[pa.Field[Any]] = [
    pa.field("customer_id", pa.int64(), nullable=False, metadata={"description": "Whose row it is."}),
    pa.field("points", pa.decimal128(38, 9)),
    pa.field("tier", pa.string()),
    pa.field("note", pa.string()),
    pa.field("is_member", pa.bool_()),
    pa.field("at", pa.timestamp("us", "UTC")),
    pa.field("born", pa.date32()),
]
SCHEMA = pa.schema(FIELDS, {"key": '["customer_id"]'})


def some_rows(start: int, count: int, distinct: int) -> pa.RecordBatch:
    """Rows of every type with nulls, of so many distinct values."""
    told = [None if one % 7 == 3 else one % distinct for one in range(start, start + count)]
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    columns: list[Any] = [
        list(range(start, start + count)),
        [None if one is None else Decimal(one) / 8 for one in told],
        [None if one is None else f"tier {one}" for one in told],
        [f"note {one}" for one in range(start, start + count)],
        [None if one is None else one % 2 == 0 for one in told],
        [None if one is None else noon + timedelta(seconds=one) for one in told],
        [None if one is None else date(2000, 1, 1) + timedelta(days=one) for one in told],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def written(folder: Path, batches: Any, schema: pa.Schema = SCHEMA) -> Path:
    write_files(batches, schema, folder / "t", "zstd")
    return folder / "t" / "part-00000.parquet"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("distinct", [(3, 3), (3, 1_500), (1_500, 3)])
def test_what_waits_is_written_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distinct: tuple[int, int], packed: bool
) -> None:
    """Every type, with nulls, also where later rows are of another kind than the first; the schema as if unpacked."""
    if packed:
        monkeypatch.setattr(packing, "LOOSE_BYTES", 1)
        monkeypatch.setattr(packing, "LOT_BYTES", 1)
        monkeypatch.setattr(groups, "WAITING_BYTES", 100_000)
    batches = [some_rows(4_000 * at, 4_000, distinct[at > 2]) for at in range(6)]
    path = written(tmp_path, batches)
    expected = pa.Table.from_batches(batches)
    assert pq.read_table(path).equals(expected)
    assert pq.read_schema(path).equals(SCHEMA, check_metadata=True)
    assert (pq.ParquetFile(path).metadata.num_row_groups > 1) == packed
    assert pl.read_parquet(path).get_column("points").to_list() == expected["points"].to_pylist()
    counted = duckdb.execute(f"SELECT count(*), count(tier), sum(points) FROM '{path}'").fetchall()
    tiers = expected["tier"]
    assert counted == [(24_000, 24_000 - tiers.null_count, sum(filter(None, expected["points"].to_pylist())))]


def test_files_have_what_readers_skip_by(tmp_path: Path) -> None:
    """zstd, statistics and page indexes of every column, checksums of pages, sorted by customer."""
    metadata = pq.ParquetFile(written(tmp_path, [some_rows(0, 4_000, 9)])).metadata
    for at in range(metadata.num_columns):
        column = metadata.row_group(0).column(at)
        assert column.compression == "ZSTD"
        assert column.has_column_index
        assert column.has_offset_index
        assert column.statistics is not None
        assert column.statistics.has_min_max
    first: Any = metadata.row_group(0).column(0).statistics
    assert (first.min, first.max) == (0, 3_999)
    assert b"ARROW:schema" in (metadata.metadata or {})
    stored = pa.ipc.read_schema(pa.py_buffer(base64.b64decode((metadata.metadata or {})[b"ARROW:schema"])))
    assert stored.equals(SCHEMA, check_metadata=True)


def distinct_rows(count: int) -> Iterator[pa.RecordBatch]:
    """Rows of which nothing repeats itself."""
    schema, random = (
        pa.schema([("customer_id", pa.int64()), ("amount", pa.int64())]),
        np.random.default_rng(1),
    )
    for start in range(0, count, 32_768):
        columns = [np.arange(start, start + 32_768), random.integers(0, 1 << 60, 32_768)]
        yield pa.RecordBatch.from_arrays([pa.array(one) for one in columns], schema=schema)


def repeated_rows(count: int) -> Iterator[pa.RecordBatch]:
    """Rows of a wide table whose values repeat themselves, as amounts and tiers do."""
    schema, random = arrow_schema(next(one for one in TABLES if one.name == "loyalty_programs")), 0
    amounts: Any = pa.array([Decimal(one * 37 % 500) / 4 for one in range(4_096)], pa.decimal128(38, 9))
    texts: Any = pa.array([f"tier {one % 5}" for one in range(4_096)])
    for start in range(0, count, 4_096):
        arrays: list[Any] = []
        for field in schema:
            if field.name == "customer_id":
                arrays.append(pa.array(np.arange(start, start + 4_096)))
            elif pa.types.is_decimal(field.type):
                arrays.append(amounts.take(pa.array(np.roll(np.arange(4_096), random))))
            elif pa.types.is_string(field.type):
                arrays.append(texts.take(pa.array(np.roll(np.arange(4_096), random))))
            elif field.nullable:
                arrays.append(pa.nulls(4_096, field.type))
            else:
                zeros = pa.array(np.zeros(4_096, np.int32 if pa.types.is_date(field.type) else np.int64))
                arrays.append(zeros.cast(field.type))
            random += 911
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def test_row_groups_have_the_size_that_warehouses_like(tmp_path: Path) -> None:
    """16 MiB or more, encoded, in all row groups but a table's last one."""
    path = written(tmp_path, distinct_rows(4_000_000), next(distinct_rows(1)).schema)
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)]
    assert len(sizes) > 2
    assert all(16 * MIB <= one <= 1.3 * ROW_GROUP_BYTES for one in sizes[:-1])


def test_repetitive_rows_wait_in_a_fraction_of_their_memory(tmp_path: Path) -> None:
    """A row group of rows that take 150 MiB in memory is written, and never so much was held."""
    before, most, size = pa.total_allocated_bytes(), 0, 0

    def watched() -> Iterator[pa.RecordBatch]:
        nonlocal most, size
        for batch in repeated_rows(500_000):
            most, size = max(most, pa.total_allocated_bytes() - before), size + batch.nbytes
            yield batch

    path = written(tmp_path, watched(), next(repeated_rows(1)).schema)
    assert size > 150 * MIB
    assert most < groups.WAITING_BYTES
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_rows_that_take_no_room_end_a_row_group_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded, be a row group as small as it may."""
    monkeypatch.setattr(groups, "WAITING_BYTES", 6 * MIB)
    path = written(tmp_path, repeated_rows(200_000), next(repeated_rows(1)).schema)
    assert pq.ParquetFile(path).metadata.num_row_groups > 1


def test_a_text_column_may_come_to_have_more_words_than_a_dictionary_can_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few words at first, and then of 70,000: none is lost, and all are in one row group."""
    monkeypatch.setattr(packing, "LOOSE_BYTES", 1)
    monkeypatch.setattr(packing, "LOT_BYTES", 1)
    batches = [some_rows(0, 10_000, 9), some_rows(10_000, 85_000, 80_000)]
    path = written(tmp_path, batches)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    assert pq.read_table(path).equals(pa.Table.from_batches(batches))


def test_what_repeats_itself_is_told_from_the_first_rows() -> None:
    """Those columns have dictionaries in the file; IDs of sorted customers have none."""
    coding = Coding(SCHEMA)
    waiting = Packing(coding)
    waiting.add(coding.rows(some_rows(0, 4_000, 9)))
    assert waiting.table().num_rows == 4_000
    assert waiting.repeating == ["points", "tier", "is_member", "at", "born"]
