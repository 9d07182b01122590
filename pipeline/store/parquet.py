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


def write_rows(path: Path, table: pa.Table) -> None:
    """Some rows as a file of the night's own; it appears whole or not at all."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=64 << 10, compression="lz4", write_page_checksum=True)


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
