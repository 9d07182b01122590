"""Tonight's parts as few sorted sources: what fits into memory stays there, of more each memory full goes to the disk.

A night has a part for each chunk, and each spans all customers. Kept open side by side, they would take the memory of
their decoders, which grows with the night. A run is read a small batch at a time.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from pipeline.merge.coding import Coding
from pipeline.merge.records.interleaving import Scratch
from pipeline.merge.rounds import Source, by_customer, in_order, rounds
from pipeline.merge.rows import Beside, Rows, beside_of
from pipeline.merge.sources import Group
from pipeline.store.atomic import make_folder, storage_errors

RUN_BYTES = 12 << 20
"""So much of a table's rows of tonight is sorted at once, in memory."""
SORTING_BYTES = 2 * RUN_BYTES + (8 << 20)
"""What sorting takes at the most: the records, what lies beside them, and what is just being read or written."""
BATCH_BYTES = 64 << 10
"""A run's rows are written and read so many at a time."""
PIECE_BYTES = 256 << 10
"""Rows that stayed in memory are put in order so many at a time: larger pieces of memory come from the system each time
(`processes.LARGE_BYTES`), which clears them.
"""
SOURCES_BYTES = 2 << 20
"""All runs together have so much in memory, about."""
FAN_IN = 128
"""So many runs are read side by side; of more, groups become longer runs."""
_FEWEST_ROWS = 256


@dataclass(frozen=True)
class SortedRows:
    """Tonight's rows, sorted each source by itself."""

    sources: list[Source]
    bytes: int  # of all rows
    held_bytes: int  # of those that are in memory

    @property
    def bytes_each(self) -> int:
        """So many bytes of each source are in memory at once while they are read, about."""
        return SOURCES_BYTES // max(1, len(self.sources))


@contextmanager
def sorted_rows(groups: Iterable[Group], coding: Coding, scratch: Path) -> Iterator[SortedRows]:
    """The rows of all batches (in any order; those of a group are taken at once) from at most FAN_IN sources.

    `scratch` is a folder to use and remove; what a death left there is of no use. Raises StorageError.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        found = _memory_fulls(groups, coding, scratch)
        sources, level = found.sources, 0
        while len(sources) > FAN_IN:
            several = [sources[start : start + FAN_IN] for start in range(0, len(sources), FAN_IN)]
            level += 1
            sources = [
                _Run(_merged(some, coding), coding, scratch / f"{level}-{number:05d}")
                for number, some in enumerate(several)
            ]
        yield replace(found, sources=sources)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _memory_fulls(groups: Iterable[Group], coding: Coding, scratch: Path) -> SortedRows:
    """A source for each memory full. A single one stays there; of several, all go to the disk."""
    filling, size = _Filling(coding), 0
    runs: list[Source] = []

    def put_down() -> None:
        rows = filling.in_order(BATCH_BYTES, Scratch())
        runs.append(_Run(rows, coding, scratch / f"0-{len(runs):05d}"))
        filling.empty()

    for group in groups:
        if not filling.has_room(_rows_of(group)):
            size += filling.bytes
            put_down()
        filling.add(group)
    size += filling.bytes
    if not runs:
        return SortedRows([filling.in_order(PIECE_BYTES)], size, filling.bytes)
    put_down()
    return SortedRows(runs, size, held_bytes=0)


class _Filling:
    """Rows as they come, in one piece of memory, which goes back to the system as such."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        memory, width = mmap.mmap(-1, RUN_BYTES), coding.dtype.itemsize
        self._records = np.frombuffer(memory, coding.dtype, RUN_BYTES // width)
        self._beside: list[tuple[int, Beside]] = []  # of so many rows each
        self._beside_bytes = 0
        self._rows = 0

    @property
    def bytes(self) -> int:
        """What the rows take."""
        return self._rows * self._coding.dtype.itemsize + self._beside_bytes

    def has_room(self, rows: int) -> bool:
        """Whether so many more fit; the first always do."""
        is_full = self._rows + rows > len(self._records) or self._beside_bytes >= RUN_BYTES
        return not self._rows or not is_full

    def add(self, group: Group) -> None:
        """More rows, in the columns of the table."""
        rows = _rows_of(group)
        stop = self._rows + rows
        if stop > len(self._records):
            self._records = np.empty(stop, self._coding.dtype)
        beside = self._coding.code(group, self._records[self._rows : stop])
        self._beside.append((rows, beside))
        self._beside_bytes += sum(column.nbytes for column in beside.values())
        self._rows = stop

    def empty(self) -> None:
        """Begin anew."""
        self._beside, self._beside_bytes, self._rows = [], 0, 0

    def in_order(self, size: int, scratch: Scratch | None = None) -> Iterator[Rows]:
        """Them by customer, so many bytes of them at a time; with a `scratch`, good until the next ones come."""
        rows = Rows(self._records[: self._rows], beside_of(self._beside))
        self._beside = []  # it is in one piece now
        order, ids = None, rows.ids
        if (ids[1:] < ids[:-1]).any():
            order = by_customer(ids)
        at_once = _rows_in(size, self._coding)
        for start in range(0, self._rows, at_once):
            stop = start + at_once
            yield rows.cut(start, stop) if order is None else rows.taken(order[start:stop], scratch)


def _rows_of(group: Group) -> int:
    return sum(batch.num_rows for batch in group)


def _rows_in(size: int, coding: Coding) -> int:
    return max(_FEWEST_ROWS, size // coding.dtype.itemsize)


def _merged(group: Sequence[Source], coding: Coding) -> Iterator[Rows]:
    """As one source; its rows are good until the next ones come."""
    scratch = Scratch()
    for one in rounds(group, SOURCES_BYTES // len(group)):
        yield in_order((rows for pieces in one for rows in pieces), coding.none(), scratch)


_HEAD = struct.Struct("<QQQ")
_CODEC: Final = "lz4_raw"


class _Run:
    """A run on the disk: written at once, opened when it is read, removed when it was. A death makes it anew: no sync.

        run   = frame*
        frame = rows:u64 bytes:u64 beside:u64 records stream

    The records are compressed; what lies beside them is a stream of Arrow's, of no bytes where nothing does.
    """

    def __init__(self, source: Source, coding: Coding, path: Path) -> None:
        self._dtype, self._path = coding.dtype, path
        make_folder(path.parent)
        at_once = _rows_in(BATCH_BYTES, coding)
        with storage_errors("write", path), path.open("wb") as file:
            for rows in source:
                for start in range(0, len(rows), at_once):
                    _write(rows.cut(start, start + at_once), file)

    def __iter__(self) -> Iterator[Rows]:
        with storage_errors("read", self._path), self._path.open("rb") as file:
            while head := file.read(_HEAD.size):
                yield self._read(file, *_HEAD.unpack(head))
        self._path.unlink()

    def _read(self, file: BinaryIO, rows: int, size: int, beside: int) -> Rows:
        memory: Any = pa.decompress(file.read(size), rows * self._dtype.itemsize, _CODEC)
        records = np.frombuffer(memory, self._dtype, rows)
        if not beside:
            return Rows(records)
        batch = ipc.open_stream(file.read(beside)).read_next_batch()
        return Rows(records, dict(zip(batch.schema.names, batch.columns, strict=True)))


def _write(rows: Rows, file: BinaryIO) -> None:
    found: Any = rows.records
    records = pa.compress(pa.py_buffer(found), _CODEC)
    beside = _stream_of(rows.beside) if rows.beside else b""
    file.write(_HEAD.pack(len(rows), len(records), len(beside)))
    file.write(records)
    file.write(beside)


def _stream_of(beside: Beside) -> Any:
    batch = pa.RecordBatch.from_arrays(list(beside.values()), names=list(beside))
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
