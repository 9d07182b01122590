"""A run's page, status and metrics over HTTP, on this machine only: `run --serve PORT`.

The server is a process of its own that reads the night's files. So it takes no time from the fetch, and whatever
becomes of it, the night goes on.
"""

from __future__ import annotations

import errno
import os
import pickle
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.processes import module_command

HOST = "127.0.0.1"
_WHY = {errno.EADDRINUSE: "the port is taken", errno.EACCES: "ports below 1024 are for root"}


def open_port(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 picks a free one. Raises UsageError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(16)
    except OSError as exc:
        sock.close()
        raise no_such_port("--serve", port, exc) from exc
    return sock


def no_such_port(option: str, port: int, exc: OSError) -> UsageError:
    """Why a port cannot be listened at, as the option's mistake."""
    cause = _WHY.get(exc.errno or 0, exc.strerror or "it cannot be opened")
    return UsageError(f"{option} {port}: {cause}.", "Name another port, or 0 for any that is free.")


def url_of(sock: socket.socket) -> str:
    """Where the page is."""
    return f"http://{HOST}:{sock.getsockname()[1]}/"


@contextmanager
def serving(sock: socket.socket, config: Config) -> Iterator[None]:
    """The server, as long as the run goes on. What it cannot do is its own trouble."""
    process = None
    with sock, suppress(OSError):
        process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            module_command("pipeline.serving.server", str(sock.fileno()), str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(sock.fileno(),),
        )
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(config))
        process.stdin.close()
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()
