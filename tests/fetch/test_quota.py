"""The pace, counted in every sliding window, as the server counts it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from array import array
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import QuotaConfig
from pipeline.errors import StoppedError, UsageError
from pipeline.fetch.lateness import Latencies, usual_latency_s
from pipeline.fetch.limits import GUARD_S, ByCalendar
from pipeline.fetch.quota import Limit, Quota
from pipeline.sandbox.judge import busiest
from tests.fetch.virtual import Network, departures_of, in_no_time, leave, now, wall_from


@pytest.mark.parametrize(
    ("calls", "per_s"),
    [(60, 0.5), (60, 60.0), (1000, 60.0), (3000, 60.0), (20, 1.0), (1, 2.0), (1, 1.0), (3000, 1.0)],
)
def test_at_least_99_percent_are_used_and_never_one_too_many(calls: int, per_s: float) -> None:
    """With timers a millisecond late, every sliding window holds its limit, and nearly all of it is used."""

    async def work() -> None:
        departures = await departures_of(Quota([Limit(calls, per_s)], now), callers=8, seconds=8 * per_s)
        assert busiest(departures, per_s) <= calls
        assert len(departures) >= 0.99 * 8 * calls

    in_no_time(work(), late_s=0.001)


def test_a_busy_loop_costs_a_limit_by_the_second_little() -> None:
    """Every timer is 40 ms late, as beside other work: what is missed leaves at once, and no window is too full."""

    async def work() -> None:
        departures = await departures_of(Quota([Limit(3000, 1.0)], now), callers=400, seconds=4.0)
        assert busiest(departures, 1.0) <= 3000
        assert len(departures) >= 0.95 * 4 * 3000

    in_no_time(work(), late_s=0.04)


def test_several_limits_hold_at_once() -> None:
    """Per second, per minute and per hour: the tightest counts at any time, and none is broken."""
    limits = [Limit(20, 1.0), Limit(600, 60.0), Limit(9000, 3600.0)]

    async def work() -> None:
        departures = await departures_of(Quota(limits, now), callers=5, seconds=7200.0)
        for limit in limits:
            assert busiest(departures, limit.per_s) <= limit.calls
        assert len(departures) >= 0.99 * 2 * 9000

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
    for limit in limits:  # 10 % are left to a machine that stops between two lines
        assert busiest(departures, 0.9 * limit.per_s) <= limit.calls
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


def sliding(calls: int, per_s: float) -> dict[str, Any]:
    return {"calls": calls, "per_s": per_s}


LIMITS = st.builds(Limit, st.integers(1, 400), st.sampled_from([0.5, 1.0, 2.0, 7.0, 60.0]))


@given(st.lists(LIMITS, min_size=1, max_size=3), st.integers(2, 20), st.integers(0, 2**16))
@settings(max_examples=20)
def test_any_limits_hold_and_are_used(limits: list[Limit], callers: int, seed: int) -> None:
    """Whatever the limits, the callers and how late timers are: no window too full, 99 % of the tightest used."""
    rng = random.Random(seed)
    seconds = 10 * max(limit.per_s for limit in limits)
    most = int(min(limit.calls / limit.per_s for limit in limits) * seconds)
    seconds *= min(1.0, 3000 / most)

    async def work() -> None:
        departures = await departures_of(Quota(limits, now), callers, seconds)
        for limit in limits:
            assert busiest(departures, limit.per_s) <= limit.calls
        rate = min(limit.calls / limit.per_s for limit in limits)
        assert len(departures) >= 0.985 * rate * seconds - 2  # what two limits cost each other is in it

    in_no_time(work(), late_s=lambda: rng.random() * 0.002)


@given(st.integers(1, 300), st.sampled_from([1.0, 4.0, 60.0]), st.integers(0, 2**16))
@settings(max_examples=25)
def test_stalls_on_the_way_never_make_a_window_too_full(calls: int, per_s: float, seed: int) -> None:
    """Calls that a stall held up arrive together; those after them wait until the server's window has room."""
    rng = random.Random(seed)
    stalls = [(at := 1000.0 + rng.random() * 6 * per_s, at + rng.random() * per_s / 2) for _ in range(3)]

    async def work() -> None:
        network = Network(0.03, 0.001 * per_s * 0.9, lambda _: 0.01, stalls, rng)
        arrivals = await network.fetch(Quota([Limit(calls, per_s)], now), 40, 8 * per_s)
        assert busiest(arrivals, per_s) <= calls
        assert len(arrivals) > 2 * calls

    in_no_time(work(), late_s=0.001)


@given(st.integers(20, 500), st.sampled_from([1.0, 4.0]), st.integers(0, 2**16))
@settings(max_examples=25)
def test_calls_by_new_connections_are_overtaken_and_no_window_is_too_full(
    calls: int, per_s: float, seed: int
) -> None:
    """What a server is slow to accept counts until its own answer, whatever is answered meanwhile."""
    rng = random.Random(seed)

    async def work() -> None:
        network = Network(0.01, 0.0005 * per_s, lambda _: 0.01, [], rng, new_share=0.2, accept_s=0.4 * per_s)
        arrivals = await network.fetch(Quota([Limit(calls, per_s)], now), 64, 6 * per_s)
        assert busiest(arrivals, per_s) <= calls
        assert len(arrivals) > calls

    in_no_time(work(), late_s=0.001)


@pytest.mark.parametrize(("calls", "per_s"), [(1, 1.0), (50, 1.0), (500, 1.0), (100, 60.0)])
def test_an_uneven_api_costs_no_more_than_one_percent(calls: int, per_s: float) -> None:
    """Answers that take now 20, now 30 ms cost half a percent of a second, and next to nothing of a minute."""

    async def work() -> None:
        network = Network(0.02, 0.001, lambda rng: 0.02 + 0.01 * rng.random())
        arrivals = await network.fetch(Quota([Limit(calls, per_s)], now), 60, 20 * per_s)
        assert busiest(arrivals, per_s) <= calls
        assert (
            len(arrivals) >= 0.985 * 20 * calls - 1
        )  # with a start in which the first calls count until their answers

    in_no_time(work(), late_s=0.0005)


def test_a_server_that_falls_silent_gets_no_more_than_one_window_of_calls() -> None:
    """What leaves while nothing arrives will arrive at once: no more than one window may hold."""

    async def work() -> None:
        network = Network(0.01, 0.0, lambda _: 0.01, [(1005.0, 1009.0)])
        arrivals = await network.fetch(Quota([Limit(100, 1.0)], now), 1000, 15.0)
        assert len([one for one in arrivals if 1005.0 <= one <= 1009.01]) <= 100
        assert busiest(arrivals, 1.0) <= 100
        assert len([one for one in arrivals if one > 1011.0]) > 350

    in_no_time(work(), late_s=0.001)


def test_an_answer_that_takes_longer_than_the_window_holds_nobody_back() -> None:
    """With a limit by the second, and answers after two: silence means nothing, and the quota is used."""

    async def work() -> None:
        network = Network(0.01, 0.0, lambda _: 2.0)
        arrivals = await network.fetch(Quota([Limit(50, 1.0)], now), 400, 40.0)
        assert len([one for one in arrivals if one > 1020.0]) > 0.98 * 20 * 50

    in_no_time(work(), late_s=0.001)


def test_a_call_that_was_never_sent_counts_until_it_is_over() -> None:
    """It waits for its connection, and may be sent at any moment."""

    async def work() -> None:
        quota = Quota([Limit(2, 1.0)], now)
        turn = await quota.turn()
        turn.leaves()
        await asyncio.sleep(10.0)
        await quota.turn()
        asyncio.get_running_loop().call_later(5.0, turn.over)
        began = now()
        await quota.turn()  # the second in this window, the first being on its way still
        assert now() - began > 0.9
        await quota.turn()
        assert now() - began < 5.0

    in_no_time(work())


def test_what_is_usual() -> None:
    """What the quickest take, but for one in a hundred; nothing, as long as there are few."""
    assert usual_latency_s(array("d", [0.3] * 19)) == 0.0
    assert usual_latency_s(array("d", [0.3] * 20)) == 0.3
    assert usual_latency_s(array("d", [0.1] * 30 + [5.0] * 70)) == 0.1
    assert usual_latency_s(array("d", [0.001] * 2 + [0.1] * 198)) == 0.1


def test_latencies_are_taken_apart_in_time() -> None:
    """A stall of a moment fills no memory, however many calls it met."""
    latencies = Latencies()
    for number in range(100):
        latencies.add(number * 0.1, 0.05)
    for number in range(1000):
        latencies.add(10.0 + number * 1e-4, 3.0)
    assert latencies.usual_s() == 0.05


# The calendar

KOLKATA = ZoneInfo("Asia/Kolkata")
EVENING = datetime(2026, 11, 22, 21, 50, tzinfo=KOLKATA)


def by_calendar(late: dict[str, Any], usual: dict[str, Any], **more: Any) -> ByCalendar:
    """Other limits from 22:00 to 22:20 in Kolkata."""
    hours = {"from": "22:00", "to": "22:20", "limits": [late]}
    return ByCalendar(QuotaConfig.model_validate({"limits": [usual], "calendar": [hours], **more}), KOLKATA)


def test_a_smaller_limit_counts_the_calls_before_it() -> None:
    """From 22:00 on a call leaves only where the last minute, most of it before, holds fewer than the new limit."""

    async def work() -> None:
        timetable = by_calendar(late=sliding(60, 60.0), usual=sliding(600, 60.0))
        quota = Quota(timetable, now, wall=wall_from(EVENING))
        began = now()
        departures = await departures_of(quota, callers=5, seconds=1800.0)
        switch, back = began + 600.0, began + 1800.0
        after = [one for one in departures if switch <= one < back]
        for moment in after:
            assert len([one for one in departures if moment - 60.0 < one <= moment]) <= 60
        assert len(after) >= 0.99 * 60 * 19
        assert busiest(departures, 60.0) <= 600

    in_no_time(work(), late_s=0.001)


def test_a_larger_limit_is_used_at_once() -> None:
    """Whoever waits for a turn of the slow hours wakes when they end."""

    async def work() -> None:
        timetable = by_calendar(late=sliding(600, 60.0), usual=sliding(1, 3000.0))
        quota = Quota(timetable, now, wall=wall_from(EVENING))
        began = now()
        departures = await departures_of(quota, callers=5, seconds=2400.0)
        assert len([one for one in departures if one < began + 600.0]) == 1
        inside = [one for one in departures if one >= began + 600.0]
        assert inside[0] < began + 600.1
        assert len([one for one in inside if one < began + 660.0]) > 590
        assert (
            len([one for one in departures if one >= began + 1800.1]) == 0
        )  # 3,000 s hold more than one already

    in_no_time(work(), late_s=0.001)


def test_the_reserved_share_is_left_to_others() -> None:
    """20 % of 600 a minute are not ours."""

    async def work() -> None:
        timetable = by_calendar(sliding(600, 60.0), sliding(600, 60.0), reserved_share=0.2)
        departures = await departures_of(Quota(timetable, now, wall=wall_from(EVENING)), 5, 600.0)
        assert busiest(departures, 60.0) <= 480
        assert len(departures) >= 0.99 * 4800

    in_no_time(work(), late_s=0.001)


def budget(calls: int, per_s: float = 86_400.0) -> dict[str, Any]:
    return {"limits": [{"calls": calls, "per_s": per_s, "window": "fixed"}]}


def test_a_days_budget_starts_anew_at_midnight() -> None:
    """Of the zone, a guard later; the same again until the next, and no more."""
    quiet = ByCalendar(QuotaConfig.model_validate(budget(500)), KOLKATA)

    async def work() -> None:
        began = now()
        departures = await departures_of(Quota(quiet, now, wall=wall_from(EVENING)), 5, 4 * 3600.0)
        midnight = began + 130 * 60.0
        before = [one for one in departures if one < midnight]
        assert len(before) == 500
        assert before[-1] < began + 60.0  # a budget is not spread
        after = [one for one in departures if one >= midnight]
        assert len(after) == 500
        assert midnight + GUARD_S <= after[0] < midnight + GUARD_S + 1.0

    in_no_time(work(), late_s=0.001)


@pytest.mark.parametrize("kind", [list, np.array, lambda ages: array("d", ages)])
def test_a_fixed_budget_counts_only_what_was_spent_in_its_window(kind: Any) -> None:
    """Calls of earlier starts: those before midnight are forgotten, those since are not."""
    config = ByCalendar(QuotaConfig.model_validate(budget(500)), KOLKATA)
    ages = kind([30_000.0] * 900 + [3_600.0] * 300)
    morning = datetime(2026, 11, 22, 8, 0, tzinfo=KOLKATA)  # eight hours, 28,800 s, after midnight

    async def work() -> None:
        quota = Quota(config, now, spent=ages, wall=wall_from(morning))
        departures = await departures_of(quota, 5, 3600.0)
        assert len(departures) == 200

    in_no_time(work())


def test_a_sliding_budget_counts_all_that_was_spent() -> None:
    """Whatever midnight lies between: the last 24 hours are one window."""

    async def work() -> None:
        quota = Quota([Limit(1000, 86_400.0)], now, spent=np.array([90_000.0] * 500 + [30_000.0] * 900))
        assert len(await departures_of(quota, 5, 3600.0)) == 100

    in_no_time(work())


def test_odd_and_short_fixed_windows_are_kept_as_sliding_ones() -> None:
    """What is safe wherever the server's windows begin."""
    assert Limit(10, 86_400.0, is_fixed=True).starts_anew
    assert Limit(10, 7200.0, is_fixed=True).starts_anew
    assert not Limit(10, 60.0, is_fixed=True).starts_anew
    assert not Limit(10, 7 * 3600.0, is_fixed=True).starts_anew
    assert not Limit(10, 7 * 86_400.0, is_fixed=True).starts_anew
    assert not Limit(10, 86_400.0).starts_anew


def test_a_day_of_25_hours_has_one_budget() -> None:
    """When clocks are put back, the day is longer, and its budget no larger."""
    berlin = ZoneInfo("Europe/Berlin")
    config = ByCalendar(QuotaConfig.model_validate(budget(50)), berlin)
    saturday = datetime(2026, 10, 24, 23, 0, tzinfo=berlin)

    async def work() -> None:
        began = now()
        departures = await departures_of(Quota(config, now, wall=wall_from(saturday)), 2, 27 * 3600.0)
        day = [one for one in departures if began + 3600.0 <= one < began + 26 * 3600.0]
        assert len(day) == 50
        assert len(departures) == 150

    in_no_time(work())


def test_the_pace_that_little_needs() -> None:
    """The slowest of the spread limits, at the share in use; none where only a budget holds."""
    quota = Quota([Limit(600, 60.0), Limit(20, 1.0), Limit(5, 86_400.0)])
    assert quota.pace_per_s() == 10.0
    quota.slow_down()
    assert quota.pace_per_s() == 5.0
    assert Quota([Limit(5, 86_400.0)]).pace_per_s() is None


def test_a_night_does_not_wait_for_a_turn_after_its_end() -> None:
    """The budget is used up and the window closes before it is filled again: told at once, with the time."""

    async def work() -> None:
        quota = Quota([Limit(100, 1.0), Limit(5, 86_400.0)], now)
        quota.ends_at = now() + 7200.0
        for _ in range(5):
            await quota.turn()
        began = now()
        with pytest.raises(StoppedError, match="used up: the next call may leave at 20") as stopped:
            await quota.turn()
        assert stopped.value.publish
        assert now() - began < 1.0

    in_no_time(work())


def test_a_night_without_a_window_waits_no_longer_than_its_patience() -> None:
    """Minutes are waited for, hours are not."""

    async def work() -> None:
        quota = Quota([Limit(2, 1800.0), Limit(3, 86_400.0)], now)
        quota.patience_s = 3600.0
        began = now()
        for _ in range(3):
            await quota.turn()
        assert 1800.0 <= now() - began < 1900.0
        with pytest.raises(StoppedError):
            await quota.turn()

    in_no_time(work())


def test_limits_of_the_calendar_that_come_in_time_are_waited_for() -> None:
    """Nothing is left of this hour's limit, but at eight another holds."""
    by_hour = {
        "limits": [{"calls": 1, "per_s": 7200}],
        "calendar": [{"from": "20:00", "to": "21:00", "limits": [{"calls": 60}]}],
    }
    config = ByCalendar(QuotaConfig.model_validate(by_hour), ZoneInfo("UTC"))

    async def work() -> None:
        quota = Quota(config, now, wall=wall_from(datetime(2026, 11, 22, 19, 30, tzinfo=ZoneInfo("UTC"))))
        quota.patience_s = 3600.0
        began = now()
        await quota.turn()
        await quota.turn()
        assert 1799.0 <= now() - began < 1900.0

    in_no_time(work())
