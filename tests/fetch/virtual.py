"""Time that passes in a moment, and a network that delays: what tests of the pace share."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.fetch.quota import Quota

CPU_S = 1e-6  # what a round of the loop takes
BEGAN = 1000.0


class SteppedSelector(selectors.SelectSelector):
    """Waits by moving the clock: to the next timer, and a little beyond it, as real timers do."""

    def __init__(self, late_s: Callable[[], float]) -> None:
        super().__init__()
        self.now = BEGAN
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.now += timeout + self._late_s() if timeout > 0 else CPU_S
        return super().select(0)


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: hours of quota pass in a moment."""

    def __init__(self, late_s: Callable[[], float]) -> None:
        self._stepped = SteppedSelector(late_s)
        super().__init__(self._stepped)

    def time(self) -> float:
        return self._stepped.now


def in_no_time(work: Coroutine[Any, Any, None], late_s: float | Callable[[], float] = 0.0) -> None:
    """Run it under a clock that jumps; timers are late by so much."""
    fixed = late_s
    loop = SteppedLoop(late_s if callable(late_s) else lambda: float(fixed))  # type: ignore[arg-type]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


def wall_from(start: datetime) -> Callable[[], datetime]:
    """A clock on the wall that goes with the loop's."""
    return lambda: start.astimezone(UTC) + timedelta(seconds=now() - BEGAN)


async def leave(quota: Quota, departures: list[float], until: float) -> None:
    """One caller that asks for turn after turn."""
    while True:
        await quota.turn()
        if now() >= until:
            return
        departures.append(now())


async def departures_of(quota: Quota, callers: int, seconds: float) -> list[float]:
    """When calls left, of so many callers for so long."""
    departures: list[float] = []
    end = now() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(leave(quota, departures, end))
    return departures


@dataclass
class Network:
    """A way to the server that is `way_s` long, stalls now and then, and a server that takes `service_s`."""

    way_s: float
    jitter_s: float
    service_s: Callable[[random.Random], float]
    stalls: list[tuple[float, float]] = field(default_factory=list)  # from when to when nothing arrives
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    arrivals: list[float] = field(default_factory=list)
    new_share: float = 0.0  # of the calls that go by a new connection,
    accept_s: float = 0.0  # which the server takes up to so long to accept

    async def call(self, quota: Quota) -> None:
        """One call, with all that a turn wants to know."""
        turn = await quota.turn()
        turn.leaves()
        is_new = self.rng.random() < self.new_share
        turn.sent(is_new)
        arrives = now() + self.way_s  # a stall keeps the order of calls, but for the jitter
        arrives = max([arrives, *(end for begins, end in self.stalls if begins <= arrives < end)])
        arrives += self.rng.random() * (self.accept_s if is_new else self.jitter_s)
        self.arrivals.append(arrives)
        answered = arrives + self.service_s(self.rng)
        await asyncio.sleep(answered - now())
        turn.heard()
        turn.over()

    async def fetch(self, quota: Quota, callers: int, seconds: float) -> list[float]:
        """When the calls of so many callers arrived, in order."""
        end = now() + seconds

        async def caller() -> None:
            while now() < end:
                await self.call(quota)

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
        return sorted(one for one in self.arrivals if one < end)
