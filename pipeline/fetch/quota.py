"""The pace: every call, first try or retry, waits here for its turn.

Two things hold a limit of `calls` per `per_s`. aiolimiter's leaky bucket spreads the calls evenly, with a
burst of one call and 20 ms' worth more (`AsyncLimiter(R, 1)` would let almost 2R through in one second). The
window's proof (`fetch.window`) then makes sure of it: a call leaves only when the one `calls` before it is out of the
window, and has surely arrived out of it. A call leaves when its request is sent, not when it has its turn: a
connection may have to be made between the two.

The bucket runs 2 % faster than the limit; for a limit by the second, of which a stall takes a larger part, 5 % with a
burst of 50 ms. So what a stall has cost is made up for within the windows that it fell in, and in the long run it is
the proof alone that holds the calls back: at every moment as many as possible.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from aiolimiter import AsyncLimiter

from pipeline.errors import StoppedError, UsageError
from pipeline.fetch.lateness import Latencies
from pipeline.fetch.limits import Always, Limit, Timetable, Wall, fixed_window, utc_now
from pipeline.fetch.window import Ages, Departures, OnTheWay, Sent, Window

__all__ = ["Limit", "Quota", "Turn"]

RECOVERY_S = 30.0
LEAST_SHARE = 0.05
BURST_S = 0.02
"""So many seconds' worth of calls may be made up for at once: timers are late, a busy loop makes them later."""
CATCH_UP = 0.02
SHORT_S, HASTE = 1.0, 2.5
"""In windows as short as that a stall is past before it was made up for: so many times as much at once, and as fast."""
HEARD = 1024
"""So many of the last calls are told, with how late they may be, to a limit that begins to hold."""
LOOK_S = 60.0
"""The clock on the wall is looked at so often at least: it may be set."""


class Turn:
    """Leave for one call to be sent now. Whoever sends it later says so: `leaves`, `sent`, `heard`, `over`."""

    __slots__ = ("_number", "_quota", "at")
    is_counted = True  # somebody has to be told what becomes of it

    def __init__(self, quota: Quota, number: int, at: float) -> None:
        self._quota = quota
        self._number = number
        self.at = at

    def leaves(self) -> None:
        """The request is being made: until it is `heard` of, or `over`, it counts, however long ago it had its turn."""
        self._quota.on_the_way.unsent[self._number] = self.at

    def sent(self, is_new: bool = False) -> None:
        """The request is on its way, by a new connection or by one in use: it counts from now on, not from its turn."""
        self._quota.sent(self._number, self.at, is_new)

    def heard(self) -> None:
        """An answer has begun: the request has arrived, and all that were sent before it by connections in use."""
        self._quota.heard(self._number)

    def over(self) -> None:
        """The call has ended, somehow: it will not arrive any more."""
        self._quota.over(self._number)


class FreeTurn(Turn):
    """Where there are no limits: one turn for all, of which nothing needs to be known."""

    __slots__ = ()
    is_counted = False

    def leaves(self) -> None:
        """As it likes."""

    def sent(self, is_new: bool = False) -> None:
        """As it likes."""

    def heard(self) -> None:
        """As it likes."""

    def over(self) -> None:
        """As it likes."""


class Quota:
    """Gives each call its turn, in the order they ask. All limits hold at once, each as long as the timetable says.

    `spent` are the ages of calls that earlier starts made. `clock` is the loop's own.
    """

    def __init__(
        self,
        limits: Sequence[Limit] | Timetable,
        clock: Callable[[], float] = time.monotonic,
        spent: Ages = (),
        wall: Wall = utc_now,
    ) -> None:
        _refuse_none(limits if isinstance(limits, Sequence) else limits.every)
        self._timetable = Always(limits) if isinstance(limits, Sequence) else limits
        self._clock, self._wall = clock, wall
        every = self._timetable.every
        self._has_limits = bool(every)
        self._free = FreeTurn(self, 0, clock())
        self._departures = Departures(max((limit.calls for limit in every), default=0))
        self._departures.add_ages(spent, clock())
        self._latencies = Latencies()
        self._heard: deque[tuple[Sent, float]] = deque(maxlen=HEARD)  # calls, and how long nothing was heard
        self.on_the_way = OnTheWay()
        self._windows: list[Window] = []
        self._paces: list[AsyncLimiter] = []
        self._look_at = float("-inf")
        self._changes_at = math.inf  # when other limits hold
        self.ends_at = math.inf  # when no call leaves any more, whatever the limits
        self.patience_s = math.inf  # the longest wait for a turn
        self._queue = asyncio.Lock()  # a turn is taken by one waiter at a time, first come first served
        self._paused_until = float("-inf")
        self._share = 1.0  # of the limits that is used: halved by a 429, crept back
        self._share_changed = clock()
        self._look()

    # Taking turns

    def at_once(self) -> Turn | None:
        """A turn, where there are no limits and no pause: then nothing has to be waited for."""
        return self._free if not self._has_limits and self._clock() >= self._paused_until else None

    async def turn(self) -> Turn:
        """Wait until one more call may leave."""
        if (free := self.at_once()) is not None:
            return free
        async with self._queue:
            self._creep_back()
            self._look()
            while not (await self._are_paced() and await self._are_open()):
                pass  # other limits hold now
            return self._leave()

    def _leave(self) -> Turn:
        if not self._has_limits:
            return self._free
        now = self._clock()
        self._departures.add(now)
        return Turn(self, self._departures.count, now)

    async def _are_paced(self) -> bool:
        """Wait for the even pace of every limit; False when others hold meanwhile."""
        for pace in self._paces:
            while not pace.has_capacity():
                try:
                    async with asyncio.timeout(max(0.0, self._look_at - self._clock())):
                        await pace.acquire()
                    break
                except TimeoutError:
                    if self._look():
                        return False
            else:
                await pace.acquire()  # at once
        return True

    async def _are_open(self) -> bool:
        """Wait until every window has room, and no pause holds; False when other limits hold meanwhile."""
        while (opens_at := self._opens_at(now := self._clock())) > now:  # a pause may move it
            if self._is_in_vain(opens_at, now):
                raise _used_up(self._wall() + (opens_at - now) * SECOND)
            await asyncio.sleep(min(opens_at, self._look_at) - now)
            if self._look():
                return False
        return True

    def _is_in_vain(self, opens_at: float, now: float) -> bool:
        """Whether the night is over before one more call may leave, or hours later; other limits may hold before."""
        until = min(self.ends_at, now + self.patience_s)
        return self._changes_at > until < opens_at < math.inf

    def _opens_at(self, now: float) -> float:
        return max([self._paused_until, *(window.opens_at(now) for window in self._windows)])

    # What the clock on the wall says

    def _look(self) -> bool:
        """See which limits hold, when it is time to; whether they are others than before."""
        now = self._clock()
        if now < self._look_at:
            return False
        moment = self._wall()
        limits = self._timetable.limits(moment)
        has_changed = [window.limit for window in self._windows] != list(limits)
        if has_changed:
            self._hold(limits)
        self._look_at = self._next_look(now, moment)
        return has_changed

    def _hold(self, limits: Sequence[Limit]) -> None:
        """From now on these limits; what is known of the calls before counts for them, too."""
        self._windows = [Window(limit, self._departures, self.on_the_way) for limit in limits]
        self._reckon_usual()
        for window in self._windows:
            for call, took_s in self._heard:
                window.sent(call)
                window.heard(call, took_s)
        self._set_paces()

    def _next_look(self, now: float, moment: datetime) -> float:
        """When limits may change, or a day's budget starts anew; tells the budgets since when calls count."""
        change = self._timetable.next_change(moment)
        self._changes_at = math.inf if change is None else now + (change - moment) / SECOND
        looks = [LOOK_S] if change is None else [LOOK_S, (change - moment) / SECOND]
        for window in self._windows:
            if window.limit.starts_anew:
                since, until = fixed_window(window.limit, moment, self._timetable.zone)
                window.since, window.until = now + (since - moment) / SECOND, now + (until - moment) / SECOND
                looks.append((until - moment) / SECOND)
        return now + min(looks)

    def _set_paces(self) -> None:
        """Spread the calls evenly, at the present share of what the limits allow."""
        self._paces = [_pace(window.limit, self._share) for window in self._windows if window.limit.is_paced]

    def pace_per_s(self) -> float | None:
        """How many calls are let through in a second now; None where nothing spreads them."""
        paced = [window.limit for window in self._windows if window.limit.is_paced]
        return min((self._share * limit.calls / limit.per_s for limit in paced), default=None)

    # What became of calls

    def sent(self, number: int, turn_at: float, is_new: bool) -> None:
        """A call was sent only now. By a new connection, yet to be accepted, no other answer proves it."""
        call = Sent(number, turn_at, self._clock())
        if self.on_the_way.unsent.pop(number, None) is not None:
            (self.on_the_way.alone if is_new else self.on_the_way.unheard)[number] = call
        for window in self._windows:
            window.sent(call)

    def heard(self, number: int) -> None:
        """A call was answered: what it took longer than usual, it and those before it may have arrived late."""
        now, unheard = self._clock(), self.on_the_way.unheard
        alone = self.on_the_way.alone.pop(number, None)
        if alone is not None:
            self._heard_of(alone, now - alone.sent_at)
        while number in unheard:
            _, call = unheard.popitem(last=False)
            self._heard_of(call, now - call.sent_at)

    def over(self, number: int) -> None:
        """A call has ended: one that was never heard of may have arrived until now, one that was not sent never."""
        self.on_the_way.unsent.pop(number, None)
        call = self.on_the_way.unheard.pop(number, None) or self.on_the_way.alone.pop(number, None)
        if call is not None:
            self._heard_of(call, self._clock() - call.sent_at)

    def _heard_of(self, call: Sent, took_s: float) -> None:
        if self._latencies.add(call.sent_at, took_s):
            self._reckon_usual()
        self._heard.append((call, took_s))
        for window in self._windows:
            window.heard(call, took_s)

    def _reckon_usual(self) -> None:
        usual_s, least_s = self._latencies.usual_s(), self._latencies.least_s
        for window in self._windows:
            window.usual_s, window.least_s = usual_s, min(least_s, usual_s)

    # Going slower

    def pause(self, seconds: float) -> bool:
        """No call leaves for so long; the longest of several pauses counts. Gives whether no other held."""
        now = self._clock()
        is_new = now >= self._paused_until
        self._paused_until = max(self._paused_until, now + seconds)
        return is_new

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
        self._set_paces()

    def seconds_to_next_window(self) -> float:
        """After a 429 that says nothing: until the shortest window has passed."""
        return min((window.limit.per_s for window in self._windows), default=1.0)


SECOND = timedelta(seconds=1)


def _used_up(opens_at: datetime) -> StoppedError:
    return StoppedError(
        f"The quota is used up: the next call may leave at {opens_at.astimezone():%Y-%m-%d %H:%M}.",
        "Nothing is lost: `run` goes on with what is left.",
        publish=True,
        as_planned=True,
    )


def _refuse_none(limits: Sequence[Limit]) -> None:
    for limit in limits:
        if limit.calls < 1 or limit.per_s <= 0:
            raise UsageError(f"quota.limits: {limit.calls} calls per {limit.per_s} s is no limit.")


def _pace(limit: Limit, share: float) -> AsyncLimiter:
    haste = HASTE if limit.per_s <= SHORT_S else 1.0
    rate = (1.0 + haste * CATCH_UP) * share * limit.calls / limit.per_s
    burst = 1.0 + rate * haste * BURST_S
    return AsyncLimiter(burst, burst / rate)
