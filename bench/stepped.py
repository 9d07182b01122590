"""An event loop whose clock is moved, not waited for: hours of quota pass in moments."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

CPU_S = 1e-6
"""What a round of the loop takes."""


class SteppedSelector(selectors.SelectSelector):
    """Waits by moving the clock: to the next timer, and a little beyond it, as real timers do."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self.now = 1000.0
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ever ready but time."""
        assert timeout is not None, "nothing will ever happen"
        self.now += timeout + self._late_s if timeout > 0 else CPU_S
        return []


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits."""

    def __init__(self, late_s: float = 0.0) -> None:
        self._stepped = SteppedSelector(late_s)
        super().__init__(self._stepped)

    def time(self) -> float:
        """The stepped clock, in seconds."""
        return self._stepped.now


def in_no_time(work: Coroutine[Any, Any, None], late_s: float = 0.0) -> None:
    """Run to the end, however long it takes by its own clock."""
    loop = SteppedLoop(late_s)
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


@contextmanager
def clocks_of(loop: SteppedLoop, start: datetime) -> Iterator[None]:
    """All clocks of this process go by the loop's; the one on the wall shows `start` now."""
    offset = start.astimezone(UTC).timestamp() - loop.time()
    with (
        patch.object(time, "monotonic", loop.time),
        patch.object(time, "time", lambda: loop.time() + offset),
        patch.object(time, "time_ns", lambda: int((loop.time() + offset) * 1e9)),
        patch.object(time, "perf_counter_ns", lambda: int(loop.time() * 1e9)),
    ):
        yield
