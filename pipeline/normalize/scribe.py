"""The night's second process: makes replies durable, then normalizes them while fetching goes on.

It dies with its parent, holds the workspace's lock as long as it lives, and leaves on any death an open chunk that
the next start seals. `normalize.helper` starts it; as a Python of its own it reads its job as JSON from its arguments.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from pipeline import __version__
from pipeline.blocks import TABLES
from pipeline.blocks.collect import Options
from pipeline.errors import ExportError
from pipeline.normalize.chunk import ChunkNormalizer
from pipeline.processes import share_arenas
from pipeline.store.journal import ChunkWriter

CHUNK_RECORDS = 8_192
CHUNK_BYTES = 64 << 20
"""A chunk is sealed at so many records or so many raw bytes."""
_HEAD = struct.Struct("<II")
_PR_SET_PDEATHSIG = 1


class Job(msgspec.Struct, kw_only=True):
    """What the second process has to know. No pydantic here: it would take longer to load than to do without."""

    night: date
    journal: Path
    parts: Path
    first_chunk: int
    tables: list[str]
    zone: str | None = None
    keep_offsets: bool = False
    chunk_records: int = msgspec.field(default_factory=lambda: CHUNK_RECORDS)
    abreast: bool = False  # no frames come: the chunks that lack parts are to be normalized (`crew`)

    def as_json(self) -> str:
        """For the other process's arguments."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `as_json` wrote."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda wanted, value: wanted(value))

    def normalizer(self) -> ChunkNormalizer:
        """The normalizer for the wanted tables."""
        wanted = [table for table in TABLES if table.name in self.tables]
        zone = ZoneInfo(self.zone) if self.zone else None
        return ChunkNormalizer(wanted, Options(self.night, zone, self.keep_offsets), self.parts)


class Scribe:
    """Reads frames from the socket until the last; journals each, says so, then normalizes it."""

    def __init__(self, job: Job, sock: socket.socket) -> None:
        self._job = job
        self._sock = sock
        self._stream = sock.makefile("rb", buffering=1 << 20)
        self._normalizer = job.normalizer()
        self._chunk: ChunkWriter | None = None
        self._next_chunk = job.first_chunk

    def run(self) -> None:
        """Until the frame of nothing. A socket that closes before it is a dead parent: the chunk stays open."""
        for records, payload in self._frames():
            if not records:
                self._end_chunk()
                self._say(finished=self._next_chunk)
                return
            chunk = self._open_chunk()
            chunk.append(payload, records)
            self._say(durable=records)
            self._normalizer.add_frame(payload, chunk.number)
            if chunk.records >= self._job.chunk_records or chunk.raw_bytes >= CHUNK_BYTES:
                self._end_chunk()

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(head := self._stream.read(_HEAD.size)) == _HEAD.size:
            records, size = _HEAD.unpack(head)
            payload = self._stream.read(size)
            if len(payload) < size:
                return
            yield records, payload

    def _open_chunk(self) -> ChunkWriter:
        if self._chunk is None:
            about = {"night": self._job.night.isoformat(), "version": __version__}
            self._chunk = ChunkWriter(self._job.journal, self._next_chunk, about)
            self._next_chunk += 1
        return self._chunk

    def _end_chunk(self) -> None:
        if self._chunk is not None:
            self._chunk.seal()
            self._normalizer.write(self._chunk.number)
            about = {"chunk": self._chunk.number, "records": self._chunk.records}
            self._say(sealed={**about, "raw_bytes": self._chunk.raw_bytes})
            self._chunk = None

    def _say(self, **message: object) -> None:
        self._sock.sendall(msgspec.json.encode(message) + b"\n")

    def complain(self, exc: ExportError) -> None:
        """Tell the parent what went wrong, in its own words."""
        self._say(error=type(exc).__name__, message=exc.message, hint=exc.hint)


def main() -> int:
    """A Python of its own: signals are the parent's business, and its death is ours."""
    parent = os.getppid()
    leave_signals_to_the_parent()
    die_with_parent(parent)
    share_arenas()
    return work(Job.from_json(sys.argv[2]), socket.socket(fileno=int(sys.argv[1])))


def work(job: Job, sock: socket.socket) -> int:
    """What the process is for, from the first frame to the last; gives its exit code."""
    gc.disable()  # answers hold no cycles, and walking them costs more than it frees
    scribe = Scribe(job, sock)
    try:
        scribe.run()
    except ExportError as exc:
        scribe.complain(exc)
        return int(exc.exit_code)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the parent is gone; what it sent is journalled
    except Exception as exc:  # an answer that the normalizer cannot take: the fence finds out which
        sys.stderr.write(f"capillary-export: the second process ends: {type(exc).__name__}\n")
        return 1
    return 0


def leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches all processes of a terminal; how the night ends is decided by the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent(parent: int) -> None:
    """A killed run leaves no writer behind (Linux; elsewhere the closed socket ends us a moment later)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
