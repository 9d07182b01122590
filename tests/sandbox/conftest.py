"""A caller for the sandbox: real sockets, raw replies."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any

import aiohttp
import pytest

from pipeline.sandbox import Sandbox, SandboxConfig, basic

DAY = date(2026, 11, 22)
FULL = "points,mlp,segments"


@dataclass(frozen=True)
class Reply:
    """What came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def codes(self, where: str = "errors") -> list[int]:
        return [one["code"] for one in self.json().get(where, [])]


class Caller:
    """Calls one sandbox, as its till unless told otherwise."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session

    async def path(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        config = self.sandbox.config
        if headers is None:
            headers = {"Authorization": basic(config.till, config.password)}
        async with self._session.get(self.sandbox.url + path, headers=headers) as response:
            return Reply(response.status, dict(response.headers), await response.read())

    async def customer(self, customer: int | str, query: str = "source=INSTORE") -> Reply:
        return await self.path(f"/v2/customers/{customer}?{query}")

    async def lookup(self, query: str) -> Reply:
        return await self.path(f"/v2/customers/lookup/customerDetails?{query}")

    async def token(self, body: object) -> Reply:
        url = f"{self.sandbox.url}/v3/oauth/token/generate"
        async with self._session.post(url, data=json.dumps(body)) as response:
            return Reply(response.status, dict(response.headers), await response.read())


class DroppedError(aiohttp.ClientConnectionError):
    """The server hung up before it answered."""


async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a dropped GET again by itself, unseen: it does so for these two errors."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DroppedError from error


Start = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts sandboxes with the settings given; all of them stop with the test."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: Any) -> Caller:
            usual: dict[str, Any] = {"customers": 400, "day": DAY}
            config = SandboxConfig(**usual | settings)
            sandbox = await stack.enter_async_context(Sandbox(config))
            session = await stack.enter_async_context(aiohttp.ClientSession(middlewares=(once,)))
            return Caller(sandbox, session)

        yield start_one
