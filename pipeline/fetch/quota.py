"""The pace: every call, first try or retry, waits here for its turn.

Two things hold a limit of `calls` per `per_s`. aiolimiter's leaky bucket spreads the calls evenly, with a
burst of one call and 20 ms' worth more (`AsyncLimiter(R, 1)` would let almost 2R through in one second). A
ring of the last `calls` departures then proves it: a call leaves only when the one `calls` before it left
longer than the window ago, and a little longer still, because calls that leave apart may arrive closer
together. A call leaves when its request is sent, not when it has its turn: a connection may have to be made
between the two.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from pipeline.errors import UsageError

PACED_S = 3600.0
"""A longer window (a day's budget) is only counted, not spread evenly: the night may spend it in its first hours."""
RECOVERY_S = 30.0
LEAST_SHARE = 0.05
BURST_S = 0.02
"""So many seconds' worth of calls may be made up for: timers are late, a busy loop makes them later."""


@dataclass(frozen=True)
class Limit:
    """`calls` in any `per_s` seconds, as the server counts them."""

    calls: int
    per_s: float

    @property
    def slack_s(self) -> float:
        """By how much the way to the server may shrink the time between two calls: 0.4 % of the window."""
        return min(0.25, 0.004 * self.per_s)


class _Window:
    """One limit: an even pace, and the proof that no window holds too many.

    `spent` are the ages in seconds of calls that an earlier start made, the oldest first.
    """

    def __init__(self, limit: Limit, now: float, spent: Sequence[float] = ()) -> None:
        self.limit = limit
        self.set_pace(1.0)
        self._departures = array("d", [float("-inf")]) * limit.calls
        self._turns = 0  # given so far
        self._latest = float("-inf")  # departure of all those that are `calls` turns ago, or more
        for age in spent[-limit.calls :]:
            self.departed(now - max(0.0, age))

    def set_pace(self, share: float) -> None:
        """Spread the calls evenly, at this share of what the limit allows."""
        rate = share * self.limit.calls / self.limit.per_s
        burst = 1.0 + rate * BURST_S
        self.pace = AsyncLimiter(burst, burst / rate) if self.limit.per_s <= PACED_S else None

    def opens_at(self) -> float:
        """The clock's time from which one more call keeps the limit."""
        self._latest = max(self._latest, self._departures[self._turns % self.limit.calls])
        return self._latest + self.limit.per_s + self.limit.slack_s

    def departed(self, now: float) -> int:
        """Note a departure; gives the turn's number."""
        turn = self._turns
        self._departures[turn % self.limit.calls] = now
        self._turns += 1
        return turn

    def left_later(self, turn: int, now: float) -> None:
        """The call of that turn has been sent only now."""
        if turn > self._turns - self.limit.calls - 1:
            self._departures[turn % self.limit.calls] = now


class Turn:
    """Leave for one call to be sent now."""

    def __init__(self, windows: Sequence[_Window], clock: Callable[[], float]) -> None:
        self._clock = clock
        now = clock()
        self._places = [(window, window.departed(now)) for window in windows]

    def sent(self) -> None:
        """The request is on its way: from now on it counts, not from when it had its turn."""
        now = self._clock()
        for window, turn in self._places:
            window.left_later(turn, now)


class Quota:
    """Gives each call its turn, in the order they ask. All limits hold at once."""

    def __init__(
        self,
        limits: Sequence[Limit],
        clock: Callable[[], float] = time.monotonic,
        spent: Sequence[float] = (),
    ) -> None:
        for limit in limits:
            if limit.calls < 1 or limit.per_s <= 0:
                raise UsageError(f"quota.limits: {limit.calls} calls per {limit.per_s} s is no limit.")
        self._windows = [_Window(limit, clock(), spent) for limit in limits]
        self._clock = clock
        self._queue = asyncio.Lock()  # a turn is taken by one waiter at a time, first come first served
        self._paused_until = float("-inf")
        self._share = 1.0  # of the limits that is used: halved by a 429, crept back
        self._share_changed = clock()

    async def turn(self) -> Turn:
        """Wait until one more call may leave."""
        if not self._windows and self._clock() >= self._paused_until:
            return Turn([], self._clock)
        async with self._queue:
            self._creep_back()
            for window in self._windows:
                if window.pace is not None:
                    await window.pace.acquire()
            while (opens_at := self._opens_at()) > (now := self._clock()):  # noqa: ASYNC110 - a pause may move it
                await asyncio.sleep(opens_at - now)
            return Turn(self._windows, self._clock)

    def pause(self, seconds: float) -> None:
        """No call leaves for so long; the longest of several pauses counts."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def slow_down(self) -> None:
        """The server says we are too fast although the limits hold: it allows less than we were told.

        Halves the pace once for all calls that were under way together; it creeps back by a tenth of the limits every
        `RECOVERY_S`, never above them (additive increase, multiplicative decrease: Chiu and Jain, 1989).
        """
        if self._clock() >= self._paused_until:
            self._set_share(max(LEAST_SHARE, self._share / 2))

    def _creep_back(self) -> None:
        if self._share < 1.0 and self._clock() - self._share_changed >= RECOVERY_S:
            self._set_share(min(1.0, self._share + 0.1))

    def _set_share(self, share: float) -> None:
        self._share, self._share_changed = share, self._clock()
        for window in self._windows:
            window.set_pace(share)

    def seconds_to_next_window(self) -> float:
        """After a 429 that says nothing: until the shortest window has passed."""
        return min((window.limit.per_s for window in self._windows), default=1.0)

    def _opens_at(self) -> float:
        return max([self._paused_until, *(window.opens_at() for window in self._windows)])
