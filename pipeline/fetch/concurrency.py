"""How many calls may be under way at once: what the pace needs at the API's latency, and little more."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Callable
from itertools import islice
from types import TracebackType

from pipeline.stats import Tally

LEAST = 4
HEADROOM = 1.5
STALL_S = 0.05
KEPT = 256
"""So many of the last latencies count."""
SLOW_SHARE = 0.05
"""The latency reckoned with is the one that so many of the last calls exceeded, or of those under way now."""
POLL_S = 0.02
EVERY = 16


def calls_allowed(pace_per_s: float | None, latency_s: float, most: int) -> int:
    """How many calls may be under way, by Little's law: the pace times the latency.

    On top come half as much again, because latencies vary, and what leaves in `STALL_S`, because everything stands
    still now and then. Without a pace nothing but `most` holds them back; it is never exceeded.
    """
    if pace_per_s is None:
        return most
    return min(most, max(LEAST, math.ceil(pace_per_s * (HEADROOM * latency_s + STALL_S))))


class Gate:
    """Lets so many workers at a time take an ID, wait for its turn and call: `async with gate:`.

    The latency is the higher of two: of the calls that were answered, and the age of those that are not yet. By the
    second the gate opens as soon as the API slows down, before the first slow answer is there.
    """

    def __init__(
        self,
        most: int,
        pace_per_s: Callable[[], float | None],
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._pace_per_s = pace_per_s
        self._tally = tally
        self._clock = clock
        self._inside = 0
        self._allowed = 0  # as was found last
        self._line = asyncio.Lock()  # first come, first served
        self._freed = asyncio.Event()
        self._under_way: dict[int, float] = {}  # call's number -> when it began; the oldest first
        self._begun = 0
        self._latencies = array("d")  # a ring of the last
        self._ended = 0
        self._slow_s = 0.0  # the high latency among them

    async def __aenter__(self) -> None:
        if self._inside < self._allowed and not self._line.locked():
            self._inside += 1
            return
        async with self._line:
            while self._inside >= self.allowed():
                self._freed.clear()
                await self._until_freed()
            self._inside += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside -= 1
        self._freed.set()

    async def _until_freed(self) -> None:
        """Until a worker comes out. Calls that get older may open the gate, too: then look again soon."""
        try:
            async with asyncio.timeout(POLL_S if self._under_way else None):
                await self._freed.wait()
        except TimeoutError:
            pass

    def allowed(self) -> int:
        """How many may be inside now."""
        pace_per_s = self._pace_per_s()
        latency_s = 0.0 if pace_per_s is None else max(self._slow_s, self._age_s())
        self._allowed = calls_allowed(pace_per_s, latency_s, self._most)
        self._tally.allowed_in_flight = self._allowed
        return self._allowed

    @property
    def under_way(self) -> int:
        """How many calls have begun and not ended."""
        return len(self._under_way)

    def begins(self) -> int:
        """A call begins; gives its number."""
        self._begun += 1
        self._under_way[self._begun] = self._clock()
        return self._begun

    def ends(self, number: int) -> None:
        """That call was answered, or failed."""
        seconds = self._clock() - self._under_way.pop(number)
        if len(self._latencies) < KEPT:
            self._latencies.append(seconds)
        else:
            self._latencies[self._ended % KEPT] = seconds
        self._ended += 1
        if self._ended % EVERY == 0 or self._ended.bit_count() == 1:
            if self._pace_per_s() is not None:  # else the latency does not matter
                self._slow_s = high_latency_s(self._latencies)
            self.allowed()

    def _age_s(self) -> float:
        """The age that the oldest of the calls under way exceed, one in twenty: one that hangs says nothing."""
        among = int(len(self._under_way) * SLOW_SHARE)
        if len(self._under_way) > 1:
            among = max(1, among)
        began = next(islice(self._under_way.values(), among, None), None)
        return 0.0 if began is None else self._clock() - began


def high_latency_s(latencies: array[float]) -> float:
    """The latency that one call in twenty exceeds; 0 before the first."""
    ordered = sorted(latencies)
    return ordered[int((1 - SLOW_SHARE) * (len(ordered) - 1))] if ordered else 0.0
