"""Columns of numbers that grow with the base. Long ones lie in files without a name and are mapped, so that a night of
millions holds in memory only what a step looks at; short ones are plain arrays.

Whoever reads a mapped column has its pages resident from then on: `let_go` gives them back, and they are read again
where they are needed. Files have no name, so whatever dies leaves none behind.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.processes import let_go_of_code
from pipeline.store.atomic import storage_errors

Ints = npt.NDArray[Any]
Rows = npt.NDArray[Any]
"""Structured: a field for each column."""

SHORT = 1 << 16
"""A column of no more values stays in memory."""
RUN_ROWS = 1 << 17
"""So many rows are sorted at a time."""
SLICE = 1 << 16
"""So many values of a column are worked on at once."""
_FEWEST_ROWS = 256

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def let_go() -> None:
    """Give back mapped columns and code, which can be had again, and what the C library keeps of what was freed."""
    let_go_of_columns()
    pa.default_memory_pool().release_unused()
    let_go_of_code()


def let_go_of_columns() -> None:
    """Give back the memory of all mapped columns only: it costs nothing."""
    for memory in list(_mapped):
        memory.madvise(mmap.MADV_DONTNEED)


def let_go_of(column: Ints) -> None:
    """Give back the memory of one column, where it is mapped."""
    memory: Any = column
    while isinstance(memory, np.ndarray | memoryview):
        memory = memory.base if isinstance(memory, np.ndarray) else memory.obj
    if isinstance(memory, mmap.mmap):
        memory.madvise(mmap.MADV_DONTNEED)


def scratch_in(folder: Path) -> Path | None:
    """Where long columns may lie; None, in memory, where nothing may be written."""
    return folder if os.access(folder, os.W_OK) else None


def map_file(file: IO[bytes]) -> mmap.mmap:
    """A file's bytes, resident only from when they are looked at until `let_go`."""
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _mapped.add(memory)
    return memory


def slices(count: int, size: int | None = None) -> Iterator[slice]:
    """Stretches of a column, one after the other."""
    size = size or SLICE
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


class _File:
    """A file without a name; it goes with this object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_errors("write in", folder):
            self.file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed when nobody has this object any more
        weakref.finalize(self, self.file.close)

    def append(self, values: npt.NDArray[Any]) -> int:
        """Write them behind what is there; gives where they begin, in bytes. Raises StorageError."""
        with storage_errors("write in", self._folder):
            start = self.file.seek(0, os.SEEK_END)
            self.file.write(values.data)
            self.file.flush()
        return start

    def read(self, start: int, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """So many values, from a byte on. Raises StorageError."""
        with storage_errors("read in", self._folder):
            return np.frombuffer(os.pread(self.file.fileno(), count * dtype.itemsize, start), dtype)


class Column:
    """A column under way. `folder` is where its file would lie; None: it stays in memory, however long."""

    def __init__(self, dtype: npt.DTypeLike, folder: Path | None) -> None:
        self.dtype = np.dtype(dtype)
        self._folder = folder
        self._pieces: list[Ints] = [np.empty(0, self.dtype)]
        self._file: _File | None = None
        self._count = 0

    def add(self, piece: Ints) -> None:
        """More values behind those that are there. Raises StorageError."""
        self._count += len(piece)
        self._pieces.append(np.ascontiguousarray(piece, self.dtype))
        if self._folder is not None and self._count > SHORT:
            self._file = self._file or _File(self._folder)
            self._file.append(np.concatenate(self._pieces))
            self._pieces = []

    def finished(self) -> Ints:
        """All of it."""
        if self._file is None:
            return np.concatenate(self._pieces)
        return np.frombuffer(map_file(self._file.file), self.dtype)


def column_of(pieces: Iterable[Ints], folder: Path | None, dtype: npt.DTypeLike = np.int64) -> Ints:
    """One column of all pieces. Raises StorageError."""
    column = Column(dtype, folder)
    for piece in pieces:
        column.add(piece)
    return column.finished()


class Sorter:
    """Brings rows together by their first field, however many there are: sorted runs in a file, merged when read."""

    def __init__(self, fields: Mapping[str, npt.DTypeLike], folder: Path | None) -> None:
        self.dtype = np.dtype(list(fields.items()))
        self._key = next(iter(fields))
        self._folder = folder
        self._waiting: list[Rows] = []
        self._waits = 0
        self._file: _File | None = None
        self._runs: list[tuple[int, int]] = []  # where each begins in the file, and how many rows it has

    def copy(self) -> Sorter:
        """The same rows, to add others to."""
        other = copy(self)
        other._waiting, other._runs = list(self._waiting), list(self._runs)
        return other

    def add(self, **columns: Ints) -> None:
        """More rows, which count as later than those that are there. Raises StorageError."""
        rows = np.empty(len(columns[self._key]), self.dtype)
        for name, values in columns.items():
            rows[name] = values
        self._waiting.append(rows)
        self._waits += len(rows)
        if self._folder is not None and self._waits >= RUN_ROWS:
            self._write_run(self._folder)

    def slices(self) -> Iterator[Rows]:
        """All rows, some at a time, by the first field; those where it is the same in their order, and in one slice.

        Raises StorageError.
        """
        waiting = self._sorted()
        runs = [self._run(*run) for run in self._runs]
        runs.append(waiting[one] for one in slices(len(waiting), self._at_once()))
        return (self._by_key(rows) for rows in _rounds(runs, waiting[:0], self._key))

    def columns(self) -> dict[str, Ints]:
        """The same rows, as columns. Raises StorageError."""
        made = {name: Column(self.dtype[name], self._folder) for name in self.dtype.names or ()}
        for rows in self.slices():
            for name, column in made.items():
                column.add(rows[name])
        return {name: column.finished() for name, column in made.items()}

    def _at_once(self) -> int:
        return max(_FEWEST_ROWS, SLICE // (len(self._runs) + 1))

    def _sorted(self) -> Rows:
        return self._by_key(np.concatenate([np.empty(0, self.dtype), *self._waiting]))

    def _by_key(self, rows: Rows) -> Rows:
        keys = rows[self._key]
        return rows if np.all(keys[1:] >= keys[:-1]) else rows[np.argsort(keys, kind="stable")]

    def _write_run(self, folder: Path) -> None:
        rows = self._sorted()
        self._file = self._file or _File(folder)
        self._runs.append((self._file.append(rows), len(rows)))
        self._waiting, self._waits = [], 0

    def _run(self, start: int, count: int) -> Iterator[Rows]:
        assert self._file is not None
        for one in slices(count, self._at_once()):
            yield self._file.read(start + one.start * self.dtype.itemsize, one.stop - one.start, self.dtype)


def _rounds(runs: Sequence[Iterator[Rows]], nothing: Rows, key: str) -> Iterator[Rows]:
    """The rows of sorted runs, in the runs' order, up to the same key of each at a time."""
    inputs = [_Input(run, nothing, key) for run in runs]
    while sum(one.fill() for one in inputs):
        boundary = min((one.keys[-1] for one in inputs if not one.is_finished), default=None)
        yield np.concatenate([one.take_before(boundary) for one in inputs])


class _Input:
    """A run with the rows that wait; of its last key more may be to come."""

    def __init__(self, run: Iterator[Rows], nothing: Rows, key: str) -> None:
        self._run = run
        self._waiting = nothing
        self._key = key
        self.is_finished = False

    @property
    def keys(self) -> Ints:
        keys: Ints = self._waiting[self._key]
        return keys

    def fill(self) -> bool:
        """Have all rows of one key waiting at the least; False when there are no more rows."""
        while not self.is_finished and (not len(self._waiting) or self.keys[0] == self.keys[-1]):
            more = next(self._run, None)
            if more is None:
                self.is_finished = True
            else:
                self._waiting = np.concatenate([self._waiting, more])
        return bool(len(self._waiting))

    def take_before(self, boundary: Any) -> Rows:
        count = len(self._waiting) if boundary is None else int(np.searchsorted(self.keys, boundary))
        before, self._waiting = self._waiting[:count], self._waiting[count:]
        return before


def sorted_column(pieces: Iterable[Ints], folder: Path | None) -> Ints:
    """All whole numbers of all pieces, sorted, each once. Raises StorageError."""
    sorter = Sorter({"value": np.int64}, folder)
    for piece in pieces:
        sorter.add(value=piece)
    return column_of((_each_once(rows["value"]) for rows in sorter.slices()), folder)


def united(several: Iterable[Ints], folder: Path | None) -> Ints:
    """All whole numbers of several columns, sorted, each once. Raises StorageError."""
    return sorted_column((column[one] for column in several for one in slices(len(column))), folder)


def _each_once(ordered: Ints) -> Ints:
    is_first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]
