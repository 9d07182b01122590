"""Typed rows in and out of Parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.store.atomic import replacing

PART_ROW_GROUP_ROWS = 64 << 10


def write_part(path: Path, table: pa.Table) -> None:
    """Some rows as a part, a row group per 64k rows; the file appears whole or not at all."""
    with replacing(path) as temporary, part_writer(temporary, table.schema) as writer:
        writer.write_table(table, PART_ROW_GROUP_ROWS)


def part_writer(where: Path | pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a chunk's rows for one table.

    They are read once, soon, and whole: quick to write and to read rather than small, without statistics.
    """
    return pq.ParquetWriter(
        where,
        schema,
        compression="lz4",
        use_dictionary=False,
        column_encoding={
            field.name: "DELTA_BINARY_PACKED" for field in schema if pa.types.is_int64(field.type)
        },
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,  # Parquet has all types of ours
    )


def read_batches(
    path: Path, columns: list[str] | None = None, batch_rows: int = 32_768, *, use_threads: bool = True
) -> Iterator[pa.RecordBatch]:
    """A file's rows, a batch at a time; pages are checked. Raises StorageError where it cannot be read.

    Each of Arrow's threads keeps memory of its own: without them (`use_threads`) a reader takes less.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=batch_rows, columns=columns, use_threads=use_threads)
    except (OSError, pa.ArrowInvalid) as exc:
        raise StorageError(
            f"Cannot read {path}: {exc}",
            "A night's part: `capillary-export rebuild`. A snapshot's file: `capillary-export rollback`.",
        ) from exc


def fingerprint(schema: pa.Schema) -> str:
    """Names a schema: the same names, types and order give the same text."""
    described: list[Any] = [(field.name, str(field.type), field.nullable) for field in schema]
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]
