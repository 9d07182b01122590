"""The journal: the append-only record of every call, its verdict, its raw body. Tables are a function of it.

A chunk is a file of frames. A frame is a header with a checksum and a payload of records, compressed as one;
frames are made durable one by one, and a record counts only once its frame is. A chunk is `.open` while it
grows. Sealing appends a last frame with the count and renames it to `.sealed`; from then on it never changes.

    file    = magic "CAPJRNL\\n" frame*         the first frame is the ABOUT
    frame   = "CF" version:u8 codec:u8 kind:u8 pad:3 records:u32 raw_bytes:u32 stored_bytes:u32 crc32:u32
              payload
    payload = record* (kind RECORDS), or JSON (kinds ABOUT and SEAL)
    record  = RECORD_HEAD meta body             meta is JSON: {"reason", "request_id", …}

All numbers are little-endian. The checksum covers the header before it and the stored payload. `codec` has
room for an encrypted one; a reader refuses codecs and versions it does not know. The version is looked at before
the checksum in the first frame, so that a newer layout is refused, not taken for a torn file and cut.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from pipeline.errors import JournalError
from pipeline.store.atomic import storage_errors, sync_folder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"CAPJRNL\n"
VERSION = 1
ZSTD_LEVEL = 1
_FRAME = struct.Struct("<2sBBB3xIII")
_CRC = struct.Struct("<I")
FRAME_HEAD_BYTES = _FRAME.size + _CRC.size
RECORD_HEAD = struct.Struct("<qqqiIHHhBxHxxI")
HEAD_DTYPE = np.dtype(
    {
        "names": (
            "customer_id", "fetched_at", "other_id", "reason_code", "latency_us", "attempts", "calls", "status",
            "outcome", "meta_bytes", "body_bytes",
        ),
        "formats": ("<i8", "<i8", "<i8", "<i4", "<u4", "<u2", "<u2", "<i2", "u1", "<u2", "<u4"),
        "offsets": (0, 8, 16, 24, 28, 32, 34, 36, 38, 40, 44),
        "itemsize": RECORD_HEAD.size,
    }
)  # fmt: skip
"""RECORD_HEAD, as numpy reads many."""
_LENGTHS = struct.Struct("<HxxI")
_LENGTHS_AT = RECORD_HEAD.size - _LENGTHS.size
_CHUNK = re.compile(r"chunk-\d+\.(open|sealed)")
MAX_FRAME_BYTES = (1 << 31) - 1
"""A frame is never larger: one answer of 1 GB at the most (`api.max_body_mb`), and what waited with it."""


class Codec(IntEnum):
    """How a payload is stored."""

    PLAIN = 0
    ZSTD = 1


class FrameKind(IntEnum):
    """What a frame holds."""

    ABOUT = 0
    RECORDS = 1
    SEAL = 2


class Record(NamedTuple):
    """One call. `fetched_at` in µs since 1970; `other_id` 0 for none; `status` 0 when no HTTP answer came."""

    customer_id: int
    fetched_at: int
    other_id: int
    reason_code: int
    latency_us: int
    attempts: int
    calls: int
    status: int
    outcome: int
    meta: bytes
    body: bytes

    def about(self) -> dict[str, Any]:
        """The meta: reason, request_id and what else was noted."""
        noted: dict[str, Any] = msgspec.json.decode(self.meta) if self.meta else {}
        return noted


def pack_record(record: tuple[int, int, int, int, int, int, int, int, int, bytes, bytes]) -> bytes:
    """A record as it stands in a payload; a plain tuple of a `Record`'s fields will do."""
    *numbers, meta, body = record
    return b"%b%b%b" % (RECORD_HEAD.pack(*numbers, len(meta), len(body)), meta, body)


def unpack_records(payload: bytes) -> Iterator[Record]:
    """The records of a payload, in order. Raises DamageError where one reaches beyond its end."""
    at, end = 0, len(payload)
    while at < end:
        if at + RECORD_HEAD.size > end:
            raise DamageError("half a record", at)
        *numbers, meta_bytes, body_bytes = RECORD_HEAD.unpack_from(payload, at)
        meta_at = at + RECORD_HEAD.size
        body_at = meta_at + meta_bytes
        at = body_at + body_bytes
        if at > end:
            raise DamageError("a record longer than its frame", body_at)
        yield Record._make((*numbers, payload[meta_at:body_at], payload[body_at:at]))


class Columns(NamedTuple):
    """A payload's records, side by side."""

    heads: Any  # structured: the numbers of a `Record` under its names, and how long meta and body are
    metas: Any  # where each one's meta begins in the payload
    bodies: Any  # and its body

    def some(self, start: int, stop: int) -> Columns:
        """Those from `start` on, before `stop`."""
        return Columns(*(column[start:stop] for column in self))


def record_columns(payload: bytes) -> Columns:
    """What `unpack_records` gives, as columns. Raises DamageError where it does."""
    places, at, end = [], 0, len(payload)
    while at < end:
        if at + RECORD_HEAD.size > end:
            raise DamageError("half a record", at)
        places.append(at)
        meta_bytes, body_bytes = _LENGTHS.unpack_from(payload, at + _LENGTHS_AT)
        at += RECORD_HEAD.size + meta_bytes + body_bytes
    if at > end:
        raise DamageError("a record longer than its frame", at - body_bytes)
    starts = np.array(places, np.int64)
    heads = np.frombuffer(payload, np.uint8)[starts[:, None] + np.arange(RECORD_HEAD.size)]
    metas = starts + RECORD_HEAD.size
    told = heads.view(HEAD_DTYPE)[:, 0] if places else np.empty(0, HEAD_DTYPE)
    return Columns(told, metas, metas + told["meta_bytes"])


class Frame(NamedTuple):
    """A frame read back. `end` is the file position behind it."""

    kind: FrameKind
    records: int
    payload: bytes
    end: int


class DamageError(ValueError):
    """No whole frame stands here; `at` is the byte where it should begin."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(f"{why} at byte {at:,}")
        self.at = at


def encode_frame(kind: FrameKind, payload: bytes, records: int) -> bytes:
    """A frame as it stands in a file. Raises ValueError for one that could not be read back."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"A frame of {len(payload):,} bytes is too large for the journal.")
    stored = zstd.compress(payload, ZSTD_LEVEL)
    head = _FRAME.pack(b"CF", VERSION, Codec.ZSTD, kind, records, len(payload), len(stored))
    return head + _CRC.pack(zlib.crc32(stored, zlib.crc32(head))) + stored


def read_frames(file: BinaryIO) -> Iterator[Frame]:
    """All frames from behind the magic. Raises DamageError at the first that is not whole and sound."""
    size, at = file.seek(0, os.SEEK_END), len(MAGIC)
    file.seek(0)
    if file.read(at) != MAGIC:
        raise DamageError("no journal magic", 0)
    while head := file.read(FRAME_HEAD_BYTES):
        frame = _read_frame(file, head, at, size)
        at = frame.end
        yield frame


def _read_frame(file: BinaryIO, head: bytes, at: int, size: int) -> Frame:
    """The frame whose header stands at `at`, in a file of `size` bytes. Claims are checked before they cost."""
    if len(head) < FRAME_HEAD_BYTES:
        raise DamageError("a torn frame header", at)
    mark, version, codec, kind, records, raw_bytes, stored_bytes = _FRAME.unpack_from(head)
    if mark != b"CF":
        raise DamageError("no frame mark", at)
    if at == len(MAGIC) and version > VERSION:
        raise _too_new(file, version, codec)
    end = at + FRAME_HEAD_BYTES + stored_bytes
    if end > size or raw_bytes > MAX_FRAME_BYTES:
        raise DamageError("a torn frame", at)
    stored = file.read(stored_bytes)
    (checksum,) = _CRC.unpack_from(head, _FRAME.size)
    if checksum != zlib.crc32(stored, zlib.crc32(head[: _FRAME.size])):
        raise DamageError("a bad checksum", at)
    if version != VERSION or codec not in tuple(Codec) or kind not in tuple(FrameKind):
        raise _too_new(file, version, codec)
    return Frame(FrameKind(kind), records, _decoded(stored, codec, raw_bytes, at), end)


def _too_new(file: BinaryIO, version: int, codec: int) -> JournalError:
    return JournalError(
        f"The journal chunk {getattr(file, 'name', '')} was written by a newer version "
        f"(frame version {version}, codec {codec}).",
        "Use that version of capillary-export, or move the chunk away: `run` then asks for its IDs again.",
    )


def _decoded(stored: bytes, codec: int, raw_bytes: int, at: int) -> bytes:
    """The payload; never more than the header promises, whatever the compressed bytes would grow to."""
    if codec == Codec.PLAIN:
        payload, is_whole = stored, True
    else:
        try:
            told, length = zstd.get_frame_info(stored).decompressed_size, zstd.get_frame_size(stored)
            is_whole = told == raw_bytes and length == len(stored)
            payload = _decompress(stored, raw_bytes) if is_whole else b""
        except (zstd.ZstdError, OSError) as exc:
            raise DamageError("a frame that cannot be decompressed", at) from exc
    if len(payload) != raw_bytes or not is_whole:
        raise DamageError("a frame of another length than it says", at)
    return payload


def _decompress(stored: bytes, raw_bytes: int) -> bytes:
    """In one go into its place, as Arrow does it; Python's lets the text grow. Raises OSError."""
    import pyarrow as pa  # not all that know the journal read it

    payload: bytes = pa.Codec("zstd").decompress(stored, raw_bytes, asbytes=True)
    return payload


def chunk_path(folder: Path, number: int, *, sealed: bool) -> Path:
    """Where chunk `number` lies."""
    return folder / f"chunk-{number:05d}.{'sealed' if sealed else 'open'}"


def chunk_number(path: Path) -> int:
    """The number in a chunk's (or a part's) file name."""
    return int(path.name.removeprefix("chunk-").split(".")[0])


def sealed_chunks(folder: Path) -> list[Path]:
    """The sealed chunks, oldest first."""
    return _chunks(folder, "sealed")


def _chunks(folder: Path, ending: str) -> list[Path]:
    """The chunks with this ending, oldest first. What is not named like one is none."""
    return sorted(
        (path for path in folder.glob(f"chunk-*.{ending}") if _CHUNK.fullmatch(path.name)), key=chunk_number
    )


class ChunkWriter:
    """The one open chunk: append frames, each durable on return; then seal."""

    def __init__(self, folder: Path, number: int, about: dict[str, Any]) -> None:
        self.number = number
        self.records = 0
        self.raw_bytes = 0
        self._folder = folder
        self._path = chunk_path(folder, number, sealed=False)
        _refuse_to_replace(chunk_path(folder, number, sealed=True))
        with storage_errors("start the journal chunk", self._path):
            self._file = self._path.open("xb", buffering=0)
        self._write(MAGIC + encode_frame(FrameKind.ABOUT, msgspec.json.encode(about), 0))
        with storage_errors("start the journal chunk", self._path):
            sync_folder(folder)

    def append(self, payload: bytes, records: int) -> None:
        """Append one frame of packed records; on return it survives a power loss."""
        self._write(encode_frame(FrameKind.RECORDS, payload, records))
        self.records += records
        self.raw_bytes += len(payload)

    def seal(self) -> Path:
        """Close the chunk for good."""
        self._write(encode_frame(FrameKind.SEAL, msgspec.json.encode({"records": self.records}), 0))
        self._file.close()
        return _rename_to_sealed(self._folder, self.number)

    def close(self) -> None:
        """Leave the chunk open, for recovery to seal."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        """On any error the file is closed for good: what came after a torn frame would be cut with it."""
        try:
            with storage_errors("append to the journal", self._path):
                _write_all(self._file, data)
                os.fdatasync(self._file.fileno())
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()


def _write_all(file: RawIOBase, data: bytes) -> None:
    """A raw file may take less than it is given; a full disk then says so at the rest."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _refuse_to_replace(sealed: Path) -> None:
    if sealed.exists():
        raise JournalError(
            f"The journal chunk {sealed} exists already, and sealed chunks never change.",
            "Move one of the two away: `run` then asks for its IDs again.",
        )


def _rename_to_sealed(folder: Path, number: int) -> Path:
    opened, sealed = chunk_path(folder, number, sealed=False), chunk_path(folder, number, sealed=True)
    _refuse_to_replace(sealed)
    with storage_errors("seal the journal chunk", opened):
        opened.rename(sealed)
        sync_folder(folder)
    return sealed


def read_chunk(path: Path) -> Iterator[Record]:
    """All records of a sealed chunk. Raises JournalError where it is damaged or not sealed."""
    for frame in read_record_frames(path):
        with damage_told(path, frame):
            yield from unpack_records(frame.payload)


@contextmanager
def damage_told(path: Path, frame: Frame) -> Iterator[None]:
    """Tell the DamageError of a frame's records as a JournalError."""
    try:
        yield
    except DamageError as exc:
        raise _damaged(path, f"a frame that ends at byte {frame.end:,} holds {exc} of it") from exc


def read_record_frames(path: Path) -> Iterator[Frame]:
    """The record frames of a sealed chunk, checked to its end. Raises JournalError."""
    records, sealed = 0, None
    with storage_errors("read the journal chunk", path), path.open("rb") as file:
        try:
            for frame in read_frames(file):
                records += frame.records
                sealed = msgspec.json.decode(frame.payload) if frame.kind is FrameKind.SEAL else None
                if frame.kind is FrameKind.RECORDS:
                    yield frame
        except DamageError as exc:
            raise _damaged(path, str(exc)) from exc
    if sealed is None:
        raise _damaged(path, "its last frame is missing")
    if sealed["records"] != records:
        raise _damaged(path, f"its seal counts {sealed['records']:,} records, its frames hold {records:,}")


def records_so_far(path: Path) -> Iterator[Record]:
    """The records of a chunk that is being written, or that a death left: up to the first frame that is not whole.

    Raises StorageError where the file cannot be read; it may have been sealed meanwhile, under another name.
    """
    with storage_errors("read the journal chunk", path), path.open("rb") as file, suppress(DamageError):
        for frame in read_frames(file):
            if frame.kind is FrameKind.RECORDS:
                yield from unpack_records(frame.payload)


def open_chunks(folder: Path) -> list[Path]:
    """The chunks that are being written, or that a death left open."""
    return _chunks(folder, "open")


def _damaged(path: Path, why: str) -> JournalError:
    return JournalError(
        f"The journal chunk {path} is damaged: {why}.",
        "Restore it from a backup, or move it away: `run` then asks for its IDs again.",
    )


def recover(folder: Path) -> list[Path]:
    """Seal the chunks that a death left open: their torn tails are cut; what was durable is kept.

    Returns the chunks that were sealed. A chunk without a single record is removed. A second recovery, or one
    after a death in the middle of the first, ends the same.
    """
    recovered = []
    for path in _chunks(folder, "open"):
        with storage_errors("recover the journal chunk", path):
            if _cut_and_seal(path):
                recovered.append(_rename_to_sealed(folder, chunk_number(path)))
            else:
                path.unlink()
                sync_folder(folder)
    return recovered


def _cut_and_seal(path: Path) -> bool:
    """Cut the torn tail and append the seal. False when no record is whole."""
    records, end, sealed = _whole_records(path)
    if not records:
        return False
    with path.open("r+b", buffering=0) as file:
        file.truncate(end)
        file.seek(end)
        if not sealed:
            _write_all(file, encode_frame(FrameKind.SEAL, msgspec.json.encode({"records": records}), 0))
        os.fsync(file.fileno())
    return True


def _whole_records(path: Path) -> tuple[int, int, bool]:
    """How many records are whole, where the last whole frame ends, and whether it is the seal."""
    records, end, sealed = 0, len(MAGIC), False
    with path.open("rb") as file:
        try:
            for frame in read_frames(file):
                records, end, sealed = records + frame.records, frame.end, frame.kind is FrameKind.SEAL
        except DamageError:
            pass  # a torn tail was never acknowledged; what rotted is asked for again
    return records, end, sealed
