"""One request, one reply, over real sockets: what is asked, time, cuts, sizes and gzip."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from pipeline.config import Config
from pipeline.fetch import ask_once
from pipeline.fetch.client import (
    BodyTooLargeError,
    CallError,
    Client,
    ClientOptions,
    Question,
    Reply,
    open_session,
)
from pipeline.fetch.outcomes import Action, Trouble
from pipeline.fetch.query import query_string
from pipeline.fetch.wire import Wire
from pipeline.sandbox import basic, known_ids
from tests.fetch.conftest import StartSandbox, serving, speaking, unused_port

ID = 300_000_007
HOST = "https://eu.api.example.com"
LIMIT = 100_000


async def get(url: str, *, timeout_s: float = 5.0, headers: dict[str, str] | None = None) -> Reply:
    """One call in a session of its own."""
    async with open_session(1) as session:
        client = Client(session, ClientOptions(url, "source=INSTORE", timeout_s, LIMIT))
        return await client.get(Question(ID), headers or {})


async def trouble(url: str, *, timeout_s: float = 5.0) -> CallError:
    with pytest.raises(CallError) as caught:
        await get(url, timeout_s=timeout_s)
    return caught.value


# What is asked, what is said


async def test_the_request_is_the_documented_one() -> None:
    """The ID stands in the path, the query as it was made; JSON is asked for, and we say who we are."""
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with speaking(listen) as url, open_session(1) as session:
        client = Client(session, ClientOptions(url + "/", "source=INSTORE&embed=points,mlp"))
        await client.get(Question(ID), {"Authorization": "Basic x"})
    target, *headers = seen[0].decode().split("\r\n")
    assert target == f"GET /v2/customers/{ID}?source=INSTORE&embed=points,mlp HTTP/1.1"
    named = dict(line.split(": ") for line in headers if line)
    assert named["Accept"] == named["Content-Type"] == "application/json"
    assert named["Authorization"] == "Basic x"
    assert "gzip" in named["Accept-Encoding"]


async def test_the_reply_keeps_what_the_server_says_of_itself() -> None:
    """Status, body, request ID, Retry-After and the server's clock reach the pool."""
    said = {"X-Cap-Requestid": "r-1", "Retry-After": "7", "Date": "Fri, 15 Jan 2027 08:00:00 GMT"}

    async def slow_down(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, body=b"slow down", headers=said)

    async with serving(slow_down) as url:
        reply = await get(url)
    assert (reply.status, reply.body, reply.request_id, reply.retry_after) == (429, b"slow down", "r-1", "7")
    assert reply.server_time == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert abs(reply.fetched_at / 1e6 - time.time()) < 60


@pytest.mark.parametrize("date", ["", "soon", "Fri, 15 Jan 99999999999999999999 08:00:00 GMT"])
async def test_a_server_without_a_clock_is_no_trouble(date: str) -> None:
    """A Date header that is none leaves the server's time unknown."""

    async def timeless(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Date": date})

    async with serving(timeless) as url:
        assert (await get(url)).server_time is None


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (aiohttp.ServerDisconnectedError(), Trouble.CUT),
        (aiohttp.ClientOSError(104, "reset by http://user:hunter2@proxy"), Trouble.CUT),
        (aiohttp.ClientPayloadError("hunter2"), Trouble.CUT),
        (aiohttp.ConnectionTimeoutError("hunter2"), Trouble.CONNECT),
        (aiohttp.ServerTimeoutError("hunter2"), Trouble.TIMEOUT),
        (TimeoutError(), Trouble.TIMEOUT),
        (ConnectionResetError("hunter2"), Trouble.CUT),
    ],
)
async def test_errors_of_the_network_become_ours(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int
) -> None:
    """Above the client nobody knows aiohttp; what its errors quote may be a secret and stays out of the text."""

    async def fail(*args: object) -> None:
        raise raised

    monkeypatch.setattr(Wire, "get", fail)
    error = await trouble(HOST)
    assert error.code == code
    assert "hunter2" not in str(error)


# Real sockets


async def test_nobody_listens() -> None:
    """A port without a server is told as such."""
    error = await trouble(f"http://127.0.0.1:{unused_port()}")
    assert error.code == Trouble.CONNECT
    assert "cannot connect" in error.message


async def test_a_name_that_does_not_exist() -> None:
    """So is a host without an address."""
    assert (await trouble("http://nowhere.invalid")).code == Trouble.CONNECT


async def trickle(request: web.Request) -> web.StreamResponse:
    """A body that comes byte by byte, and never to its end."""
    response = web.StreamResponse(headers={"Content-Length": "10000"})
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(b" ")
        await asyncio.sleep(0.02)
    return response


async def silence(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize("handler", [trickle, silence])
async def test_the_deadline_covers_headers_and_body(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> None:
    """A server that keeps sending a little is given up as one that sends nothing."""
    async with serving(handler) as url, asyncio.timeout(10):
        error = await trouble(url, timeout_s=0.2)
    assert error.code == Trouble.TIMEOUT
    assert error.latency_us >= 200_000


async def test_a_cut_body_is_no_body() -> None:
    """Half a document is never taken for a whole one."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"id":1}')
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(cut) as url:
        assert (await trouble(url)).code == Trouble.CUT


async def test_what_is_no_http_is_a_broken_connection() -> None:
    """A server that speaks something else is the network's trouble, not a bug."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\x00\x01\x02 no HTTP\r\n\r\n")
        writer.close()

    async with speaking(babble) as url:
        assert (await trouble(url)).code == Trouble.CUT


async def test_a_request_id_of_any_bytes_can_be_journalled() -> None:
    """Bytes that are no UTF-8 in a header don't break the journal's JSON."""

    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Cap-Requestid: \xff\xfe" + b"x" * 999 + b"\r\nContent-Length: 2\r\n\r\n{}"
        )
        writer.close()

    async with speaking(odd) as url:
        request_id = (await get(url)).request_id
    assert request_id.encode() == b"??" + b"x" * 198


Size = tuple[str, int, bool]


def sized(size: int, kind: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A server of bodies of one size: with a length, in chunks, or packed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if kind == "plain":
            return web.Response(body=b" " * size)
        if kind == "gzip":
            return web.Response(body=gzip.compress(b" " * size), headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for at in range(0, size, 10_000):
            await response.write(b" " * min(10_000, size - at))
        return response

    return answer


@pytest.mark.parametrize("kind", ["plain", "chunked", "gzip"])
async def test_a_body_of_the_largest_size_comes_whole(kind: str) -> None:
    """The limit is on the unpacked body, and it is inclusive."""
    async with serving(sized(LIMIT, kind)) as url:
        assert len((await get(url)).body) == LIMIT


@pytest.mark.parametrize("kind", ["plain", "chunked", "gzip"])
async def test_a_larger_body_is_refused_and_the_session_goes_on(kind: str) -> None:
    """No body fills the memory, not even one that is small while packed; the next call is not disturbed."""
    handlers = iter([sized(100 * LIMIT, kind), sized(5, "plain")])

    async def answer(request: web.Request) -> web.StreamResponse:
        return await next(handlers)(request)

    async with serving(answer) as url, open_session(1) as session:
        client = Client(session, ClientOptions(url, "", 5.0, LIMIT))
        with pytest.raises(BodyTooLargeError):
            await client.get(Question(ID), {})
        assert (await client.get(Question(ID), {})).body == b" " * 5


async def test_gzip_that_is_none_is_a_cut_answer() -> None:
    """A body that cannot be unpacked is asked for again."""

    async def broken(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    async with serving(broken) as url:
        assert (await trouble(url)).code == Trouble.CUT


async def test_redirects_are_not_followed() -> None:
    """Our credentials go to the configured host and nowhere else."""
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serving(elsewhere) as url:
        assert (await get(url, headers={"Authorization": "Basic x"})).status == 302
    assert seen == [f"/v2/customers/{ID}"]


async def test_a_dropped_call_is_not_sent_again_by_itself(start_sandbox: StartSandbox) -> None:
    """aiohttp would repeat a dropped GET on a kept connection unseen: no quota and no journal would know of it."""
    sandbox = await start_sandbox(faults="reset=100% from call 3 to 3")
    headers = {"Authorization": basic("till.01", "sandbox")}
    async with open_session(1) as session:
        client = Client(session, ClientOptions(sandbox.url, "source=INSTORE"))
        for customer_id in known_ids(2):
            assert (await client.get(Question(customer_id), headers)).status == 200
        with pytest.raises(CallError):
            await client.get(Question(known_ids(3)[2]), headers)
    assert len(sandbox.judge.arrivals) == 3


async def test_the_moment_of_sending_is_told(start_sandbox: StartSandbox) -> None:
    """The quota learns when a request left: once per call, after the connection was made, before it arrived."""
    sandbox = await start_sandbox(faults="latency=50ms")
    sent: list[float] = []
    async with open_session(1) as session:
        client = Client(session, ClientOptions(sandbox.url, "source=INSTORE"))
        for customer_id in known_ids(2):
            await client.get(Question(customer_id), {}, lambda _: sent.append(time.monotonic()))
    assert len(sent) == 2
    assert all(left <= arrived for left, arrived in zip(sent, sandbox.judge.arrivals, strict=True))


async def test_cookies_are_not_kept() -> None:
    """One customer's answer leaves nothing behind for the next call."""
    seen: list[str | None] = []

    async def cookie(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "_cfuvid=1; Path=/"})

    async with serving(cookie) as url, open_session(1) as session:
        client = Client(session, ClientOptions(url, ""))
        await client.get(Question(1), {})
        await client.get(Question(2), {})
    assert seen == [None, None]


def config(host: str, **api: object) -> Config:
    auth = {"kind": "basic", "till": "till.01", "password_env": "X"}
    return Config.model_validate({"api": {"host": host, "auth": auth, **api}, "ids": {"paths": ["x.csv"]}})


def test_the_query_holds_what_the_config_asks_for() -> None:
    """embed is one comma list, booleans are in lower case, text is percent-encoded, gaps go with mlp only."""
    params = {"gapToUpgrade": 0, "includedFraudDetails": True, "ug2JoinedStartDate": "2026-01-01 00:00:00"}
    asked = config(HOST, source="wechat", account_id="a&b", params=params).api
    assert query_string(asked, ["points", "mlp"]) == (
        "source=WECHAT&accountId=a%26b&embed=points,mlp&gapToUpgrade=0&includedFraudDetails=true"
        "&ug2JoinedStartDate=2026-01-01%2000%3A00%3A00"
    )
    assert "gapToUpgrade" not in query_string(asked, ["points"])


def test_one_call_outside_a_night_tells_what_it_met() -> None:
    """`doctor` learns that nobody listens, without an error of the network's."""
    probe = ask_once(config(f"http://127.0.0.1:{unused_port()}"), SecretStr("pw"), [], Question(ID))
    assert probe.reply is None
    assert (probe.judged.action, probe.judged.code) == (Action.RETRY, Trouble.CONNECT)


async def test_a_host_that_takes_no_connection_is_told_apart_from_a_slow_one() -> None:
    """A listener whose queue is full swallows connections, as a firewall does: it cannot be the ID's fault."""
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # fill its queue
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with open_session(1, connect_timeout_s=0.3) as session:
            with pytest.raises(CallError) as caught:
                await Client(session, ClientOptions(url, "")).get(Question(1), {})
    assert caught.value.code == Trouble.CONNECT
