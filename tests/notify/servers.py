"""Real servers on loopback for the hooks: one takes webhooks, one takes mail."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

PASSWORD = "canary-p4ssw0rd"
USER = "night@example.com"


@dataclass
class Inbox:
    """What a webhook server does, and what it was sent. `statuses` are for the first calls, then it answers 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    hangs: bool = False
    floods: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def inbox(tls: ssl.SSLContext | None = None, path: str = "/hook") -> Iterator[Inbox]:
    """A server that takes JSON by POST."""
    box = Inbox()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box.paths.append(self.path)
            box.headers.append(dict(self.headers))
            box.seen.append(json.loads(body))
            if box.hangs:
                over.wait(30)
                return
            status = box.statuses.pop(0) if box.statuses else 200
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", f"{box.url}/elsewhere")
            self.end_headers()
            while box.floods and not over.is_set():
                self.wfile.write(b"x" * 65_536)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_args: object) -> None:
            """A client that has left is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    box.url = f"{'https' if tls else 'http'}://localhost:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """A mail server's answers, and the mails it took."""

    port: int = 0
    rejects_first: int = 0  # so many mails are turned away for now (451)
    refused: str = ""  # a recipient that it does not know
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    was_tls: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802
        if address == self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.rejects_first:
            self.rejects_first -= 1
            return "451 later, please"
        self.was_tls.append(session.ssl is not None)
        self.recipients.append(list(envelope.rcpt_tos))
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 taken"

    def let_in(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        self.logins.append(data.login.decode())
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)


class AnyPort(Controller):
    """On whichever port is free."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # the library's


@contextmanager
def mailbox(tls: ssl.SSLContext | None = None, *, auth: bool = False) -> Iterator[Mailbox]:
    """A mail server; with `tls` it offers STARTTLS and takes nothing without."""
    box = Mailbox()
    options: dict[str, Any] = {"authenticator": box.let_in, "auth_required": True} if auth else {}
    if tls is not None:
        options |= {"tls_context": tls, "require_starttls": True}
    controller = AnyPort(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@dataclass(frozen=True)
class Certificates:
    """An authority of the tests' own, and a server's certificate by it."""

    authority: trustme.CA
    server: ssl.SSLContext
    stranger: ssl.SSLContext  # for another host


def certificates() -> Certificates:
    """Made anew, good for localhost."""
    authority = trustme.CA()
    contexts = []
    for host in ("localhost", "elsewhere.example"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        contexts.append(context)
    return Certificates(authority, *contexts)


def until(true: Any, seconds: float = 10.0) -> bool:
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(Exception):
            if true():
                return True
        time.sleep(0.02)
    return False
