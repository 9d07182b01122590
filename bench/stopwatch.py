"""A bench that ends in time: what a stage took tells what the next, larger one would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """So many seconds from now; knows what each kind of work has cost so far."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._s_each: dict[str, float] = {}

    @property
    def left_s(self) -> float:
        """Seconds until the end; negative once it has passed."""
        return self._ends - time.monotonic()

    def needs_s(self, kind: str, amount: int) -> float:
        """What so much of this work would take, preparing included; 0 where nothing is known yet."""
        return self._s_each.get(kind, 0.0) * amount

    @contextmanager
    def taking(self, kind: str, amount: int) -> Iterator[None]:
        """Note what it takes."""
        began = time.monotonic()
        yield
        self._s_each[kind] = (time.monotonic() - began) / amount
