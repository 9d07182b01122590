"""The other side of the handoff, servers that misbehave, and a pool to run against a sandbox."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from blockbuster import BlockBuster, blockbuster_ctx
from pydantic import SecretStr

from pipeline.fetch.auth import Auth, BasicAuth
from pipeline.fetch.breaker import Breaker, BreakerPolicy
from pipeline.fetch.client import Client, ClientOptions, Question, open_session
from pipeline.fetch.handoff import HEAD, Handoff
from pipeline.fetch.pool import Pool, Tools
from pipeline.fetch.quota import Limit, Quota
from pipeline.fetch.retry import RetryPolicy
from pipeline.outcome import Outcome
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.stats import Tally
from pipeline.store.journal import Record, unpack_records

DAY = date(2026, 11, 22)
LOOPBACK = "127.0.0.1"
FAST = Limit(2000, 1.0)
QUICK_RETRY = RetryPolicy(max_attempts=5, max_wait_s=2.0, base_s=0.02)
QUICK_BREAKER = BreakerPolicy(limit_s=10.0, first_probe_s=0.05)


@pytest.fixture
def no_blocking() -> Iterator[BlockBuster]:
    """Fails a test whose event loop is blocked by a call into the system."""
    with blockbuster_ctx("pipeline.fetch") as guard:
        yield guard


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A real server that gives every request to one handler; its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server of raw bytes, for what no HTTP server would say; its URL."""
    server = await asyncio.start_server(handler, LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class OtherSide:
    """Stands in for the second process: acknowledges frames and keeps what was in them."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.frames: list[int] = []  # records in each
        self.records: list[Record] = []
        self.may_acknowledge = asyncio.Event()
        self.may_acknowledge.set()
        self.error: dict[str, str] | None = None  # said instead of the next acknowledgement

    async def run(self) -> None:
        """Until the frame of nothing, or until it has to fail."""
        reader, writer = await asyncio.open_connection(sock=self._theirs)
        try:
            while not await self._frame(reader, writer):
                pass
        finally:
            writer.close()

    async def _frame(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            count, size = HEAD.unpack(await reader.readexactly(HEAD.size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return True
        found = list(unpack_records(await reader.readexactly(size)))
        assert len(found) == count
        if count:
            self.frames.append(count)
            self.records += found
        await self.may_acknowledge.wait()
        said: dict[str, Any] | None = self.error
        said = said or ({"durable": count} if count else {"finished": len(self.frames)})
        writer.write(json.dumps(said).encode() + b"\n")
        return self.error is not None or not count

    def calls(self) -> Counter[int]:
        """Records per ID: one per call."""
        return Counter(record.customer_id for record in self.records)

    def verdicts(self) -> dict[int, list[Outcome]]:
        """The verdicts of each ID, in order, without the calls that had to be made again."""
        found: dict[int, list[Outcome]] = {}
        for record in self.records:
            if record.outcome != Outcome.RETRIED:
                found.setdefault(record.customer_id, []).append(Outcome(record.outcome))
        return found


@dataclass
class Night:
    """A pool with everything it needs, against one server."""

    url: str
    workers: int = 16
    limits: tuple[Limit, ...] = (FAST,)
    auth: Callable[[aiohttp.ClientSession], Auth] | None = None
    retry: RetryPolicy = QUICK_RETRY
    breaker: BreakerPolicy = QUICK_BREAKER
    timeout_s: float = 5.0
    other_side: OtherSide = field(default_factory=OtherSide)
    tally: Tally = field(default_factory=Tally)

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[Pool]:
        """The pool, with both ends of the handoff at work; when the block ends, all is handed over."""
        async with asyncio.timeout(30), open_session(self.workers) as session, asyncio.TaskGroup() as group:
            handoff = Handoff(self.other_side.ours, self.tally)
            await handoff.open()
            group.create_task(self.other_side.run())
            group.create_task(handoff.serve())
            try:
                yield Pool(self._tools(session, handoff), self.workers)
                await handoff.finish()
            finally:
                handoff.close()

    async def run(self, customer_ids: Iterable[int]) -> Exception | None:
        """Ask for all; what stopped it."""
        async with self.pool() as pool:
            try:
                await pool.run(map(Question, customer_ids))
            except Exception as exc:
                return exc
        return None

    def _tools(self, session: aiohttp.ClientSession, handoff: Handoff) -> Tools:
        basic = BasicAuth("till.01", SecretStr("sandbox"))
        return Tools(
            client=Client(
                session, ClientOptions(self.url, "source=INSTORE&embed=points", self.timeout_s, 1 << 20)
            ),
            auth=self.auth(session) if self.auth else basic,
            quota=Quota(self.limits),
            handoff=handoff,
            breaker=Breaker(self.breaker),
            retry=self.retry,
            tally=self.tally,
            rng=random.Random(1),
        )


StartSandbox = Callable[..., Awaitable[Sandbox]]


@pytest.fixture
async def start_sandbox() -> AsyncIterator[StartSandbox]:
    """Starts sandboxes with the settings given; all of them stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Sandbox:
            usual: dict[str, Any] = {"customers": 300, "day": DAY}
            return await stack.enter_async_context(Sandbox(SandboxConfig(**usual | settings)))

        yield start
