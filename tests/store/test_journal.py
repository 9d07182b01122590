"""The journal on real files: what is durable is kept, what is damaged is told, whatever happens to the disk."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import struct
import sys
import tempfile
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Exit, JournalError, StorageError
from pipeline.store.journal import (
    FRAME_HEAD_BYTES,
    MAGIC,
    MAX_FRAME_BYTES,
    ChunkWriter,
    DamageError,
    FrameKind,
    Record,
    chunk_path,
    encode_frame,
    pack_record,
    read_chunk,
    read_frames,
    record_columns,
    recover,
    sealed_chunks,
    unpack_records,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ABOUT = {"night": "2026-11-22"}
FRAMES = 4
PER_FRAME = 3


def record(number: int) -> Record:
    """The call for customer `number`, with numbers at their edges and bytes that are no text."""
    meta = b'{"reason": "n%d"}' % number
    return Record(
        number, 2**62, -(2**63), -7, 2**31 - 1, 65535, 2, 200, 1, meta, bytes([number % 256]) * number
    )


def payload_of(*numbers: int) -> bytes:
    return b"".join(pack_record(record(number)) for number in numbers)


RECORDS = [record(number) for number in range(FRAMES * PER_FRAME)]


def write_open(folder: Path, number: int = 0) -> Path:
    """An open chunk of four frames with three records each."""
    with ChunkWriter(folder, number, ABOUT) as writer:
        for frame in range(FRAMES):
            writer.append(payload_of(*range(frame * PER_FRAME, (frame + 1) * PER_FRAME)), PER_FRAME)
    return chunk_path(folder, number, sealed=False)


def image(*, sealed: bool) -> bytes:
    """The bytes of such a chunk."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_open(Path(folder))
        if sealed:
            (path,) = recover(Path(folder))
        return path.read_bytes()


OPEN, SEALED = image(sealed=False), image(sealed=True)


def frame_ends(data: bytes) -> list[int]:
    """Where each record frame ends."""
    return [frame.end for frame in read_frames(io.BytesIO(data)) if frame.kind is FrameKind.RECORDS]


def read_until_error(path: Path) -> tuple[list[Record], JournalError | None]:
    """What a chunk gives, and how that ends."""
    found = []
    try:
        for one in read_chunk(path):
            found.append(one)
    except JournalError as exc:
        return found, exc
    return found, None


@contextmanager
def a_chunk(data: bytes, *, sealed: bool) -> Iterator[Path]:
    """A folder with one chunk of these bytes; Hypothesis has no tmp_path of its own."""
    with tempfile.TemporaryDirectory() as name:
        path = chunk_path(Path(name), 0, sealed=sealed)
        path.write_bytes(data)
        yield path


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    """Every record comes back whole and in order, with its meta."""
    with ChunkWriter(tmp_path, 7, ABOUT) as writer:
        writer.append(payload_of(0, 300), 2)
        writer.append(payload_of(5), 1)
        assert (writer.records, writer.raw_bytes) == (3, len(payload_of(0, 300, 5)))
        path = writer.seal()
    assert path == tmp_path / "chunk-00007.sealed"
    assert list(read_chunk(path)) == [record(0), record(300), record(5)]
    assert [one.about() for one in read_chunk(path)] == [{"reason": f"n{number}"} for number in (0, 300, 5)]
    assert record(1)._replace(meta=b"").about() == {}
    assert not list(tmp_path.glob("*.open"))


def test_a_record_counts_from_the_moment_append_returns(tmp_path: Path) -> None:
    """A copy of the file as it stands after each append holds everything until then."""
    with ChunkWriter(tmp_path, 0, ABOUT) as writer:
        for number in range(5):
            writer.append(payload_of(number), 1)
            copy = tmp_path / f"copy-{number}"
            copy.mkdir()
            shutil.copy(chunk_path(tmp_path, 0, sealed=False), copy)
            (path,) = recover(copy)
            assert [one.customer_id for one in read_chunk(path)] == list(range(number + 1))


@given(cut=st.integers(0, len(SEALED) - 1))
def test_any_truncation_of_a_sealed_chunk_is_told(cut: int) -> None:
    """Whatever is cut off, reading ends with a JournalError that names the file; what came before it is right."""
    with a_chunk(SEALED[:cut], sealed=True) as path:
        found, error = read_until_error(path)
        assert error is not None
        assert str(path) in error.message
        assert "run" in error.hint
        assert error.exit_code is Exit.STORAGE
        assert found == RECORDS[: PER_FRAME * sum(end <= cut for end in frame_ends(OPEN))]


@settings(max_examples=300)
@given(bit=st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_of_a_sealed_chunk_is_told(bit: int) -> None:
    """One bit anywhere, and reading ends with a JournalError; the frames before it are right."""
    with a_chunk(flipped(SEALED, bit), sealed=True) as path:
        found, error = read_until_error(path)
        assert error is not None
        assert found == RECORDS[: PER_FRAME * sum(end <= bit // 8 for end in frame_ends(OPEN))]


@given(cut=st.integers(0, len(OPEN)))
def test_recovery_keeps_every_whole_frame_of_a_torn_chunk(cut: int) -> None:
    """A tail torn anywhere is cut; the frames before it are sealed, and a second recovery has nothing to do."""
    whole = PER_FRAME * sum(end <= cut for end in frame_ends(OPEN))
    with a_chunk(OPEN[:cut], sealed=False) as path:
        recovered = recover(path.parent)
        assert recovered == sealed_chunks(path.parent)
        assert [one for chunk in recovered for one in read_chunk(chunk)] == RECORDS[:whole]
        assert not path.exists()
        assert recover(path.parent) == []


@settings(max_examples=300)
@given(bit=st.integers(0, len(OPEN) * 8 - 1))
def test_recovery_keeps_everything_before_a_flipped_bit(bit: int) -> None:
    """The frames before the damage are kept; or the chunk is refused and left as it is; nothing wrong is read."""
    data = flipped(OPEN, bit)
    with a_chunk(data, sealed=False) as path:
        try:
            recovered = recover(path.parent)
        except JournalError as exc:
            assert "newer version" in exc.message
            assert path.read_bytes() == data
            return
        whole = PER_FRAME * sum(end <= bit // 8 for end in frame_ends(OPEN))
        assert [one for chunk in recovered for one in read_chunk(chunk)] == RECORDS[:whole]


@given(tail=st.binary(max_size=300) | st.integers(1, 9000).map(bytes))
def test_recovery_cuts_whatever_a_power_loss_left_behind(tail: bytes) -> None:
    """Zeros or rubbish behind the last whole frame change nothing in what is kept."""
    with a_chunk(OPEN + tail, sealed=False) as path:
        (recovered,) = recover(path.parent)
        assert recovered.read_bytes() == SEALED


@pytest.mark.parametrize("length", range(len(OPEN), len(SEALED) + 1))
def test_recovery_killed_in_the_middle_is_gone_on_with(tmp_path: Path, length: int) -> None:
    """However much of the seal was written before the kill, the next recovery ends with the same file."""
    chunk_path(tmp_path, 3, sealed=False).write_bytes(SEALED[:length])
    assert recover(tmp_path) == [chunk_path(tmp_path, 3, sealed=True)]
    assert chunk_path(tmp_path, 3, sealed=True).read_bytes() == SEALED


def test_recovery_removes_a_chunk_without_records(tmp_path: Path) -> None:
    """A chunk that was begun and not used leaves no file, and its number is free again."""
    ChunkWriter(tmp_path, 0, ABOUT).close()
    chunk_path(tmp_path, 1, sealed=False).write_bytes(b"")
    assert recover(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    ChunkWriter(tmp_path, 0, ABOUT).close()


def test_files_that_are_no_chunks_are_left_alone(tmp_path: Path) -> None:
    """Names that only look like a chunk's are neither read nor recovered; chunks come in the order of numbers."""
    junk = [tmp_path / name for name in ("chunk-x.open", "chunk-1b.sealed", "chunk-.open", "notes.txt")]
    for path in junk:
        path.write_text("mine")
    for number in (100_000, 99_999):
        write_open(tmp_path, number)
    expected = [tmp_path / "chunk-99999.sealed", tmp_path / "chunk-100000.sealed"]
    assert recover(tmp_path) == expected
    assert sealed_chunks(tmp_path) == expected
    assert all(path.read_text() == "mine" for path in junk)


def test_a_sealed_chunk_is_never_replaced(tmp_path: Path) -> None:
    """Neither a new chunk nor a recovered one takes the name of a sealed one."""
    chunk_path(tmp_path, 0, sealed=True).write_bytes(SEALED)
    with pytest.raises(JournalError, match="exists already"):
        ChunkWriter(tmp_path, 0, ABOUT)
    chunk_path(tmp_path, 0, sealed=False).write_bytes(OPEN)
    with pytest.raises(JournalError, match="never change"):
        recover(tmp_path)
    assert chunk_path(tmp_path, 0, sealed=True).read_bytes() == SEALED


class FaultyFile(io.RawIOBase):
    """A file that takes at most `most` bytes a call, and fails for good once `room` bytes were written."""

    def __init__(self, file: Any, room: int, code: int, most: int = 7) -> None:
        self._file = file
        self._room = room
        self._code = code
        self._most = most

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to closed file")
        if self._room <= 0:
            raise OSError(self._code, os.strerror(self._code))
        taken = int(self._file.write(data[: min(self._most, self._room)]))
        self._room -= taken
        return taken

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 1, 20, FRAME_HEAD_BYTES, 40])
def test_a_disk_that_fails_tears_only_the_frame_under_way(tmp_path: Path, code: int, room: int) -> None:
    """The failed append says so with exit code 7; what was acknowledged before is kept, what failed is not."""
    writer = ChunkWriter(tmp_path, 0, ABOUT)
    writer.append(payload_of(1), 1)
    writer._file = FaultyFile(writer._file, room, code)  # type: ignore[assignment]
    with pytest.raises(StorageError, match="append to the journal") as caught:
        writer.append(payload_of(2, 3), 2)
    assert caught.value.exit_code is Exit.STORAGE
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint
    (path,) = recover(tmp_path)
    assert list(read_chunk(path)) == [record(1)]


def test_short_writes_are_finished(tmp_path: Path) -> None:
    """A file that takes seven bytes at a time gets all of them."""
    with ChunkWriter(tmp_path, 0, ABOUT) as writer:
        writer._file = FaultyFile(writer._file, 1 << 20, errno.EIO)  # type: ignore[assignment]
        writer.append(payload_of(1, 200), 2)
        path = writer.seal()
    assert list(read_chunk(path)) == [record(1), record(200)]


def test_after_a_failed_append_nothing_more_is_taken(tmp_path: Path) -> None:
    """A frame behind a torn one would be acknowledged and then cut: so there is none."""
    writer = ChunkWriter(tmp_path, 0, ABOUT)
    writer._file = FaultyFile(writer._file, 10, errno.ENOSPC)  # type: ignore[assignment]
    with pytest.raises(StorageError):
        writer.append(payload_of(1), 1)
    with pytest.raises(ValueError, match="closed"):
        writer.append(payload_of(2), 1)
    assert writer.records == 0


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let a file of this process grow beyond the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_the_seal_loses_nothing(tmp_path: Path) -> None:
    """Sealing and recovery fail while the kernel refuses more bytes; once it takes them, all records are there."""
    write_open(tmp_path)
    with file_size_limit(len(OPEN) + 5):
        for _ in range(2):
            with pytest.raises(StorageError, match="recover the journal chunk") as caught:
                recover(tmp_path)
            assert caught.value.exit_code is Exit.STORAGE
    (path,) = recover(tmp_path)
    assert list(read_chunk(path)) == RECORDS


def test_no_room_for_a_new_chunk_is_told_and_leaves_no_trap(tmp_path: Path) -> None:
    """A chunk that could not even be begun does not stand in the way of the next start."""
    with file_size_limit(10), pytest.raises(StorageError):
        ChunkWriter(tmp_path, 0, ABOUT)
    assert recover(tmp_path) == []
    write_open(tmp_path)
    assert list(read_chunk(recover(tmp_path)[0])) == RECORDS


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The act and the path are named."""
    with pytest.raises(StorageError, match=r"Cannot start the journal chunk .*chunk-00000\.open"):
        ChunkWriter(tmp_path / "missing", 0, ABOUT)
    with pytest.raises(StorageError, match="Cannot read the journal chunk"):
        list(read_chunk(tmp_path / "chunk-00009.sealed"))


def test_an_open_chunk_is_not_read_as_a_sealed_one(tmp_path: Path) -> None:
    """A chunk without its last frame is told, also when every frame in it is whole."""
    with pytest.raises(JournalError, match="its last frame is missing"):
        list(read_chunk(write_open(tmp_path)))


def raw_frame(
    payload: bytes,
    *,
    version: int = 1,
    codec: int = 1,
    kind: int = 1,
    records: int = 1,
    raw: int | None = None,
) -> bytes:
    """A frame with a good checksum and whatever it claims."""
    stored = zstd.compress(payload)
    size = len(payload) if raw is None else raw
    head = struct.pack("<2sBBB3xIII", b"CF", version, codec, kind, records, size, len(stored))
    return head + struct.pack("<I", zlib.crc32(stored, zlib.crc32(head))) + stored


@pytest.mark.parametrize("broken_layout", [False, True])
def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path, broken_layout: bool) -> None:
    """Reading and recovery both name the file and the way out, also when only the newer version knows its layout."""
    newer = raw_frame(b"{}", version=2, kind=0)
    data = MAGIC + newer[:10] + b"wide" * broken_layout + newer[10:] + OPEN[len(MAGIC) :]
    for sealed in (True, False):
        path = chunk_path(tmp_path, 0, sealed=sealed)
        path.write_bytes(data)
        with pytest.raises(JournalError, match="newer version") as caught:
            list(read_chunk(path)) if sealed else recover(tmp_path)
        assert str(path) in caught.value.message
        assert caught.value.hint
        assert path.read_bytes() == data
        path.unlink()


@pytest.mark.parametrize("strange", [{"codec": 9}, {"kind": 9}, {"version": 9}])
def test_a_sound_frame_of_an_unknown_kind_is_refused(tmp_path: Path, strange: dict[str, int]) -> None:
    """A frame whose checksum holds is no torn tail: recovery doesn't cut it."""
    path = chunk_path(tmp_path, 0, sealed=False)
    path.write_bytes(OPEN + raw_frame(b"x", **strange))
    with pytest.raises(JournalError, match="newer version"):
        recover(tmp_path)
    assert path.exists()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(raw_frame(bytes(64 << 20), raw=100), id="grows to more than it says"),
        pytest.param(raw_frame(b"abc", raw=100), id="less than it says"),
        pytest.param(raw_frame(b"abc", raw=MAX_FRAME_BYTES + 1), id="claims 2 GB"),
        pytest.param(
            struct.pack("<2sBBB3xIIII", b"CF", 1, 1, 1, 1, 9, 0xFFFFFFFF, 0), id="claims 4 GB stored"
        ),
        pytest.param(raw_frame(payload_of(1)[:-1]), id="a record longer than its frame"),
        pytest.param(raw_frame(payload_of(1) + b"x"), id="half a record"),
        pytest.param(raw_frame(payload_of(1), records=2), id="a count that isn't so"),
    ],
)
def test_absurd_frames_are_damage(tmp_path: Path, frame: bytes) -> None:
    """Frames with a good checksum and silly claims end in a JournalError, not in a crash or a full memory."""
    seal = encode_frame(FrameKind.SEAL, b'{"records":1}', 0)
    path = chunk_path(tmp_path, 0, sealed=True)
    path.write_bytes(MAGIC + encode_frame(FrameKind.ABOUT, b"{}", 0) + frame + seal)
    tracemalloc.start()
    try:
        _, error = read_until_error(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error is not None
    assert "is damaged" in error.message
    assert peak < 16 << 20


def test_a_compressed_payload_that_is_rubbish_is_damage(tmp_path: Path) -> None:
    """Bytes with a good checksum that don't decompress are told as damage."""
    head = struct.pack("<2sBBB3xIII", b"CF", 1, 1, 1, 1, 9, 4)
    path = chunk_path(tmp_path, 0, sealed=True)
    path.write_bytes(MAGIC + head + struct.pack("<I", zlib.crc32(b"oops", zlib.crc32(head))) + b"oops")
    with pytest.raises(JournalError, match="cannot be decompressed"):
        list(read_chunk(path))


def test_a_frame_too_large_to_read_back_is_not_written() -> None:
    """The writer refuses what the reader would take for damage."""
    huge: Any = range(MAX_FRAME_BYTES + 1)  # has a length, and no bytes
    with pytest.raises(ValueError, match="too large"):
        encode_frame(FrameKind.RECORDS, huge, 1)


def test_a_lost_frame_in_the_middle_is_told(tmp_path: Path) -> None:
    """The seal's count finds a frame that vanished whole."""
    ends = frame_ends(SEALED)
    path = chunk_path(tmp_path, 0, sealed=True)
    path.write_bytes(SEALED[: ends[0]] + SEALED[ends[1] :])
    with pytest.raises(JournalError, match="seal counts 12 records, its frames hold 9"):
        list(read_chunk(path))


@given(st.lists(st.integers(0, 400), max_size=20))
def test_packed_records_are_unpacked(numbers: list[int]) -> None:
    """Any records in a row come back as they were."""
    payload, packed = payload_of(*numbers), [record(number) for number in numbers]
    assert list(unpack_records(payload)) == packed
    heads, metas, bodies = record_columns(payload)
    told = [
        (*head[:-2], payload[meta : meta + head[-2]], payload[body : body + head[-1]])
        for head, meta, body in zip(heads.tolist(), metas.tolist(), bodies.tolist(), strict=True)
    ]
    assert told == packed


def test_unpacking_says_where_a_payload_ends_early() -> None:
    """A payload from the socket that is cut is told, not read as a shorter answer."""
    whole = payload_of(5, 6)
    for length in range(1, len(whole)):
        if length == len(payload_of(5)):
            continue
        with pytest.raises(DamageError, match=r"longer than its frame|half a record") as one:
            list(unpack_records(whole[:length]))
        with pytest.raises(DamageError) as other:
            record_columns(whole[:length])
        assert str(one.value) == str(other.value)
