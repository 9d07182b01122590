"""Parts: a chunk's rows for one table, on their way from the normalizer to the merge.

They are written once and read once, soon and whole: as Arrow has them in memory, compressed lightly. That is half the
work of Parquet on either side, for some two and a half times the bytes. Every frame is proved before it is opened.

    file  = magic "CAPPART\\n" frame* end
    frame = bytes:u64 crc32:u32 payload         payload is an Arrow stream: schema, a batch of rows, its end
    end   = a frame of no bytes

Numbers are little-endian. A checksum covers its frame's length and payload, and the checksum before: so no frame is
lost, and none stands in another's place. What older versions left, as Parquet under the same names, is read, too.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import ipc

from pipeline.errors import StorageError
from pipeline.store.atomic import replacing
from pipeline.store.journal import chunk_number
from pipeline.store.parquet import read_batches

MAGIC = b"CAPPART\n"
SUFFIX = ".part"
BATCH_ROWS = 32_768
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEAD_BYTES = _LENGTH.size + _CRC.size
_OLD_SUFFIX = ".parquet"
_OLD_SHRINKING = 0.4
"""What the rows of a part take as Parquet, of its bytes: about."""


def part_name(chunk: int) -> str:
    """A chunk's part, in the folder of its table."""
    return f"chunk-{chunk:05d}{SUFFIX}"


def part_paths(parts: Path, table: str = "*") -> list[Path]:
    """A table's parts (or all), in the order of their chunks; parts made by the night itself come last."""
    return _once(_found(parts, f"{table}/*"))


def chunk_parts(parts: Path, table: str = "*") -> list[Path]:
    """Those that the normalizer made."""
    return _once(_found(parts, f"{table}/chunk-*"))


def chunk_files(parts: Path, chunk: int | None = None) -> list[Path]:
    """All that there is of one chunk, or of all, whichever version wrote it: to be removed."""
    return _found(parts, "*/chunk-*" if chunk is None else f"*/chunk-{chunk:05d}")


def _once(paths: list[Path]) -> list[Path]:
    """Where an older version wrote a part again beside ours, ours counts: both have the same rows."""
    ours = {path.with_suffix("") for path in paths if path.suffix == SUFFIX}
    return [path for path in paths if path.suffix == SUFFIX or path.with_suffix("") not in ours]


def _found(parts: Path, which: str) -> list[Path]:
    return sorted(
        (path for suffix in (SUFFIX, _OLD_SUFFIX) for path in parts.glob(which + suffix)), key=_order
    )


def _order(path: Path) -> tuple[int, str]:
    return (chunk_number(path), "") if path.name.startswith("chunk-") else (1 << 60, path.name)


def bytes_as_parquet(path: Path) -> int:
    """About so many bytes its rows would take there."""
    size = path.stat().st_size
    return size if path.suffix == _OLD_SUFFIX else int(size * _OLD_SHRINKING)


class PartWriter:
    """Writes rows to a file that is open for writing, a frame for each batch."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._proof = 0  # the checksum before
        self._file.write(MAGIC)

    def write(self, batch: pa.RecordBatch) -> None:
        """Some rows."""
        sink: Any = pa.BufferOutputStream()
        options = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with ipc.new_stream(sink, batch.schema, options=options) as stream:
            stream.write_batch(batch)
        self._frame(sink.getvalue())

    def end(self) -> None:
        """No more rows come. Closing the file is for who opened it."""
        self._frame(b"")

    def _frame(self, payload: Any) -> None:
        length = _LENGTH.pack(len(payload))
        self._proof = _proof(length, payload, self._proof)
        self._file.write(length + _CRC.pack(self._proof))
        self._file.write(payload)


def write_part(path: Path, rows: pa.Table) -> None:
    """Some rows as a part; the file appears whole or not at all. Raises StorageError."""
    write_batches(path, rows.to_batches(max_chunksize=BATCH_ROWS))


def write_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """The same of rows that are never all there."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = PartWriter(file)
        for batch in batches:
            writer.write(batch)
        writer.end()


def read_part(
    path: Path, columns: list[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """A part's rows, at most so many at a time; of the columns, those that it has.

    Raises StorageError where it cannot be read, or is not as it was written.
    """
    if path.suffix == _OLD_SUFFIX:
        yield from read_batches(path, columns, batch_rows, use_threads=False)
        return
    try:
        with path.open("rb", buffering=0) as file:
            for payload in _frames(file):
                yield from _cut(_rows(payload, columns), batch_rows)
    except (OSError, pa.ArrowInvalid, _DamageError) as exc:
        raise StorageError(
            f"Cannot read {path}: {exc}", "`capillary-export rebuild` makes it again."
        ) from exc


class _DamageError(ValueError):
    """The file is not as it was written."""


def _proof(length: bytes, payload: Any, before: int) -> int:
    return zlib.crc32(payload, zlib.crc32(length, before))


def _frames(file: BinaryIO) -> Iterator[bytes]:
    """The payloads, each proved; the last one's end is the file's."""
    if file.read(len(MAGIC)) != MAGIC:
        raise _DamageError("it does not begin as a part does")
    proof, size = 0, file.seek(0, 2)
    file.seek(len(MAGIC))
    while True:
        head = file.read(_HEAD_BYTES)
        length = head[: _LENGTH.size]
        claimed = int.from_bytes(length, "little")
        if len(head) < _HEAD_BYTES or claimed > size - file.tell():
            raise _DamageError("it is cut short")
        payload = file.read(claimed)
        proof = _proof(length, payload, proof)
        if proof != int.from_bytes(head[_LENGTH.size :], "little"):
            raise _DamageError(f"a bad checksum before byte {file.tell():,}")
        if not claimed:
            break
        yield payload
    if file.tell() != size:
        raise _DamageError("something stands behind its end")


def _rows(payload: bytes, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    wanted = None
    if columns is not None:
        names = ipc.open_stream(payload).schema.names
        wanted = [number for number, name in enumerate(names) if name in columns]
    options = ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    yield from ipc.open_stream(payload, options=options)


def _cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows <= rows:
            yield batch
        else:
            yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))
