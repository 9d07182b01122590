"""Starting the night's second process: a fork of this one that stands by, else a Python of its own.

A Python of its own takes a third of a second of CPU to load what this one has loaded already, and its memory once more.
So a command that may need the second process forks it first of all, while it has one thread and nothing open; it waits
for its job, and ends when it is not wanted. Before the fetch, and for a rebuild, the chunks that lack parts are a job
for it, too, and for those that it forks from itself (`crew`). Where there are threads already (a test, a second start
within a night) and on other systems than Linux, it is started anew.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, Protocol

import msgspec

from pipeline.normalize import crew, scribe
from pipeline.normalize.scribe import Job
from pipeline.normalize.words import told_error
from pipeline.processes import module_command

MOST_JOB_BYTES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM)
NAME = b"scribe"
"""What `ps -o comm` and `top` call it: its command line is that of its parent."""
_PR_SET_NAME = 15


class Process(Protocol):
    """The second process, however it was started."""

    @property
    def pid(self) -> int:
        """Its number."""

    def wait(self) -> int:
        """Until it has ended; gives its exit code, below 0 for a signal."""


class Forked:
    """A child that waits for its job."""

    def __init__(self, pid: int, orders: socket.socket) -> None:
        self.pid = pid
        self._orders = orders

    def begin(self, job: Job, sock: socket.socket, lock: int) -> bool:
        """Hand it the job; False where it is dead already. After one that is done `abreast` it waits for the next."""
        try:
            socket.send_fds(self._orders, [job.as_json().encode()], [sock.fileno(), lock])
        except OSError:
            self.wait()
            return False
        if not job.abreast:
            self._orders.close()
        return True

    def kill(self) -> None:
        """Its work is not wanted any more."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Until it has ended; one that still waits for its job ends now."""
        self._orders.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


_standing_by: list[Forked] = []


@contextmanager
def standing_by() -> Iterator[None]:
    """Within it the first `start` finds a process that has loaded everything. To be entered before all else."""
    if _is_single_threaded():
        _standing_by.append(_forked())
    try:
        yield
    finally:
        dismiss()


def dismiss() -> None:
    """Whoever still stands by ends, and its memory is free."""
    while _standing_by:
        _standing_by.pop().wait()


def normalize_abreast(job: Job, lock: int) -> None:
    """Let the chunks that lack parts be normalized, on all cores; nothing is done where nobody stands by.

    Chunks that still lack them afterwards are for `fence`. Raises StorageError, JournalError.
    """
    if not _standing_by:
        return
    process = _standing_by.pop()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            is_at_work = process.begin(msgspec.structs.replace(job, abreast=True), theirs, lock)
        if is_at_work:
            try:
                told = ours.makefile("rb").readlines()  # until all of them have ended
            except BaseException:
                process.kill()
                ours.recv(1)  # ends when the last of them has: nobody writes parts any more
                raise
            _standing_by.append(process)
            if told:
                raise told_error(msgspec.json.decode(told[0]))


def start(job: Job, lock: int) -> tuple[Process, socket.socket]:
    """Start the second process; gives it and our end of the socket. `lock` is the workspace lock's descriptor."""
    ours, theirs = socket.socketpair()
    with theirs:
        while _standing_by:
            process = _standing_by.pop()
            if process.begin(job, theirs, lock):
                return process, ours
        return _of_its_own(job, theirs, lock), ours


def _of_its_own(job: Job, sock: socket.socket, lock: int) -> Process:
    return subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        module_command("pipeline.normalize.scribe", str(sock.fileno()), job.as_json()),
        pass_fds=(sock.fileno(), lock),
        stdin=subprocess.DEVNULL,
    )


def _is_single_threaded() -> bool:
    """As the kernel counts, native threads too; False where that is not known (other systems than Linux)."""
    return sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1


def _forked() -> Forked:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.freeze()  # a collection in the parent would write to every object, and so copy every page
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            ours.close()
            _be_the_child(parent, theirs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        gc.unfreeze()
    theirs.close()
    return Forked(pid, ours)


# In the child


def _be_the_child(parent: int, orders: socket.socket) -> NoReturn:
    """Wait for the job, do it, and end; nothing of what the parent was about to do is done here."""
    code = 1
    with suppress(BaseException):
        scribe.leave_signals_to_the_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        scribe.die_with_parent(parent)
        ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME)
        code = take_orders(orders)
    os._exit(code)


def take_orders(orders: socket.socket) -> int:
    """Wait for the job and do it; gives the exit code."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    while True:
        text, descriptors, *_ = socket.recv_fds(orders, MOST_JOB_BYTES, 2)
        if not text:  # not wanted, or no more
            return 0
        job, sock = Job.from_json(text.decode()), socket.socket(fileno=descriptors[0])
        if not job.abreast:
            orders.close()
            return scribe.work(job, sock)
        crew.normalize_abreast(job, sock)
        os.close(descriptors[1])  # it comes again with the next job
