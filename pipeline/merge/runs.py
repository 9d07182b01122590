"""Tonight's parts as few sorted sources: what fits into memory stays there, of more each memory full goes to the disk.

A night has a part for each chunk, and each spans all customers. Kept open side by side, they would take the memory of
their decoders, which grows with the night. A run is read a small batch at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from pipeline.merge.rounds import in_order, joined, rounds, taken
from pipeline.merge.sources import Batches, ids_of, rows_in
from pipeline.store.atomic import make_folder, storage_errors

RUN_BYTES = 8 << 20
"""So much of a table's rows of tonight is sorted at once, in memory."""
BATCH_BYTES = 256 << 10
"""A run's rows are read so many at a time, at the least."""
SOURCES_BYTES = 2 << 20
"""All runs together have so much in memory, about."""
FAN_IN = 32
"""So many runs are read side by side; of more, groups become longer runs."""


@contextmanager
def sorted_sources(batches: Batches, schema: pa.Schema, scratch: Path) -> Iterator[list[Batches]]:
    """The rows of all batches (each sorted, in any order) from at most FAN_IN sorted sources.

    `scratch` is a folder to use and remove; what a death left there is of no use. Raises StorageError.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        sources = list(_memory_fulls(batches, schema, scratch))
        level = 0
        while len(sources) > FAN_IN:
            groups = [sources[start : start + FAN_IN] for start in range(0, len(sources), FAN_IN)]
            level += 1
            sources = [
                _run(_merged(group, schema), schema, scratch / f"{level}-{number:05d}")
                for number, group in enumerate(groups)
            ]
        yield [_larger(one, SOURCES_BYTES // max(1, len(sources))) for one in sources]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _memory_fulls(batches: Batches, schema: pa.Schema, scratch: Path) -> Iterator[Batches]:
    """A source for each memory full; the last one stays in memory."""
    waiting: list[pa.RecordBatch] = []
    size = number = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= RUN_BYTES:
            yield _run(_sorted(waiting, schema), schema, scratch / f"0-{number:05d}")
            waiting, size, number = [], 0, number + 1
    if waiting:
        yield _sorted(waiting, schema)


def _sorted(batches: list[pa.RecordBatch], schema: pa.Schema) -> list[pa.RecordBatch]:
    """Their rows by customer; what was handed in is let go."""
    together = joined(batches)
    batches.clear()
    ids = ids_of(together)
    if (ids[1:] < ids[:-1]).any():
        together = taken(together, np.argsort(ids, kind="stable"))
    rows = rows_in(SOURCES_BYTES, schema)
    return [together.slice(start, rows) for start in range(0, together.num_rows, rows)]


def _merged(group: Sequence[Batches], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for one in rounds(group, schema):
        yield in_order(one)


def _run(batches: Batches, schema: pa.Schema, path: Path) -> Batches:
    """The rows by way of the disk. Not synced: a death makes them anew."""
    make_folder(path.parent)
    options = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    rows = rows_in(BATCH_BYTES, schema)
    with (
        storage_errors("write", path),
        pa.OSFile(str(path), "wb") as file,
        ipc.new_stream(file, schema, options=options) as writer,
    ):
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                writer.write_batch(batch.slice(start, rows))
    return _Run(path)


class _Run:
    """A run on the disk; opened when it is read, and removed when it was."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        options = ipc.IpcReadOptions(use_threads=False)
        with storage_errors("read", self._path), pa.OSFile(str(self._path), "rb") as file:
            yield from ipc.open_stream(file, options=options)
        self._path.unlink()


def _larger(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about so many bytes: rounds of few rows cost as much as those of many."""
    waiting: list[pa.RecordBatch] = []
    waits = 0
    for batch in batches:
        waiting.append(batch)
        waits += batch.nbytes
        if waits >= size:
            yield joined(waiting) if len(waiting) > 1 else waiting[0]
            waiting, waits = [], 0
    if waiting:
        yield joined(waiting) if len(waiting) > 1 else waiting[0]
