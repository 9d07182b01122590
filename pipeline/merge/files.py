"""A table's files as analysts read them: `part-00000.parquet …`, of nearly the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from pipeline.merge.coding import Coding
from pipeline.merge.groups import TableFileWriter
from pipeline.merge.rows import Rows
from pipeline.merge.sources import Batches
from pipeline.store.atomic import make_folder, storage_errors, sync_file, sync_folder
from pipeline.store.parquet import fingerprint
from pipeline.store.snapshots import ManifestFile, ManifestTable

FILE_BYTES = 256 << 20
"""A file's size, about: a table below 1.5 times that has one file, a larger one files of 128 to 512 MB."""

Deliver = Callable[[Path], None]


def keep_in_place(_file: Path) -> None:
    """What becomes of a finished file that is where it belongs."""


def full_at(expected_bytes: int) -> int:
    """At which size a file is full, where a table is going to take about so many bytes.

    A little above an even share: what was expected is not exact, and a last file of a few rows is nobody's wish.
    """
    files = max(1, round(expected_bytes / FILE_BYTES))
    if files == 1:
        return 2 * FILE_BYTES if expected_bytes else FILE_BYTES
    return int(expected_bytes / files * (1 + 0.3 / files))


def write_files(
    batches: Batches,
    schema: pa.Schema,
    folder: Path,
    compression: str,
    deliver: Deliver = keep_in_place,
) -> ManifestTable:
    """Write rows as files into `folder`; an empty table has one empty file.

    Each file is handed to `deliver` when it is finished. Raises StorageError.
    """
    with table_files(Coding(schema), folder, compression, deliver) as files:
        for batch in batches:
            files.write(batch)
    return files.finished


@contextmanager
def table_files(
    coding: Coding,
    folder: Path,
    compression: str,
    deliver: Deliver = keep_in_place,
    expected_bytes: int = 0,
    root: Path | None = None,
) -> Iterator[TableFiles]:
    """Files to write rows to while the block lasts; then they are `finished`. An error leaves no open file behind.

    `root` is the snapshot's folder, by default the one that `folder` is in. Raises StorageError.
    """
    make_folder(folder)
    files = TableFiles(coding, folder, root or folder.parent, compression, deliver, full_at(expected_bytes))
    try:
        yield files
        files.close()
    except BaseException:
        files.abandon()
        raise


class TableFiles:
    """A table's files, one after the other."""

    def __init__(
        self,
        coding: Coding,
        folder: Path,
        root: Path,
        compression: str,
        deliver: Deliver,
        full_bytes: int,
    ) -> None:
        self._coding = coding
        self._folder = folder
        self._root = root
        self._compression = compression
        self._deliver = deliver
        self._full_bytes = full_bytes
        self._files: list[ManifestFile] = []
        self._open: tuple[_HashingFile, TableFileWriter] | None = None  # the file under way

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; they come sorted."""
        self.add(self._coding.rows(batch))

    def add(self, rows: Rows) -> None:
        """Append rows; they come sorted."""
        if not len(rows):
            return
        with storage_errors("write the table in", self._folder):
            if self._open is not None and self._open[0].bytes >= self._full_bytes:
                self._finish(*self._open)
            _, writer = self._open or self._begin()
            writer.write(rows)

    def close(self) -> None:
        """Finish the last file; a table without rows gets one without."""
        with storage_errors("write the table in", self._folder):
            if self._open is None and not self._files:
                self._begin()
            if self._open is not None:
                self._finish(*self._open)
            sync_folder(self._folder)

    def abandon(self) -> None:
        """After an error: what is open is of no use."""
        if self._open is not None:
            sink, writer = self._open
            writer.abandon()
            with suppress(OSError):
                sink.close()
            self._open = None

    @property
    def finished(self) -> ManifestTable:
        """What was written."""
        rows = sum(file.rows for file in self._files)
        return ManifestTable(
            rows=rows, files=list(self._files), schema_fingerprint=fingerprint(self._coding.schema)
        )

    def _begin(self) -> tuple[_HashingFile, TableFileWriter]:
        sink = _HashingFile(self._folder / f"part-{len(self._files):05d}.parquet")
        self._open = sink, TableFileWriter(sink, self._coding, self._compression)
        return self._open

    def _finish(self, sink: _HashingFile, writer: TableFileWriter) -> None:
        writer.close()
        sink.close()
        self._open = None
        sync_file(sink.path)
        relative = sink.path.relative_to(self._root).as_posix()
        self._files.append(
            ManifestFile(path=relative, rows=writer.rows, bytes=sink.bytes, sha256=sink.hexdigest())
        )
        self._deliver(sink.path)


class _HashingFile:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()
