"""Time that goes faster, for a whole process: every clock, and every wait of an event loop.

Must be imported and set before anything that may keep a clock's function for itself, so it imports next to nothing.
"""

from __future__ import annotations

import selectors
import time
from typing import Any


def hasten(speed: float, starts_at: float) -> None:
    """From now on an hour passes in an hour / `speed`, and it is `starts_at` (Unix time) now.

    A hardware clock cannot be hurried: what is computed takes `speed` times as long by these clocks.
    """
    real = time.monotonic
    began = real()

    def passed() -> float:
        return (real() - began) * speed

    clocks: dict[str, Any] = {
        "monotonic": lambda: began + passed(),
        "monotonic_ns": lambda: int((began + passed()) * 1e9),
        "perf_counter": lambda: began + passed(),
        "perf_counter_ns": lambda: int((began + passed()) * 1e9),
        "time": lambda: starts_at + passed(),
        "time_ns": lambda: int((starts_at + passed()) * 1e9),
        "sleep": _hurried_sleep(time.sleep, speed),
    }
    for name, clock in clocks.items():
        setattr(time, name, clock)
    _hurry_selectors(speed)


def _hurried_sleep(sleep: Any, speed: float) -> Any:
    return lambda seconds: sleep(seconds / speed)


def _hurry_selectors(speed: float) -> None:
    """asyncio's loops take `selectors.DefaultSelector` when they are made, and wait nowhere else."""

    class HurriedSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Waits as much shorter as the clocks are faster."""
            return super().select(timeout if timeout is None or timeout <= 0 else timeout / speed)

    setattr(selectors, "DefaultSelector", HurriedSelector)  # noqa: B010 - a name that mypy takes for a class
