"""The server's process: `/` the night's page, `/status.json`, `/metrics`. It reads files, and changes nothing.

Only this machine reaches it, and only by its own names: a web page elsewhere that has its name point at 127.0.0.1 sends
another `Host`, and is refused.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.config import Config
from pipeline.errors import ExportError
from pipeline.metrics import exposition
from pipeline.night import NightPage
from pipeline.normalize.scribe import die_with_parent
from pipeline.status import standing_of, status_of

REFRESH_S = 10.0
REST = 10.0
"""A page is made anew at the earliest after so many times as long as it took."""
GENTLY = 10
TIMEOUT_S = 10.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
WAITING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{refresh:.0f}">'
    "<title>Night</title><p>The night has begun; there is nothing to tell yet.</p></html>"
)


class Answers:
    """What the server says, made from the files of now, and kept for a moment: the more it cost, the longer."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._making = threading.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}  # until when, and what
        self._page: tuple[str, NightPage] | None = None  # of one night: it is read on from where it was

    def to(self, path: str) -> tuple[str, bytes] | None:
        """The type and the body; None where there is nothing of this name. Raises ExportError."""
        found = {
            "/": ("text/html; charset=utf-8", self._html),
            "/status.json": ("application/json", self._status),
            "/metrics": (METRICS_TYPE, self._metrics),
        }.get(path)
        return None if found is None else (found[0], self._once_in_a_while(path, found[1]))

    def _once_in_a_while(self, path: str, make: Callable[[], bytes]) -> bytes:
        with self._making:
            until, body = self._kept.get(path, (float("-inf"), b""))
            began = self._clock()
            if began >= until:
                body = make()
                ended = self._clock()
                self._kept[path] = (ended + max(1.0, REST * (ended - began)), body)
            return body

    def _status(self) -> bytes:
        return json.dumps(status_of(self._config), ensure_ascii=False).encode()

    def _metrics(self) -> bytes:
        return exposition(standing_of(self._config), self._config.metrics.labels)

    def _html(self) -> bytes:
        nights = status_of(self._config)["nights"]
        night: dict[str, Any] | None = next(
            (one for one in nights if one["is_running"]), next(iter(nights), None)
        )
        if night is None or not night.get("listed"):
            return WAITING.format(refresh=REFRESH_S).encode()
        page = self._page_of(night["night"])
        return page.html(datetime.now(UTC), refresh_s=REFRESH_S).encode()

    def _page_of(self, night: str) -> NightPage:
        if self._page is None or self._page[0] != night:
            self._page = (night, NightPage(self._config, date.fromisoformat(night)))
        return self._page[1]


class Server(ThreadingHTTPServer):
    """On a socket that is open already."""

    daemon_threads = True

    def __init__(self, sock: socket.socket, answers: Answers) -> None:
        super().__init__(sock.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.answers = answers
        port = sock.getsockname()[1]
        self.names = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is nobody's trouble."""


class Handler(BaseHTTPRequestHandler):
    """GET, from this machine, by our own name."""

    server: Server
    timeout = TIMEOUT_S
    server_version = "capillary-export"
    sys_version = ""

    def do_GET(self) -> None:
        """One answer."""
        if self.headers.get("Host", "") not in self.server.names:
            self._say(HTTPStatus.FORBIDDEN, "Ask for 127.0.0.1 or localhost.")
            return
        try:
            found = self.server.answers.to(self.path.partition("?")[0])
        except ExportError as exc:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, exc.message)
            return
        except Exception as exc:  # its text may hold anything
            self._say(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"A bug: {type(exc).__name__}. The night is not touched by it.",
            )
            return
        if found is None:
            self._say(HTTPStatus.NOT_FOUND, "There are /, /status.json and /metrics.")
        else:
            self._send(HTTPStatus.OK, *found)

    def _refuse(self) -> None:
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.", {"Allow": "GET"})

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815 - the base class's names

    def _say(self, status: HTTPStatus, text: str, more: dict[str, str] | None = None) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(), more)

    def _send(self, status: HTTPStatus, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        for name, value in {**about, **HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No line for each look."""


def main() -> int:
    """The process: gently, silent, and gone with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(int(sys.argv[2]))  # it may have died already
    with suppress(OSError):
        os.nice(GENTLY)
    config: Config = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our own parent
    Server(socket.socket(fileno=int(sys.argv[1])), Answers(config)).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
