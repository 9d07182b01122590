"""A process that stands by for all nights of a test run, and forks the second process of each.

A night within pytest cannot fork its second process, for pytest has threads: it would start a Python anew, which takes
as long as the rest of a small night. This one has loaded what is needed, once for each worker of pytest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from pipeline.normalize import helper, scribe
from pipeline.normalize.scribe import Job
from pipeline.processes import module_command

PARTS_OF_A_PYTHON = ("PYTHONPATH", "LD_PRELOAD")
"""A test that sets one of these means a Python of its own."""


class Born:
    """A second process that the nursery has forked."""

    def __init__(self, news: socket.socket) -> None:
        with news:
            self._news = news.makefile("rb")

    @cached_property
    def pid(self) -> int:
        """Its number, once it is there."""
        return int(self._news.readline())

    def wait(self) -> int:
        """Until it has ended; gives its exit code, below 0 for a signal."""
        with self._news:
            return int(self._news.readlines()[-1])


class Nursery:
    """The test run's end of it. It is started for the first night."""

    def __init__(self) -> None:
        self._anew = helper._of_its_own
        self._environ = self._parts_of_a_python()
        self._process: subprocess.Popen[bytes] | None = None

    @cached_property
    def _orders(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = module_command("tests.nursery", str(theirs.fileno()))
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        return ours

    def start(self, job: Job, sock: socket.socket, lock: int) -> helper.Process:
        """As `helper` does where it cannot fork, at a tenth of the price."""
        if self._parts_of_a_python() != self._environ:
            return self._anew(job, sock, lock)
        ours, theirs = socket.socketpair()
        with theirs:
            order = json.dumps({"job": job.as_json(), "folder": str(Path.cwd())}).encode()
            passed = [sock.fileno(), theirs.fileno(), 1, 2, *([lock] if lock >= 0 else [])]
            socket.send_fds(self._orders, [order], passed)
        return Born(ours)

    def close(self) -> None:
        """No more nights."""
        if self._process is not None:
            self._orders.close()
            self._process.wait(10)

    @staticmethod
    def _parts_of_a_python() -> list[str | None]:
        return [os.environ.get(name) for name in PARTS_OF_A_PYTHON]


# In the nursery


def serve(orders: socket.socket) -> None:
    """Fork one for each order, until the test run ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever watches is never waited for
    while True:
        order, descriptors, *_ = socket.recv_fds(orders, helper.MOST_JOB_BYTES * 2, 5)
        if not order:
            return
        if not os.fork():
            orders.close()
            watch(json.loads(order), descriptors)
            os._exit(0)
        for one in descriptors:
            os.close(one)


def watch(order: dict[str, str], descriptors: list[int]) -> None:
    """Fork the second process, tell its number, and how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sock, news, *_ = descriptors
    me = os.getpid()
    pid = os.fork()
    if not pid:
        os._exit(bear(order, descriptors, me))
    for one in (sock, *descriptors[2:]):
        os.close(one)
    with socket.socket(fileno=news) as told:
        told.sendall(b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        told.sendall(b"%d\n" % code)


def bear(order: dict[str, str], descriptors: list[int], parent: int) -> int:
    """Be the second process."""
    sock, news, out, err, *_ = descriptors
    os.close(news)
    os.chdir(order["folder"])
    for number, one in ((1, out), (2, err)):
        os.dup2(one, number)
        os.close(one)
    scribe.leave_signals_to_the_parent()
    scribe.die_with_parent(parent)
    return scribe.work(Job.from_json(order["job"]), socket.socket(fileno=sock))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
