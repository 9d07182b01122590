"""The pace, counted in every sliding window, as the server counts it."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.fetch.quota import Limit, Quota
from pipeline.sandbox.judge import busiest

CPU_S = 1e-6  # what a round of the loop takes


class SteppedSelector(selectors.SelectSelector):
    """Waits by moving the clock: to the next timer, and a little beyond it, as real timers do."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self.now = 1000.0
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.now += timeout + self._late_s if timeout > 0 else CPU_S
        return super().select(0)


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: hours of quota pass in a moment."""

    def __init__(self, late_s: float) -> None:
        self._stepped = SteppedSelector(late_s)
        super().__init__(self._stepped)

    def time(self) -> float:
        return self._stepped.now


def in_no_time(work: Coroutine[Any, Any, None], late_s: float = 0.0) -> None:
    loop = SteppedLoop(late_s)
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


async def leave(quota: Quota, departures: list[float], until: float) -> None:
    """One caller that asks for turn after turn."""
    while True:
        await quota.turn()
        if now() >= until:
            return
        departures.append(now())


async def departures_of(quota: Quota, callers: int, seconds: float) -> list[float]:
    departures: list[float] = []
    end = now() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(leave(quota, departures, end))
    return departures


@pytest.mark.parametrize(
    ("calls", "per_s"), [(60, 0.5), (60, 60.0), (1000, 60.0), (3000, 60.0), (20, 1.0), (1, 2.0)]
)
def test_at_least_97_percent_are_used_and_never_one_too_many(calls: int, per_s: float) -> None:
    """With timers a millisecond late, every sliding window holds its limit, and nearly all of it is used."""

    async def work() -> None:
        departures = await departures_of(Quota([Limit(calls, per_s)], now), callers=8, seconds=8 * per_s)
        assert busiest(departures, per_s) <= calls
        assert len(departures) >= 0.97 * 8 * calls

    in_no_time(work(), late_s=0.001)


def test_several_limits_hold_at_once() -> None:
    """Per second, per minute and per hour: the tightest counts at any time, and none is broken."""
    limits = [Limit(20, 1.0), Limit(600, 60.0), Limit(9000, 3600.0)]

    async def work() -> None:
        departures = await departures_of(Quota(limits, now), callers=5, seconds=7200.0)
        for limit in limits:
            assert busiest(departures, limit.per_s) <= limit.calls
        assert len(departures) >= 0.97 * 2 * 9000

    in_no_time(work(), late_s=0.002)


def test_calls_are_spread_not_sent_in_bursts() -> None:
    """A minute's calls don't all leave in its first second: the API's own limits may be finer than ours."""

    async def work() -> None:
        departures = await departures_of(Quota([Limit(600, 60.0)], now), callers=50, seconds=60.0)
        assert busiest(departures, 1.0) <= 12

    in_no_time(work())


def test_a_pause_holds_everyone_back_and_the_longest_counts() -> None:
    """After a 429 no call leaves until the pause is over, not even one that was about to."""

    async def work() -> None:
        quota = Quota([Limit(10, 1.0)], now)
        departures: list[float] = []
        began = now()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(leave(quota, departures, began + 40.0))
            await asyncio.sleep(5.0)
            paused_at = now()
            quota.pause(20.0)
            quota.pause(3.0)
        assert not [moment for moment in departures if paused_at < moment < paused_at + 20.0]
        assert [moment for moment in departures if moment < paused_at]
        assert [moment for moment in departures if moment > paused_at + 20.0]

    in_no_time(work())


def test_a_pause_holds_without_any_limit() -> None:
    """Where no quota is configured, a 429 is still heard."""

    async def work() -> None:
        quota = Quota([], now)
        await quota.turn()
        began = now()
        quota.pause(7.0)
        await quota.turn()
        assert now() >= began + 7.0
        assert quota.seconds_to_next_window() == 1.0

    in_no_time(work())


def test_turns_come_in_the_order_of_asking() -> None:
    """A retry does not starve behind those who came later."""

    async def work() -> None:
        quota = Quota([Limit(5, 1.0)], now)
        order: list[int] = []

        async def caller(number: int) -> None:
            await quota.turn()
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(caller(number))
        assert order == list(range(20))

    in_no_time(work())


def test_a_caller_that_leaves_takes_no_turn_with_it() -> None:
    """Workers are cancelled when the night stops; whoever still waits gets on."""

    async def work() -> None:
        quota = Quota([Limit(1, 10.0)], now)
        await quota.turn()
        gone = asyncio.create_task(quota.turn())
        await asyncio.sleep(1.0)
        gone.cancel()
        async with asyncio.timeout(15.0):
            await quota.turn()
        assert gone.cancelled()

    in_no_time(work())


@pytest.mark.parametrize("limit", [Limit(0, 1.0), Limit(-1, 1.0), Limit(1, 0.0), Limit(1, -3.0)])
def test_a_limit_that_is_none_is_refused(limit: Limit) -> None:
    """A limit of nothing would wait for ever; it is told at once."""
    with pytest.raises(UsageError, match="is no limit"):
        Quota([limit])


def test_calls_count_from_when_they_are_sent() -> None:
    """The first calls wait for their connections: they arrive late, and no later window holds one too many."""
    sent: list[float] = []

    async def caller(quota: Quota, end: float) -> None:
        for number in itertools.count():
            turn = await quota.turn()
            if number == 0:
                await asyncio.sleep(1.5)  # a handshake, far away
            turn.sent()
            sent.append(now())
            if now() >= end:
                return

    async def work() -> None:
        quota = Quota([Limit(100, 10.0)], now)
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(caller(quota, now() + 60.0))
        assert busiest(sorted(sent), 10.0) <= 100
        assert len(sent) > 0.94 * 600

    in_no_time(work())


async def test_real_time_keeps_the_limits_too() -> None:
    """Against the machine's own clock, for two seconds: two limits, several waiters, no window too full."""
    limits = [Limit(60, 0.5), Limit(25, 0.2)]
    quota = Quota(limits)
    departures: list[float] = []
    end = time.monotonic() + 2.0

    async def caller() -> None:
        while time.monotonic() < end:
            await quota.turn()
            departures.append(time.monotonic())

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(caller())
    for limit in limits:  # 5 % are left to a machine that stops between two lines
        assert busiest(departures, 0.95 * limit.per_s) <= limit.calls
    assert len(departures) > 60  # more than one window's: it went on


def test_a_429_halves_the_pace_and_it_creeps_back() -> None:
    """Half as fast after the pause, as fast as before some minutes later, and never above the limit."""

    async def work() -> None:
        quota = Quota([Limit(600, 60.0)], now)
        before = await departures_of(quota, callers=4, seconds=30.0)
        for _ in range(20):  # calls that were under way together count once
            quota.slow_down()
            quota.pause(1.0)
        after = await departures_of(quota, callers=4, seconds=25.0)
        later = await departures_of(quota, callers=4, seconds=240.0)
        assert 0.4 * len(before) / 30 < len(after) / 24 < 0.6 * len(before) / 30
        assert len([one for one in later if one > later[-1] - 60.0]) > 0.95 * 600
        assert busiest([*before, *after, *later], 60.0) <= 600

    in_no_time(work())
