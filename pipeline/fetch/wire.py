"""One GET over aiohttp's connections, without what its session does anew for each call.

Names, addresses, TLS, the making and counting of connections and the reading of answers are aiohttp's. A night's
requests differ in nothing but their path: so the rest of the request is made once, no objects are made for each request
and response, which is two thirds of what a call costs, and open connections wait beside the calls.
`tests/fetch/test_wire.py` compares what comes of it with the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from time import monotonic
from typing import NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.streams import StreamReader
from yarl import URL

KEPT_S = 30.0
"""A connection that nobody used for so long is not used again."""
RECEIVE_BYTES = 64 * 1024
"""asyncio takes a fresh buffer of 256 KiB for each read, and the system has to find the memory for it each time."""


class LargerThanAllowedError(Exception):
    """A body is larger than its reader allows."""


class Answer(NamedTuple):
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Line(ResponseHandler):
    """A connection that tells when the first bytes of an answer are there, before anything is done with them."""

    on_data: Callable[[], None] | None = None
    is_new = True  # nothing came yet: the server may not even have accepted it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read in small pieces."""
        super().connection_made(transport)
        transport.max_size = RECEIVE_BYTES  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.is_new = False
        if self.on_data is not None:
            on_data, self.on_data = self.on_data, None
            on_data()
        super().data_received(data)


class Connector(aiohttp.TCPConnector):
    """aiohttp's pool of connections, of `Line`s: `limit` for calls, and one for whatever else, a new token."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit + 1, keepalive_timeout=KEPT_S)
        line: type[ResponseHandler] = Line
        self._factory = partial(line, loop=self._loop)
        self.idle = Idle()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Those that nobody uses, too."""
        self.idle.close()
        await super().close(abort_ssl=abort_ssl)


class Idle:
    """Connections to the one host that are open and wait for their next call, the last used on top.

    To give each back to aiohttp's pool after its answer and to take it out again costs a tenth of a call.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Connection, float]] = []

    def take(self) -> Connection | None:
        """One that is still good, if there is one."""
        while self._kept:
            connection, since = self._kept.pop()
            line = connection.protocol
            if line is not None and line.is_connected() and monotonic() - since <= KEPT_S:
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """An answer was read to its end; a connection that may not be used again is closed."""
        if connection.protocol is None or connection.protocol.should_close:
            connection.close()
        else:
            self._kept.append((connection, monotonic()))

    def close(self) -> None:
        """All of them."""
        while self._kept:
            self._kept.pop()[0].close()


class _Request(aiohttp.ClientRequest):
    """What the connector wants to know of a request; the same for all of them."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        """Which connections will do."""
        return super().connection_key


class Wire:
    """Sends requests to one host over a session's connections."""

    def __init__(self, session: aiohttp.ClientSession, host: str) -> None:
        assert isinstance(session.connector, Connector)
        self._session = session
        self._connector = session.connector
        self._url = URL(host)
        self._headers: dict[str, str] | None = None  # the last call's own, of which the request was made
        self._request, self._head = self._made_with({})

    async def get(
        self,
        target: str,
        headers: dict[str, str],
        limit: int,
        on_sent: Callable[[bool], None] | None = None,
        on_heard: Callable[[], None] | None = None,
    ) -> Answer:
        """Ask for a path and query. Raises aiohttp's errors, and LargerThanAllowedError for a body above `limit` bytes.

        `headers` come on top of the session's, and are not to be changed later. `on_sent` is called when the request is
        on its way, with whether its connection is new; `on_heard` when the first bytes of the answer are there.
        """
        if headers is not self._headers:
            self._request, self._head = self._made_with(headers)
            self._headers = headers
        data = f"GET {target}{self._head}".encode()
        connection = self._connector.idle.take() or await self._connection()
        try:
            line = connection.protocol
            assert isinstance(line, Line)
            line.set_response_params(read_until_eof=True)
            line.on_data = on_heard
            _write(line, data)
            if on_sent is not None:
                on_sent(line.is_new)
            answer = await _read(line, limit)
        except BaseException:
            connection.close()
            raise
        self._connector.idle.keep(connection)
        return answer

    async def _connection(self) -> Connection:
        """A new one."""
        try:
            return await self._connector.connect(self._request, [], self._session.timeout)
        except TimeoutError as exc:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._url}") from exc

    def _made_with(self, headers: dict[str, str]) -> tuple[_Request, str]:
        """The request, and what follows its target, as aiohttp makes them. Raises ValueError for what is no header."""
        loop = asyncio.get_running_loop()
        request = _Request(
            "GET",
            self._url,
            headers={**self._session.headers, **headers},
            loop=loop,
            session=self._session,
        )
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        return request, " HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"


def _write(line: Line, data: bytes) -> None:
    transport = line.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    transport.write(data)


async def _read(line: Line, limit: int) -> Answer:
    """The answer, without the announcements (HTTP 1xx) that may go before it."""
    while True:
        message, content = await line.read()
        if not 100 <= message.code <= 199 or message.code == 101:
            return Answer(message.code, message.headers, await read_body(content, message.headers, limit))


async def read_body(content: StreamReader, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body, unpacked. Raises LargerThanAllowedError once it is known to be larger than `limit`."""
    length = headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length) > limit and "Content-Encoding" not in headers:
        raise LargerThanAllowedError
    pieces, size = [], 0
    while not content.at_eof():
        # Nearly always all of it is there already.
        piece = content.read_nowait() if content.is_eof() else await content.readany()
        size += len(piece)
        if size > limit:
            raise LargerThanAllowedError
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
