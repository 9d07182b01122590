"""The parts of one chunk while they are written: all tables side by side, some rows for each group of answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from pipeline.store.atomic import make_folder, storage_errors, sync_file, sync_folder
from pipeline.store.parts import PartWriter, part_name


class PartFiles:
    """Open files under temporary names; `finish` makes parts of them. After an error nothing is left of them.

    They are synced together, at the end: the file system's own journal is then written once, not once for each.
    Raises StorageError.
    """

    def __init__(self, parts: Path, chunk: int) -> None:
        self._parts = parts
        self._name = part_name(chunk)
        self._files: dict[str, _PartFile] = {}

    def add(self, table: str, rows: Iterable[pa.RecordBatch]) -> None:
        """Some rows of a table; with none of them it has a part all the same."""
        with self._all_or_none():
            if table not in self._files:
                self._files[table] = _PartFile(self._parts / table / self._name)
            self._files[table].add(rows)

    def finish(self, last: str) -> None:
        """Give them their names, durably: that of the table `last` when all others have theirs."""
        with self._all_or_none():
            for file in self._files.values():
                file.close()
            _name(file for table, file in self._files.items() if table != last)
            _name([self._files[last]])

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for file in self._files.values():
                file.discard()
            raise


def _name(files: Iterable[_PartFile]) -> None:
    """Everything is on the disk before the first name, and the names before this returns."""
    named = list(files)
    for file in named:
        with storage_errors("write", file.path):
            sync_file(file.temporary)
    for file in named:
        with storage_errors("write", file.path):
            file.temporary.replace(file.path)
    for file in named:
        with storage_errors("write", file.path):
            sync_folder(file.path.parent)


class _PartFile:
    """The part of one table."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with storage_errors("write", path):
            self._file = self.temporary.open("wb")
            self._writer = PartWriter(self._file)

    def add(self, rows: Iterable[pa.RecordBatch]) -> None:
        with storage_errors("write", self.path):
            for batch in rows:
                if batch.num_rows:
                    self._writer.write(batch)

    def close(self) -> None:
        with storage_errors("write", self.path):
            self._writer.end()
            self._file.close()

    def discard(self) -> None:
        for step in (self._file.close, self.temporary.unlink):
            with suppress(Exception):
                step()
