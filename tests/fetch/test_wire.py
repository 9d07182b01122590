"""The wire against aiohttp's own session: the same answers, the same errors, the same use of connections."""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import pytest
from aiohttp import http_exceptions

from pipeline.fetch import wire as wire_module
from pipeline.fetch.client import open_session
from pipeline.fetch.wire import KEPT_S, RECEIVE_BYTES, Line, Wire
from tests.fetch.conftest import StartSandbox, speaking

LARGE = 1 << 20
PACKED = gzip.compress(b"packed " * 5000)
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "with a length": [OK + b"Content-Length: 5\r\n\r\nhello"],
    "byte by byte": [bytes([one]) for one in OK + b"Content-Length: 5\r\n\r\nhello"],
    "in chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"6\r\n world\r\n0\r\n\r\n"],
    "until the end": [OK + b"Connection: close\r\n\r\nhel", b"lo"],
    "packed": [OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED],
    "without a body": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "empty": [OK + b"Content-Length: 0\r\n\r\n"],
    "announced": [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nhello"],
    "of HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
    "an error": [b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"],
    "a redirect": [b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"],
    "larger than what is read at once": [OK + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000],
    "odd headers": [OK + b"X-Odd: \xff\xfe\r\nx-odd: twice\r\nContent-Length: 2\r\n\r\n{}"],
    "cut": [OK + b"Content-Length: 50\r\n\r\nhello"],
    "cut in chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"],
    "cut in its head": [OK + b"Content-Le"],
    "nothing": [],
    "no HTTP": [b"\x00\x01\x02 no HTTP\r\n\r\n"],
    "packed wrongly": [OK + b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\nno gzip"],
    "two lengths": [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"],
}
Said = tuple[int, bytes, list[tuple[str, str]]]


Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def heard_by(speaker: Speaker) -> AsyncIterator[str]:
    """A server of raw bytes that ends each connection when the client does, and itself after all of them."""
    ended: list[asyncio.Event] = []

    async def until_it_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await speaker(reader, writer)
        writer.close()
        ended.pop().set()

    async with speaking(until_it_leaves) as url:
        yield url
        while ended:
            await ended[-1].wait()
        await asyncio.sleep(0)


@asynccontextmanager
async def saying(pieces: list[bytes]) -> AsyncIterator[str]:
    """A server that answers each connection's first request so, and closes it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)

    async with heard_by(answer) as url:
        yield url


async def by_session(session: aiohttp.ClientSession, url: str) -> Said:
    async with session.get(f"{url}/x", allow_redirects=False) as response:
        return response.status, await response.read(), list(response.headers.items())


async def by_wire(session: aiohttp.ClientSession, url: str) -> Said:
    answer = await Wire(session, url).get("/x", {}, LARGE)
    return answer.status, answer.body, list(answer.headers.items())


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_wire_and_the_session_hear_the_same(name: str) -> None:
    """Whatever a server says, and however it breaks off: the same answer, or both fail for the network's sake."""
    troubles = (aiohttp.ClientError, http_exceptions.HttpProcessingError)
    found: list[Said | None] = []
    async with saying(ANSWERS[name]) as url:
        for ask in (by_session, by_wire):
            async with open_session(1) as session:
                try:
                    found.append(await ask(session, url))
                except troubles:
                    found.append(None)
    assert found[0] == found[1]


async def test_the_wire_and_the_session_say_the_same() -> None:
    """Headers and their order are those that aiohttp would send."""
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    headers = {"Authorization": "Basic x", "Accept": "text/plain"}
    async with heard_by(listen) as url:
        async with open_session(1) as session, session.get(f"{url}/x?a=1,2&b=%20", headers=headers):
            pass
        async with open_session(1) as session:
            await Wire(session, url).get("/x?a=1,2&b=%20", headers, LARGE)
    assert seen[0] == seen[1]


async def test_other_headers_are_sent_with_the_next_call() -> None:
    """A renewed token is used at once; a header that could break out of its line is refused."""
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with heard_by(listen) as url, open_session(1) as session:
        wire = Wire(session, url)
        for token in ("one", "two"):
            await wire.get("/x", {"X-Token": token}, LARGE)
        with pytest.raises(ValueError, match="line break"):
            await wire.get("/x", {"X-Token": "three\r\nX-Other: 1"}, LARGE)
    assert [b"X-Token: one" in seen[0], b"X-Token: two" in seen[1], len(seen)] == [True, True, 2]


async def test_connections_are_kept_and_those_that_broke_are_not() -> None:
    """One connection serves call after call; after a cut answer the next call has a new one, and `on_sent` says so."""
    connections = 0
    were_new: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            target = await reader.readuntil(b"\r\n\r\n")
            if b"/cut" in target:
                writer.write(OK + b"Content-Length: 50\r\n\r\nhello")
                return
            writer.write(OK + b"Content-Length: 5\r\n\r\nhello")

    async with heard_by(serve) as url, open_session(1) as session:
        wire = Wire(session, url)
        for target, fails in (("/a", False), ("/b", False), ("/cut", True), ("/c", False), ("/d", False)):
            try:
                assert (await wire.get(target, {}, LARGE, were_new.append)).body == b"hello"
            except aiohttp.ClientPayloadError:
                assert fails
    assert connections == 2
    assert were_new == [True, False, False, True, False]


async def test_a_connection_that_waited_too_long_or_was_closed_meanwhile_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new one is made instead; when the session ends, none is left open."""
    clock, were_new = 0.0, list[bool]()
    monkeypatch.setattr(wire_module, "monotonic", lambda: clock)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"/bye" not in await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK + b"Content-Length: 0\r\n\r\n")
        writer.write(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")

    async with asyncio.timeout(20), heard_by(serve) as url, open_session(1) as session:
        wire = Wire(session, url)
        for target, waited_s in (("/a", 0.0), ("/b", KEPT_S), ("/c", KEPT_S + 1), ("/bye", 1.0), ("/d", 0.0)):
            clock += waited_s
            await wire.get(target, {}, LARGE, were_new.append)
    assert were_new == [True, False, True, False, True]


async def test_a_token_can_be_asked_for_while_all_connections_wait(start_sandbox: StartSandbox) -> None:
    """Those that are kept for calls do not keep others from the host: one more is let through."""
    sandbox = await start_sandbox()
    async with open_session(2) as session, asyncio.timeout(10):
        wire = Wire(session, sandbox.url)
        await asyncio.gather(*(wire.get("/x", {}, LARGE) for _ in range(2)))
        for _ in range(2):
            async with session.get(f"{sandbox.url}/x") as response:
                await response.read()


async def test_a_reset_connection_is_told_and_not_used_again() -> None:
    """What the network breaks off is an error of aiohttp's, and no call is sent twice."""
    calls = 0

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await reader.readuntil(b"\r\n\r\n")
        calls += 1
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER: RST instead of FIN

    async with heard_by(reset) as url, open_session(1) as session:
        wire = Wire(session, url)
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await wire.get("/x", {}, LARGE)
    assert calls == 2


async def test_the_answer_is_heard_before_it_is_read() -> None:
    """`on_heard` comes once per call, with the first bytes; what is read at once is bounded."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            for piece in ANSWERS["byte by byte"]:
                writer.write(piece)
                await asyncio.sleep(0)

    async with heard_by(serve) as url, open_session(1) as session:
        wire = Wire(session, url)
        for number in range(2):
            await wire.get(
                "/x", {}, LARGE, lambda _: heard.append("sent"), partial(heard.append, f"{number}")
            )
        connection = await session.connector.connect(wire._request, [], session.timeout)  # type: ignore[union-attr]
        line = connection.protocol
        assert isinstance(line, Line)
        assert line.transport.max_size == RECEIVE_BYTES  # type: ignore[union-attr]
        connection.close()
    assert heard == ["sent", "0", "sent", "1"]
