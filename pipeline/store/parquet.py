"""Typed rows in and out of Parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.store.atomic import replacing

PART_COMPRESSION_LEVEL = 1
PART_ROW_GROUP_ROWS = 64 << 10


def write_part(path: Path, table: pa.Table) -> None:
    """A chunk's rows for one table, a row group per 64k rows; the file appears whole or not at all."""
    with replacing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=PART_COMPRESSION_LEVEL,
            row_group_size=PART_ROW_GROUP_ROWS,
            write_page_checksum=True,
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


class Sink(Protocol):
    """What a Parquet file is written to."""

    def write(self, data: bytes) -> int: ...

    def tell(self) -> int: ...

    def flush(self) -> None: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


class TableFileWriter:
    """One Parquet file as analysts read it: big row groups, statistics, page index."""

    def __init__(self, sink: Sink, schema: pa.Schema, compression: str, row_group_bytes: int) -> None:
        self.rows = 0
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._row_group_bytes = row_group_bytes
        self._writer = pq.ParquetWriter(
            cast(Any, sink),
            schema,
            compression=cast(Any, compression),
            write_statistics=True,
            write_page_index=True,
            write_page_checksum=True,
        )

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Append rows; a row group is written whenever enough have come together."""
        for batch in batches:
            self._pending.append(batch)
            self._pending_bytes += batch.nbytes
            self.rows += batch.num_rows
            if self._pending_bytes >= self._row_group_bytes:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(
                pa.Table.from_batches(self._pending, self._schema), row_group_size=1 << 30
            )
        self._pending, self._pending_bytes = [], 0

    def abandon(self) -> None:
        """Close without a word, after an error: what was written is of no use."""
        self._pending = []
        with suppress(Exception):
            self._writer.close()

    def close(self) -> None:
        """Write what waits and the footer."""
        self._flush()
        self._writer.close()


def fingerprint(schema: pa.Schema) -> str:
    """Names a schema: the same names, types and order give the same text."""
    described: list[Any] = [(field.name, str(field.type), field.nullable) for field in schema]
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]
