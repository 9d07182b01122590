"""Chunks without parts, as many at the same time as there are processor cores: a rebuild, or what a death left.

The process that stands by (`helper`) is the first of the crew and forks the others from itself. Whoever is free takes
the next chunk's number out of a pipe that all of them share. Nobody waits for anybody, and a death hurts nobody but
the one who dies: the chunk it had, and what then nobody is there to do, has no parts, and the fence does it. When the
first one dies the others die with it, as all of them do with the parent.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from pipeline.errors import ExportError
from pipeline.normalize.aside import Aside, by_call, read_in_without, read_set_aside
from pipeline.normalize.chunk import ChunkNormalizer, name_parts
from pipeline.normalize.scribe import Job, die_with_parent
from pipeline.normalize.words import error_message
from pipeline.processes import usable_cores
from pipeline.store.ledger import chunks_without_parts

MOST_ABREAST = 4
"""So many at the most: each takes some 40 MB for itself, and the merge that follows does not use more cores anyway."""
_NUMBER_BYTES = 4


def normalize_abreast(job: Job, sock: socket.socket) -> None:
    """In the process that stands by: make the parts that are missing. `sock` is told of errors, and closed."""
    gc.disable()  # as in the scribe
    with sock:
        try:
            chunks = chunks_without_parts(job.journal, job.parts)
            normalizer, aside = job.normalizer(), by_call(read_set_aside(job.parts))
        except ExportError as exc:
            _say(sock, exc)
            return
        _all_of_them(_Work(chunks, normalizer, aside, sock))


class _Work:
    """What the crew has to do, and the pipe from which it takes it."""

    def __init__(
        self, chunks: Sequence[Path], normalizer: ChunkNormalizer, aside: Aside, sock: socket.socket
    ) -> None:
        self.chunks = chunks
        self._normalizer = normalizer
        self._aside = aside
        self._sock = sock
        self._numbers, writing = os.pipe()
        os.set_blocking(writing, False)  # of more than fit (16,384, as a rule) the rest is left to the fence
        os.write(writing, b"".join(one.to_bytes(_NUMBER_BYTES, "little") for one in range(len(chunks))))
        os.close(writing)

    def do(self) -> None:
        """Chunk after chunk, until none is left. What cannot be written ends the work of all."""
        try:
            self._normalize()
        except ExportError as exc:
            _say(self._sock, exc)
            for _ in self._taken():
                pass

    def _normalize(self) -> None:
        """While a chunk's parts are synced, which keeps no core busy, the next one is begun."""
        with ThreadPoolExecutor(1) as beside:
            naming: Future[None] | None = None
            for chunk in self._taken():
                files = read_in_without(chunk, self._normalizer, self._aside)
                if naming is not None:
                    naming.result()
                naming = beside.submit(name_parts, files)
            if naming is not None:
                naming.result()

    def _taken(self) -> Iterator[Path]:
        """A read of so few bytes is never shared between two."""
        while len(number := os.read(self._numbers, _NUMBER_BYTES)) == _NUMBER_BYTES:
            yield self.chunks[int.from_bytes(number, "little")]


def _all_of_them(work: _Work) -> None:
    others = [_forked(work) for _ in range(min(MOST_ABREAST, usable_cores(), len(work.chunks)) - 1)]
    _do(work)
    for pid in others:
        os.waitpid(pid, 0)


def _forked(work: _Work) -> int:
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    with suppress(BaseException):
        die_with_parent(parent)
        _do(work)
    os._exit(0)


def _do(work: _Work) -> None:
    """What else goes wrong is an answer that the normalizer cannot take: the fence finds out which."""
    try:
        work.do()
    except Exception as exc:
        sys.stderr.write(f"capillary-export: a process of the crew ends: {type(exc).__name__}\n")


def _say(sock: socket.socket, exc: ExportError) -> None:
    with suppress(OSError):
        sock.sendall(msgspec.json.encode(error_message(exc)) + b"\n")
