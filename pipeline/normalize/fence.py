"""The fence around the normalizer: an answer that kills it is found, set aside, and the night goes on.

What the crew (`crew`) leaves without parts, because one of it died or nobody stood by, is normalized in a process
of its own, the fence, which forks one child for each chunk, as many at a time as there are processor cores
(`MOST_ABREAST` at the most). A child that dies (a crash in a native library, an error of ours) is no news about the
disk: the answers of its chunk are tried by halves, in further children, until the one that kills is known. It is
journalled like all others, body and all; in the tables it is `failed`, with the reason. The night's folder
remembers it, so that a rebuild gives the same tables; another version of the program tries it again.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from select import select
from typing import Any, NoReturn

import msgspec

from pipeline import __version__
from pipeline.errors import ExportError, StorageError
from pipeline.normalize.aside import (
    SetAside,
    add_all,
    by_answer,
    by_call,
    normalize_chunk_without,
    read_set_aside,
    write_set_aside,
)
from pipeline.normalize.scribe import Job, die_with_parent
from pipeline.normalize.words import error_message, told_error
from pipeline.processes import module_command, usable_cores
from pipeline.store.journal import chunk_number

MOST_SET_ASIDE = 64
"""So many answers of one chunk at the most: beyond that it is the program that is broken, not the answers."""
MOST_ABREAST = 4
"""So many chunks are normalized at the same time at the most: each takes the memory of a chunk."""
DEATHS_BY_CHANCE = 2
"""So often may a chunk's child die although none of its answers kills by itself: memory ran out, or a kill."""


def normalize_behind_fence(job: Job, chunks: Sequence[Path], lock: int) -> int:
    """Make the parts of these chunks; gives how many answers were set aside.

    Raises StorageError, also where a chunk kills the normalizer and none of its answers does by itself.
    """
    if not chunks:
        return 0
    ours, theirs = socket.socketpair()
    words = [job.as_json(), *map(str, chunks)]
    with theirs, ours:
        process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            module_command("pipeline.normalize.fence", str(theirs.fileno()), *words),
            pass_fds=(theirs.fileno(), lock) if lock >= 0 else (theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            return _heard(ours.makefile("rb").readlines())
        finally:
            process.wait()


def _heard(lines: Sequence[bytes]) -> int:
    """What the fence said last."""
    message: dict[str, Any] = msgspec.json.decode(lines[-1]) if lines else {}
    if "finished" in message:
        return int(message["finished"])
    if "error" in message:
        raise told_error(message)
    raise StorageError(
        "The process that normalizes what is left in the journal was killed.",
        "Nothing is lost: `run` goes on where it stopped.",
    )


# In the fence's own process


class Fence:
    """Normalizes chunks in children, and finds what kills them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._normalizer = job.normalizer()  # made once: each child begins with a copy
        self._aside = read_set_aside(job.parts)
        self._found = 0

    def normalize(self, chunks: Iterable[Path], abreast: int = 1) -> None:
        """Make the parts of these chunks, so many at a time. Raises StorageError where that cannot be done.

        A chunk's parts depend on nothing but the chunk: the order in which they are done is of no matter.
        """
        waiting, running = iter(chunks), dict[int, _Child]()
        try:
            while True:
                for chunk in islice(waiting, abreast - len(running)):
                    child = self._start(chunk)
                    running[child.pipe] = child
                if not running:
                    return
                for pipe in select(list(running), [], [])[0]:
                    child = running.pop(pipe)
                    if (reason := self._ended(child)) is not None:
                        self._mend(child.chunk, reason)
        finally:
            for child in running.values():
                child.kill()

    def _mend(self, chunk: Path, reason: str | None) -> None:
        """Find what killed the chunk's child, and do the chunk without it, until it is done."""
        deaths = 0
        while reason is not None:
            culprits = list(self._culprits(chunk, 0, _answers(chunk), reason))
            deaths += not culprits
            if deaths > DEATHS_BY_CHANCE or len(culprits) > MOST_SET_ASIDE:
                raise _not_to_be_normalized(chunk, reason, len(culprits))
            self._set_aside(culprits)
            reason = self._dies(chunk)

    @property
    def found(self) -> int:
        """How many answers were set aside."""
        return self._found

    def _dies(self, chunk: Path, first: int = 0, end: int | None = None) -> str | None:
        """Normalize a chunk, or try some of its answers, in a child: why it died; None where it did not."""
        return self._ended(self._start(chunk, first, end))

    def _ended(self, child: _Child) -> str | None:
        """Wait for a child: why it died. What it has learned of the answers, the next ones know."""
        message = child.ended()
        self._normalizer.learn((path, key) for path, key in message.get("learned", ()))
        return message.get("reason")

    def _start(self, chunk: Path, first: int = 0, end: int | None = None) -> _Child:
        """A child that normalizes a chunk, or tries some of its answers."""
        return _Child.forked(chunk, lambda: self._work(chunk, first, end))

    def _work(self, chunk: Path, first: int, end: int | None) -> dict[str, object]:
        """In the child: the chunk's parts; or, of a part of it, parts that nobody reads."""
        normalizer, aside = self._normalizer, by_call(self._aside)
        if end is None:
            normalize_chunk_without(chunk, normalizer, aside)
        else:
            normalizer.parts = self._job.parts.parent / "trial"
            for records in islice(by_answer(chunk), first, end):
                add_all(normalizer, records, aside, chunk_number(chunk))
            normalizer.write(chunk_number(chunk))
            shutil.rmtree(normalizer.parts, ignore_errors=True)
        return {"learned": list(normalizer.learned)}

    def _culprits(self, chunk: Path, first: int, end: int, reason: str) -> Iterator[SetAside]:
        """Which of these answers kill by themselves, found by halves."""
        if end - first == 1:
            yield _told(chunk, first, reason)
            return
        middle = (first + end) // 2
        for start, stop in ((first, middle), (middle, end)):
            if start < stop and (why := self._dies(chunk, start, stop)) is not None:
                yield from self._culprits(chunk, start, stop, why)

    def _set_aside(self, culprits: list[SetAside]) -> None:
        if culprits:
            self._aside = sorted([*self._aside, *culprits], key=lambda one: (one.chunk, one.fetched_at))
            self._found += len(culprits)
            write_set_aside(self._job.parts, self._aside)


def _answers(chunk: Path) -> int:
    return sum(1 for _ in by_answer(chunk))


def _told(chunk: Path, place: int, reason: str) -> SetAside:
    """The answer at this place, as it is remembered."""
    (record,) = [records[-1] for number, records in enumerate(by_answer(chunk)) if number == place]
    return SetAside(
        customer_id=record.customer_id,
        fetched_at=record.fetched_at,
        reason=f"the answer came, but kills the normalizer ({reason}); it is kept in the journal",
        chunk=chunk_number(chunk),
        version=__version__,
    )


def _not_to_be_normalized(chunk: Path, reason: str, culprits: int) -> StorageError:
    if culprits:
        return StorageError(
            f"{culprits} answers in the journal chunk {chunk} kill the normalizer ({reason}).",
            "So many are a bug: please report it. Nothing is lost; another version may read them.",
        )
    return StorageError(
        f"The journal chunk {chunk} cannot be normalized: the process dies ({reason}), though no answer kills it "
        "by itself.",
        "There may be too little memory. Nothing is lost: `run` goes on where it stopped.",
    )


# Children


@dataclass(frozen=True)
class _Child:
    """A forked process that does one piece of work; our end of the pipe is readable when it has ended."""

    chunk: Path
    pid: int
    pipe: int

    @classmethod
    def forked(cls, chunk: Path, work: Callable[[], dict[str, object]]) -> _Child:
        """Fork; the child does the work, tells how it ended, and is gone."""
        reading, writing = os.pipe()
        parent, pid = os.getpid(), os.fork()
        if not pid:
            os.close(reading)
            die_with_parent(parent)
            _be_the_child(writing, work)
        os.close(writing)  # before the next fork: a pipe that a sibling holds open never ends
        return cls(chunk, pid, reading)

    def ended(self) -> dict[str, Any]:
        """Wait for it: the `reason` why it died, what it has `learned`. Raises what went wrong with the disk."""
        try:
            return _ended(self.pid, self.pipe)
        finally:
            os.close(self.pipe)

    def kill(self) -> None:
        """Its work is not wanted any more."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


def _be_the_child(pipe: int, work: Callable[[], dict[str, object]]) -> NoReturn:
    """Do the work and end; what went wrong is told, without a word of the answer itself."""
    message: dict[str, object] = {}
    try:
        message = work()
    except ExportError as exc:
        message = error_message(exc)
    except BaseException as exc:
        message = {"reason": type(exc).__name__}
    with suppress(OSError):
        os.write(pipe, msgspec.json.encode(message))
    os._exit(0)


def _ended(pid: int, pipe: int) -> dict[str, Any]:
    """Wait for a child: what it said, or what the kernel says of its death. Raises what went wrong with the disk."""
    said = b"".join(iter(lambda: os.read(pipe, 1 << 16), b""))
    _, status = os.waitpid(pid, 0)
    if not said:
        code = os.waitstatus_to_exitcode(status)
        return {"reason": signal.Signals(-code).name if code < 0 else f"exit code {code}"}
    message: dict[str, Any] = msgspec.json.decode(said)
    if "error" in message:
        raise told_error(message)
    return message


def main() -> int:
    """The fence's process: signals are the parent's business, and its death is ours."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent(parent)
    gc.disable()  # as in the scribe
    sock, fence = socket.socket(fileno=int(sys.argv[1])), Fence(Job.from_json(sys.argv[2]))
    try:
        fence.normalize(map(Path, sys.argv[3:]), min(MOST_ABREAST, usable_cores()))
        message: dict[str, object] = {"finished": fence.found}
    except ExportError as exc:
        message = error_message(exc)
    with suppress(OSError):
        sock.sendall(msgspec.json.encode(message) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
