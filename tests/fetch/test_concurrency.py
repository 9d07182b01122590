"""How many calls are under way at once: as many as the pace needs, and no more."""

from __future__ import annotations

import asyncio
from array import array

import pytest

from pipeline.fetch.concurrency import LEAST, Gate, calls_allowed, high_latency_s
from pipeline.fetch.quota import Limit, Quota
from pipeline.sandbox import known_ids
from pipeline.stats import Tally
from tests.fetch.conftest import HandClock, Night, StartSandbox
from tests.fetch.virtual import in_no_time, now


@pytest.mark.parametrize(
    ("pace_per_s", "latency_s", "allowed"),
    [
        (100.0, 0.0, 5),  # nothing known yet
        (100.0, 0.2, 35),  # 20 by Little's law
        (1.0, 0.1, LEAST),
        (3000.0, 0.01, 195),
        (3000.0, 5.0, 512),  # never more than the bound
        (None, 0.001, 512),  # no pace
    ],
)
def test_little(pace_per_s: float | None, latency_s: float, allowed: int) -> None:
    """Pace times latency, half as much again, and 50 ms' worth."""
    assert calls_allowed(pace_per_s, latency_s, 512) == allowed


def test_one_in_twenty_may_be_slower() -> None:
    """The high latency is no outlier's."""
    assert high_latency_s(array("d")) == 0.0
    assert high_latency_s(array("d", [*([0.1] * 97), 30.0, 30.0, 30.0])) == 0.1
    assert high_latency_s(array("d", [*([0.1] * 80), *([0.5] * 20)])) == 0.5


def gate(clock: HandClock, tally: Tally | None = None) -> Gate:
    return Gate(64, lambda: 100.0, tally or Tally(), clock)


async def test_the_gate_opens_while_calls_get_older() -> None:
    """An API that suddenly hangs is seen by the age of the calls under way, before any answer."""
    clock, tally = HandClock(), Tally()
    held = gate(clock, tally)
    for _ in range(5):
        held.begins()
    assert held.allowed() == 5
    clock.now += 0.2
    assert held.allowed() == tally.allowed_in_flight == 35
    clock.now += 20.0
    assert held.allowed() == 64


async def test_one_call_that_hangs_does_not_open_the_gate() -> None:
    """One in many says nothing of the API's latency."""
    clock = HandClock()
    held = gate(clock)
    held.begins()
    clock.now += 20.0
    for number in [held.begins() for _ in range(10)]:
        clock.now += 0.01
        held.ends(number)
    held.begins()
    assert held.allowed() < 25


async def test_the_gate_closes_again_when_the_api_recovers() -> None:
    """The last answers count, not the slow ones of an hour ago."""
    clock = HandClock()
    held = gate(clock)
    for seconds, allowed in ((2.0, 64), (0.02, 8)):
        for _ in range(300):
            number = held.begins()
            clock.now += seconds
            held.ends(number)
        assert held.allowed() == allowed


async def test_who_is_cancelled_at_the_gate_keeps_nobody_out() -> None:
    """The night stops whoever waits; a place that is given back is taken by the next."""
    held = gate(HandClock())
    inside = [held for _ in range(5)]
    for one in inside:
        await one.__aenter__()

    async def enter() -> None:
        async with held:
            pass

    gone, next_one = asyncio.create_task(enter()), asyncio.create_task(enter())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.01)
    assert not next_one.done()
    await held.__aexit__(None, None, None)
    await asyncio.wait_for(next_one, 1.0)


async def test_a_fast_api_is_asked_by_few_at_a_time(start_sandbox: StartSandbox) -> None:
    """Far fewer calls than `max_in_flight` are under way when the pace needs no more."""
    sandbox = await start_sandbox(faults="latency=5ms")
    night = Night(sandbox.url, workers=200, limits=(Limit(200, 1.0),))
    assert await night.run(known_ids(300)) is None
    assert sandbox.judge.most_in_flight < 60
    assert night.tally.allowed_in_flight < 100


async def test_a_slower_api_is_asked_by_more_at_a_time(start_sandbox: StartSandbox) -> None:
    """The gate opens as latency grows: the quota is used all the same, and no call waits in a queue for long."""
    sandbox = await start_sandbox(faults="latency=5ms, slow-body:1=100% from call 120", customers=600)
    night = Night(sandbox.url, workers=400, limits=(Limit(200, 1.0),))
    assert await night.run(known_ids(600)) is None
    assert sandbox.judge.most_in_flight > 60  # 200/s for a second each; 15 are enough before


def test_a_suddenly_slower_api_costs_none_of_the_quota() -> None:
    """From 20 ms to two seconds at once: the gate opens by the age of the calls, and closes when it is over."""

    async def work() -> None:
        quota, began = Quota([Limit(100, 1.0)], now), now()
        held = Gate(400, quota.pace_per_s, Tally(), now)
        departures: list[float] = []
        most = {True: 0, False: 0}

        async def worker() -> None:
            while now() < began + 90.0:
                async with held:
                    await quota.turn()
                    number = held.begins()
                    is_slow = began + 30.0 < now() < began + 60.0
                    departures.append(now())
                    most[is_slow] = max(most[is_slow], held.under_way)
                    await asyncio.sleep(2.0 if is_slow else 0.02)
                    held.ends(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(400):
                group.create_task(worker())
        slow = [one for one in departures if began + 30.0 <= one < began + 60.0]
        assert len(slow) >= 0.99 * 30 * 100
        assert most[True] > 190
        assert len([one for one in departures if one < began + 30.0]) >= 0.99 * 30 * 100

    in_no_time(work(), late_s=0.001)
