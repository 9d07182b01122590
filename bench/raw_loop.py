"""The floor: aiohttp alone. GET, read the body, throw it away; 64 connections; nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import aiohttp

from bench import bodies

CONNECTIONS = 64


async def ask_for_all(session: aiohttp.ClientSession, url: str, customers: Iterator[int]) -> None:
    """One worker: as the documentation of aiohttp shows it."""
    for customer_id in customers:
        async with session.get(f"{url}/v2/customers/{customer_id}?source=INSTORE&embed=points") as response:
            await response.read()


async def main(url: str, count: int) -> None:
    """Ask for `count` customers."""
    customers = bodies.ids(count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(ask_for_all(session, url, customers) for _ in range(CONNECTIONS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
