"""One Parquet file as analysts read it: large row groups, zstd, statistics, page index, checksums of pages."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.merge.coding import Coding
from pipeline.merge.packing import Packing
from pipeline.merge.rows import Rows

ROW_GROUP_BYTES = 20 << 20
"""A row group takes about so many bytes encoded, before compression: warehouses like 16 MiB or more."""
PROBED_BYTES = 16 << 20
"""Once so many bytes of rows wait, it is tried out on them how many rows make a row group."""
WAITING_BYTES = 40 << 20
"""More bytes of rows never wait, though their row group be small: very repetitive ones take hardly a byte a value."""
BATCH_ROWS = 8_192
"""The Parquet writer takes so many values at once: a sixth less CPU than with the thousand it takes by itself."""
DICTIONARY_BYTES = 256 << 10
"""A column's dictionary that grows larger is given up: of numbers, building it takes forty times as much memory."""


class Sink(Protocol):
    """What a Parquet file is written to."""

    def write(self, data: bytes) -> int: ...

    def tell(self) -> int: ...

    def flush(self) -> None: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


class TableFileWriter:
    """Writes rows as they come. Where a row group ends depends on the rows alone."""

    def __init__(self, sink: Sink, coding: Coding, compression: str) -> None:
        self.rows = 0
        self._sink, self._schema, self._compression = sink, coding.schema, compression
        self._waiting = Packing(coding)
        self._group_rows = 0  # how many rows make a row group; 0: not known yet
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: Rows) -> None:
        """Append rows; a row group is written whenever enough have come together."""
        self.rows += len(rows)
        self._waiting.add(rows)
        if not self._group_rows and self._waiting.bytes >= PROBED_BYTES:
            self._group_rows = self._rows_of_a_group()
        is_enough = 0 < self._group_rows <= self._waiting.rows
        if is_enough or self._waiting.bytes >= WAITING_BYTES:
            self._flush()

    def _rows_of_a_group(self) -> int:
        """By encoding what waits, into nothing."""
        rows, nowhere = self._waiting.table(), _Nowhere()
        writer = pq.ParquetWriter(
            cast(Any, nowhere),
            rows.schema,
            compression="none",
            write_statistics=False,
            **self._encodings(),
        )
        writer.write_table(rows, row_group_size=1 << 30)
        writer.close()
        return max(1, ROW_GROUP_BYTES * rows.num_rows // nowhere.bytes)

    def _flush(self) -> None:
        if self._waiting.bytes >= PROBED_BYTES:  # now comes the most: without what was needed to come here
            pa.default_memory_pool().release_unused()
        rows = self._waiting.drained()
        if self._writer is None:
            self._writer = self._open(rows.schema)
        if rows.num_rows:
            self._writer.write_table(rows, row_group_size=1 << 30)

    def _open(self, packed: pa.Schema) -> pq.ParquetWriter:
        writer = pq.ParquetWriter(
            cast(Any, self._sink),
            packed,
            compression=cast(Any, self._compression),
            write_statistics=True,
            write_page_index=True,
            write_page_checksum=True,
            write_batch_size=BATCH_ROWS,
            **self._encodings(),
            store_schema=False,  # that of the packed rows is nobody's business
        )
        text = base64.b64encode(self._schema.serialize().to_pybytes())
        writer.add_key_value_metadata({"ARROW:schema": text.decode()})
        return writer

    def _encodings(self) -> dict[str, Any]:
        repeating: Any = self._waiting.repeating
        return {"use_dictionary": repeating or False, "dictionary_pagesize_limit": DICTIONARY_BYTES}

    def abandon(self) -> None:
        """Close without a word, after an error: what was written is of no use."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()

    def close(self) -> None:
        """Write what waits and the footer."""
        if self._waiting.rows or self._writer is None:
            self._flush()
        assert self._writer is not None
        self._writer.close()


class _Nowhere:
    """A sink that only counts."""

    closed = False

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
