"""The bench's server where there is no nginx: one process, raw asyncio, no HTTP library.

It understands what the bench's clients send (GET, keep-alive, no body) and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bench.bodies import Template, body_of, read_bodies

HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: plain\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\n\r\n"
)
CUSTOMERS = b"/v2/customers/"
RECEIVE_BYTES = 16 << 10


class Counts:
    """What all connections together have seen."""

    def __init__(self) -> None:
        self.calls = 0
        self.first_at = 0.0

    def to_json(self) -> bytes:
        """As `/seen` answers it."""
        return json.dumps({"calls": self.calls, "first_at": self.first_at}).encode()


class Connection(asyncio.BufferedProtocol):
    """Answers one request after the other, into a buffer of its own: no allocation per request."""

    def __init__(self, prepared: list[Template], counts: Counts) -> None:
        self._prepared = prepared
        self._counts = counts
        self._buffer = bytearray(RECEIVE_BYTES)
        self._waiting = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        *requests, self._waiting = (self._waiting + self._buffer[:nbytes]).split(b"\r\n\r\n")
        for request in requests:
            body = self._body_for(request.split(b" ", 2)[1])
            self._transport.write(HEAD % len(body) + body)

    def _body_for(self, target: bytes) -> bytes:
        path = target.partition(b"?")[0]
        if path.startswith(CUSTOMERS):
            if not self._counts.calls:
                self._counts.first_at = time.time()
            self._counts.calls += 1
            return body_of(int(path[len(CUSTOMERS) :]), self._prepared)
        if path == b"/forget":
            self._counts.__init__()  # type: ignore[misc]  # back to the start
        return self._counts.to_json()


async def serve(prepared: list[Template], port: int) -> None:
    """Until a signal ends the process."""
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(prepared, counts), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(read_bodies(Path(sys.argv[1])), int(sys.argv[2])))
