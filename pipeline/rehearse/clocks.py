"""Time that goes faster, for a whole process: every clock, and every wait of an event loop.

Must be imported and set before anything that may keep a clock's function for itself, so it imports next to nothing.
"""

from __future__ import annotations

import selectors
import time
from typing import Any


class Hurry:
    """The clocks of this process from now on: as they were, until told to go faster."""

    def __init__(self, starts_at: float) -> None:
        """It is `starts_at` (Unix time) now."""
        self._real = time.monotonic
        self._began = self._real()
        self._since = (self._began, 0.0, 1.0)  # real clock, seconds passed until then, speed from then on
        clocks: dict[str, Any] = {
            "monotonic": lambda: self._began + self.passed(),
            "monotonic_ns": lambda: int((self._began + self.passed()) * 1e9),
            "perf_counter": lambda: self._began + self.passed(),
            "perf_counter_ns": lambda: int((self._began + self.passed()) * 1e9),
            "time": lambda: starts_at + self.passed(),
            "time_ns": lambda: int((starts_at + self.passed()) * 1e9),
            "sleep": self._hurried(time.sleep),
        }
        for name, clock in clocks.items():
            setattr(time, name, clock)
        _hurry_selectors(self)

    @property
    def speed(self) -> float:
        """How many seconds pass in a real one."""
        return self._since[2]

    def passed(self) -> float:
        """Seconds since the beginning, by the clocks."""
        real, before, speed = self._since
        return before + (self._real() - real) * speed

    def go(self, speed: float) -> None:
        """From now on an hour passes in an hour / `speed`.

        The machine cannot be hurried: what is computed takes `speed` times as long by these clocks.
        """
        self._since = (self._real(), self.passed(), speed)

    def _hurried(self, sleep: Any) -> Any:
        return lambda seconds: sleep(seconds / self.speed)


def _hurry_selectors(hurry: Hurry) -> None:
    """asyncio's loops take `selectors.DefaultSelector` when they are made, and wait nowhere else."""

    class HurriedSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Waits as much shorter as the clocks are faster."""
            return super().select(timeout if timeout is None or timeout <= 0 else timeout / hurry.speed)

    setattr(selectors, "DefaultSelector", HurriedSelector)  # noqa: B010 - a name that mypy takes for a class
