"""The pool against a real server: every ID ends with one verdict, and every call is journalled."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from blockbuster import BlockBuster

from pipeline.errors import ExportError, RefusedError, StoppedError, StorageError, UsageError
from pipeline.fetch import handoff, pool
from pipeline.fetch.breaker import BreakerPolicy
from pipeline.fetch.client import Question
from pipeline.fetch.outcomes import judge
from pipeline.fetch.quota import Limit
from pipeline.fetch.retry import RetryPolicy
from pipeline.outcome import Outcome
from pipeline.sandbox import Sandbox, known_ids
from pipeline.sandbox.customers import Fate
from pipeline.stats import Tally
from tests.fetch.conftest import (
    FAST,
    QUICK_BREAKER,
    QUICK_RETRY,
    Handler,
    Night,
    StartSandbox,
    serving,
    unused_port,
)

SHORT = Limit(200, 0.2)  # a 429 that says nothing pauses for one window only
STRANGER = 17  # an ID outside every base
ENDS = {
    Fate.REGULAR: Outcome.EXPORTED,
    Fate.PARTIAL: Outcome.PARTIAL,
    Fate.ABSENT: Outcome.ABSENT,
    Fate.MERGED: Outcome.MERGED,
    Fate.DELETED: Outcome.DELETED,
}


def as_it_should_end(sandbox: Sandbox) -> dict[int, Outcome]:
    return {
        customer_id: ENDS[sandbox.base.fate(k, sandbox.day)]
        for k, customer_id in enumerate(known_ids(sandbox.config.customers))
    }


def first_verdicts(night: Night) -> dict[int, Outcome]:
    """Before the second look, which finds half of the sandbox's partial answers whole."""
    return {customer_id: verdicts[0] for customer_id, verdicts in night.other_side.verdicts().items()}


def ends(night: Night) -> dict[int, Outcome]:
    """The verdict that counts for each ID: its last. Only a partial answer may be followed by another."""
    for verdicts in night.other_side.verdicts().values():
        assert all(verdict is Outcome.PARTIAL for verdict in verdicts[:-1])
        assert len(verdicts) <= 2
    return {customer_id: verdicts[-1] for customer_id, verdicts in night.other_side.verdicts().items()}


def assert_every_call_is_journalled(night: Night, calls: int) -> None:
    assert len(night.other_side.records) == night.tally.calls == calls
    assert night.tally.durable == calls
    assert night.tally.in_flight == 0


NASTY = [
    "latency=2ms±2ms",
    "500=5%, 502=2%, 503-auth=2%, 521=1%",
    "cut=2%, reset=2%",
    "429-bare=1%, waf-403=0.5%",
    "461-body=1%, 521-body=1%, 500-body=1%",
    "invalid-json=2%, empty-200=2%, list-body=1%, null-body=1%, other-id=2%",
    "cut=10%, reset=10%, 500=20%, other-id=10%",
]


@pytest.mark.parametrize("faults", [*NASTY, ", ".join(NASTY[:-1])])
async def test_every_id_ends_with_its_own_verdict_whatever_goes_wrong(
    start_sandbox: StartSandbox, faults: str
) -> None:
    """Faults that pass cost calls, no ID; each call that the server saw stands in the journal, and no other."""
    sandbox = await start_sandbox(faults=faults)
    night = Night(sandbox.url, limits=(SHORT,), retry=replace(QUICK_RETRY, max_attempts=20))
    assert await night.run(known_ids(300)) is None
    assert first_verdicts(night) == as_it_should_end(sandbox)
    assert set(ends(night)) == set(known_ids(300))
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))
    assert +night.tally.outcomes == Counter(ends(night).values())
    assert sandbox.judge.most_in_flight <= night.workers


async def test_a_quiet_night_takes_one_call_for_each_id(
    start_sandbox: StartSandbox, no_blocking: BlockBuster
) -> None:
    """Without faults no ID is asked twice, partial answers apart; and nothing blocks the loop."""
    sandbox = await start_sandbox()
    night = Night(sandbox.url)
    assert await night.run(known_ids(300)) is None
    partial = sum(fate is Fate.PARTIAL for fate in (sandbox.base.fate(k, sandbox.day) for k in range(300)))
    assert partial
    assert night.tally.calls == len(sandbox.judge.arrivals) == 300 + partial


async def test_the_server_never_sees_one_call_too_many(start_sandbox: StartSandbox) -> None:
    """Retries and second looks have their turn as all calls do: no sliding window of the server's is too full."""
    sandbox = await start_sandbox(faults="500=10%, cut=3%, reset=3%")
    night = Night(sandbox.url, limits=(Limit(150, 1.0),))
    assert await night.run(known_ids(300)) is None
    # The server shares this machine, and may note an arrival late: so much of the window is left to chance.
    assert sandbox.judge.busiest(0.9) <= 150
    assert len(sandbox.judge.arrivals) > 300


async def test_an_empty_list_is_a_night(start_sandbox: StartSandbox) -> None:
    """Nothing due: no call, no error, no hanging."""
    sandbox = await start_sandbox()
    night = Night(sandbox.url)
    assert await night.run([]) is None
    assert not sandbox.judge.arrivals


async def test_partial_answers_are_asked_for_once_more_and_only_once() -> None:
    """The second look comes at the end; what is still partial then stays partial, what fails then too."""
    asked: list[int] = []

    async def api(request: web.Request) -> web.StreamResponse:
        customer_id = int(request.path.split("/")[-1])
        asked.append(customer_id)
        is_second = asked.count(customer_id) > 1
        if customer_id % 3 == 0 or (customer_id % 3 == 1 and not is_second):
            return web.json_response({"id": customer_id, "warnings": [{"code": 8062}]})
        if customer_id % 3 == 1:
            return web.json_response({"errors": [{"code": 618}]})
        return web.json_response({"id": customer_id})

    async with serving(api) as url:
        night = Night(url)
        assert await night.run(range(1, 31)) is None
    assert Counter(asked) == Counter({n: 2 if n % 3 < 2 else 1 for n in range(1, 31)})
    assert set(asked[:30]) == set(range(1, 31))
    assert night.tally.outcomes == Counter({Outcome.PARTIAL: 20, Outcome.EXPORTED: 10})
    verdicts = night.other_side.verdicts()
    assert all(verdicts[n][0] is Outcome.PARTIAL for n in range(1, 31) if n % 3 < 2)


async def test_an_outage_costs_no_id_its_verdict(start_sandbox: StartSandbox) -> None:
    """Two seconds of 503 are waited out with single calls; nobody fails, nobody is lost."""
    sandbox = await start_sandbox(faults="outage=2s@100ms, latency=5ms", customers=600)
    night = Night(sandbox.url, retry=replace(QUICK_RETRY, max_attempts=3))
    assert await night.run(known_ids(600)) is None
    assert first_verdicts(night) == as_it_should_end(sandbox)
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))
    assert sandbox.judge.faults["outage"] < 100  # single calls, not the whole pace


async def test_an_outage_that_lasts_stops_the_night_and_publishes_what_it_has(
    start_sandbox: StartSandbox,
) -> None:
    """After its limit an outage ends the night; no ID has failed for it."""
    sandbox = await start_sandbox(faults="latency=5ms, 503-html=100% from call 100")
    night = Night(sandbox.url, breaker=BreakerPolicy(limit_s=0.5, first_probe_s=0.05))
    stopped = await night.run(known_ids(300))
    assert isinstance(stopped, StoppedError)
    assert stopped.publish
    assert Outcome.FAILED not in ends(night).values()
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))


async def test_a_host_that_is_not_there_stops_the_night_soon() -> None:
    """A wrong host is no outage to be waited out; not one ID fails for it."""
    breaker = BreakerPolicy(limit_s=900.0, never_reached_limit_s=0.5, first_probe_s=0.05)
    night = Night(f"http://127.0.0.1:{unused_port()}", breaker=breaker)
    stopped = await night.run(known_ids(300))
    assert isinstance(stopped, StoppedError)
    assert "cannot connect" in str(stopped)
    assert not night.other_side.verdicts()


@pytest.mark.parametrize("faults", ["429-bare", "429:0", "waf-403"])
async def test_being_turned_away_for_ever_stops_the_night(start_sandbox: StartSandbox, faults: str) -> None:
    """An API that only says 429, or a firewall in front of it, is not asked for ever, nor at full pace."""
    sandbox = await start_sandbox(faults=faults)
    night = Night(sandbox.url, limits=(SHORT,), breaker=BreakerPolicy(limit_s=0.5))
    assert isinstance(await night.run(known_ids(300)), StoppedError)
    assert not night.other_side.verdicts()
    assert len(sandbox.judge.arrivals) < 10 * night.workers


def one_bad_apple(bad: set[int], answer: Callable[[], web.Response]) -> Handler:
    """A server that has one answer for some IDs, and knows all others."""

    async def api(request: web.Request) -> web.StreamResponse:
        customer_id = int(request.path.split("/")[-1])
        await asyncio.sleep(0.005)
        return answer() if customer_id in bad else web.json_response({"id": customer_id})

    return api


async def test_a_few_ids_that_always_fail_are_no_outage() -> None:
    """When only IDs are left that fail time and again, they fail; the API, which answered others, is not down."""
    bad = set(range(5, 200, 10))
    async with serving(one_bad_apple(bad, lambda: web.Response(status=504))) as url:
        night = Night(url)
        assert await night.run(range(200)) is None
    assert {n for n, end in ends(night).items() if end is Outcome.FAILED} == bad
    assert all(night.other_side.calls()[n] == night.retry.max_attempts for n in bad)


async def test_an_id_that_always_fails_does_not_keep_an_outage_alive() -> None:
    """After an outage the API is found again even if the first ID to ask is one that fails for ever."""
    began = time.monotonic()

    async def api(request: web.Request) -> web.StreamResponse:
        customer_id = int(request.path.split("/")[-1])
        if customer_id == 1 or (customer_id > 10 and time.monotonic() < began + 0.5):
            return web.Response(status=503)
        return web.json_response({"id": customer_id})

    async with serving(api) as url:
        for workers in (1, 4):
            began = time.monotonic()
            night = Night(url, workers=workers, breaker=replace(QUICK_BREAKER, threshold=3))
            assert await night.run([2, 3, 11, 12, 1, *range(13, 60)]) is None
            assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 51, Outcome.FAILED: 1})


async def test_a_host_that_goes_away_is_noticed_by_whoever_is_left() -> None:
    """Even when the only ID left is one that has failed by itself before, nobody asks for ever."""
    asked: Counter[int] = Counter()
    enough = asyncio.Event()

    async def api(request: web.Request) -> web.StreamResponse:
        customer_id = int(request.path.split("/")[-1])
        asked[customer_id] += 1
        if customer_id != 5:
            return web.json_response({"id": customer_id})
        if asked[5] > 5:
            enough.set()
        return web.Response(status=500)

    async with AsyncExitStack() as server:
        url = await server.enter_async_context(serving(api))
        night = Night(
            url,
            workers=2,
            retry=RetryPolicy(max_attempts=90, max_wait_s=0.05, base_s=0.02),
            breaker=BreakerPolicy(threshold=3, limit_s=0.5, first_probe_s=0.05),
        )

        async def go_away() -> None:
            await enough.wait()
            await server.aclose()

        async with asyncio.TaskGroup() as group:
            group.create_task(go_away())
            stopped = await night.run(range(100))
    assert isinstance(stopped, StoppedError)
    assert "cannot connect" in str(stopped)
    assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 99})


async def test_an_id_that_is_always_turned_away_does_not_slow_the_night_for_ever() -> None:
    """A firewall that dislikes one path gives that ID a bad end, and only that one."""
    async with serving(one_bad_apple({50}, lambda: web.Response(status=403, text="<html>"))) as url:
        night = Night(url, workers=4, limits=(Limit(40, 0.02),))
        assert await night.run(range(400)) is None
    assert {n for n, end in ends(night).items() if end is Outcome.FAILED} == {50}
    assert len(ends(night)) == 400


async def test_a_429_pauses_everyone(start_sandbox: StartSandbox) -> None:
    """Retry-After holds all workers back, and the ID that met it is asked again without losing an attempt."""
    sandbox = await start_sandbox(faults="429:1=100% from call 50 to 50")
    night = Night(sandbox.url, workers=4, retry=replace(QUICK_RETRY, max_attempts=1))
    assert await night.run(known_ids(300)) is None
    assert first_verdicts(night) == as_it_should_end(sandbox)
    moments = list(sandbox.judge.arrivals)
    assert max(later - sooner for sooner, later in pairwise(moments)) > 0.9
    assert night.tally.throttled == 1


async def test_waiting_costs_no_cpu() -> None:
    """A full queue, retries that are due and a pause: nobody turns in circles meanwhile."""
    calls = 0

    async def api(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls <= 3:
            return web.Response(status=500)
        if calls == 4:
            return web.Response(status=429, headers={"Retry-After": "2"})
        return web.json_response({"id": int(request.path.split("/")[-1])})

    async with serving(api) as url:
        night = Night(url, workers=4)
        began, cpu = time.monotonic(), time.process_time()
        assert await night.run(range(40)) is None
        assert time.monotonic() - began >= 2.0
        assert time.process_time() - cpu < 1.0


async def test_stop_lets_calls_in_flight_end_and_loses_none(start_sandbox: StartSandbox) -> None:
    """A stop sends no new call; those in flight are answered and journalled, and nobody hangs up."""
    sandbox = await start_sandbox(faults="latency=50ms±20ms")
    night = Night(sandbox.url)
    why = StoppedError("Enough.")
    async with night.pool() as workers:
        async with asyncio.TaskGroup() as group:

            async def run() -> None:
                with pytest.raises(StoppedError) as caught:
                    await workers.run(map(Question, known_ids(300)))
                assert caught.value is why

            group.create_task(run())
            while len(sandbox.judge.arrivals) < 60:  # noqa: ASYNC110 - the judge is plain numbers
                await asyncio.sleep(0.005)
            workers.stop(why)
            workers.stop(StoppedError("Too late."))
            sent = night.tally.calls
        assert night.tally.calls == sent
    assert "gone" not in sandbox.judge.statuses
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))
    assert 60 <= sent < 300


@pytest.mark.parametrize("where", ["turn", "retry", "probe"])
async def test_stop_does_not_wait_for_those_who_wait(where: str) -> None:
    """Whoever waits for a turn, a retry or the end of an outage has nothing in flight: the stop is prompt."""
    statuses = {"turn": 200, "retry": 500, "probe": 503}

    async def api(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": int(request.path.split("/")[-1])}, status=statuses[where])

    async with serving(api) as url:
        night = Night(
            url,
            workers=4,
            limits=(Limit(1, 100.0),) if where == "turn" else (FAST,),
            retry=replace(QUICK_RETRY, base_s=100.0, max_wait_s=100.0),
            breaker=BreakerPolicy(threshold=2 if where == "probe" else 99, first_probe_s=100.0),
        )
        ids = [1, 2] if where == "retry" else range(1, 50)
        async with night.pool() as workers:
            asyncio.get_running_loop().call_later(0.3, workers.stop, StoppedError("Enough."))
            began = time.monotonic()
            with pytest.raises(StoppedError):
                await workers.run(map(Question, ids))
            assert time.monotonic() - began < 5.0
    assert night.tally.calls == len(night.other_side.records)


async def test_stop_while_the_disk_is_slow_loses_none(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that doesn't keep up holds the workers back; what they hold is not lost by a stop."""
    monkeypatch.setattr(handoff, "FRAME_RECORDS", 4)
    sandbox = await start_sandbox()
    night = Night(sandbox.url, workers=8)
    night.other_side.may_acknowledge.clear()
    async with night.pool() as workers:
        running = asyncio.create_task(workers.run(map(Question, known_ids(300))))
        seen = -1
        while seen != (seen := len(sandbox.judge.arrivals)):  # noqa: ASYNC110 - the judge is plain numbers
            await asyncio.sleep(0.3)
        assert 0 < seen < 100  # held back
        workers.stop(StoppedError("Enough."))
        await asyncio.sleep(0.05)
        assert not running.done()
        night.other_side.may_acknowledge.set()
        with pytest.raises(StoppedError):
            await running
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))


async def test_the_first_401_stops_a_night_with_a_password(start_sandbox: StartSandbox) -> None:
    """A wrong password is told after the calls in flight, not after a million; it stands in no message."""
    sandbox = await start_sandbox(password="another", faults="latency=20ms")
    night = Night(sandbox.url, workers=8)
    stopped = await night.run(known_ids(300))
    assert isinstance(stopped, RefusedError)
    assert "sandbox" not in str(stopped)
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))
    assert len(sandbox.judge.arrivals) <= 8
    assert not night.other_side.verdicts()


async def test_missing_rights_stop_the_night(start_sandbox: StartSandbox) -> None:
    """403 with JSON is about our rights: RefusedError, and a hint at what to ask for."""
    sandbox = await start_sandbox(faults="403")
    stopped = await Night(sandbox.url).run(known_ids(300))
    assert isinstance(stopped, RefusedError)
    assert "read access" in stopped.hint


@pytest.mark.parametrize(
    ("answer", "most_calls"),
    [
        (lambda: web.json_response({"errors": [{"code": 8012}]}), 16),
        (lambda: web.Response(status=404), 20 + 16),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), 20 + 16),
    ],
)
async def test_a_request_that_is_wrong_for_everyone_stops_the_night(
    answer: Callable[[], web.Response], most_calls: int
) -> None:
    """A mistake in our parameters costs a few calls, not a whole quota; each of them is journalled."""
    async with serving(one_bad_apple(set(range(300)), answer)) as url:
        night = Night(url)
        assert isinstance(await night.run(range(300)), UsageError)
    assert_every_call_is_journalled(night, night.tally.calls)
    assert night.tally.calls <= most_calls


async def test_a_mistake_told_for_one_id_is_that_ids_own() -> None:
    """When others are answered, our parameters cannot be wrong."""
    wrong = lambda: web.json_response({"errors": [{"code": 1044}]})  # noqa: E731
    async with serving(one_bad_apple({77}, wrong)) as url:
        night = Night(url, workers=2)
        assert await night.run(range(100)) is None
    assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 99, Outcome.FAILED: 1})


class FullDiskError(StorageError):
    """The list of IDs cannot be read on."""


def breaking(after: int, error: Exception) -> Iterator[int]:
    yield from known_ids(after)
    raise error


@pytest.mark.parametrize("error", [FullDiskError("No space."), ZeroDivisionError("a bug")])
async def test_a_list_that_breaks_off_is_told_as_itself(
    start_sandbox: StartSandbox, error: Exception
) -> None:
    """Not as a group of errors, and not before the calls in flight are journalled."""
    sandbox = await start_sandbox()
    night = Night(sandbox.url)
    assert await night.run(breaking(100, error)) is error
    assert_every_call_is_journalled(night, len(sandbox.judge.arrivals))


async def test_a_bug_in_a_worker_is_told_as_itself(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug ends the night at once; the other workers' calls end in peace and are journalled."""
    sandbox = await start_sandbox(faults="latency=10ms")
    judged = 0

    def buggy(*args: Any) -> Any:
        nonlocal judged
        judged += 1
        return judge(*args) if judged != 50 else 1 // 0

    monkeypatch.setattr(pool, "judge", buggy)
    night = Night(sandbox.url)
    assert isinstance(await night.run(known_ids(300)), ZeroDivisionError)
    assert "gone" not in sandbox.judge.statuses
    assert len(night.other_side.records) == len(sandbox.judge.arrivals) - 1 < 299


async def test_a_full_disk_over_there_stops_the_calls(start_sandbox: StartSandbox) -> None:
    """When the journal can't be written no further quota is spent; the error arrives as itself."""
    sandbox = await start_sandbox(faults="latency=20ms")
    night = Night(sandbox.url, workers=4, tally=Tally())
    night.other_side.error = {"error": "StorageError", "message": "The disk is full.", "hint": "Make room."}
    with pytest.raises(ExceptionGroup) as caught:
        await night.run(known_ids(300))
    [error] = caught.value.exceptions
    assert isinstance(error, StorageError)
    assert error.message == "The disk is full."
    assert len(sandbox.judge.arrivals) < 200


async def test_strangers_are_absent(start_sandbox: StartSandbox) -> None:
    """An ID that nobody knows is a verdict, not a failure."""
    sandbox = await start_sandbox()
    night = Night(sandbox.url)
    assert await night.run([STRANGER]) is None
    assert ends(night) == {STRANGER: Outcome.ABSENT}


async def test_what_is_journalled_says_what_happened(start_sandbox: StartSandbox) -> None:
    """Status, reason, attempts, the server's request ID and the body of a whole answer stand in the record."""
    sandbox = await start_sandbox(faults="500=100% from call 1 to 1")
    night = Night(sandbox.url, workers=1)
    assert await night.run(known_ids(1)) is None
    failed, answered = night.other_side.records
    assert (failed.status, failed.outcome, failed.calls, failed.attempts, failed.body) == (500, 0, 1, 1, b"")
    assert failed.about()["request_id"].startswith("sandbox-")
    assert (answered.status, answered.outcome, answered.calls) == (200, Outcome.EXPORTED, 2)
    assert answered.body.startswith(b'{"id":')
    assert answered.fetched_at >= failed.fetched_at > 1_700_000_000_000_000


def test_errors_that_end_a_night_have_exit_codes() -> None:
    """A RetriableError must never leave the room: its exit code says `bug`."""
    for error in (StoppedError, RefusedError, StorageError, UsageError):
        assert issubclass(error, ExportError)
        assert error("x").exit_code.value > 1


async def test_an_api_that_fails_most_calls_is_an_outage_and_costs_no_id_its_attempts() -> None:
    """Two in three fail for some time, never twenty in a row: the night pauses, and no ID ends as failed."""
    rng, calls = random.Random(3), 0

    async def api(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 20 and calls < 150 and rng.random() < 0.7:
            return web.Response(status=502)
        return web.json_response({"id": int(request.path.split("/")[-1])})

    async with serving(api) as url:
        night = Night(url, workers=8, breaker=replace(QUICK_BREAKER, first_probe_s=0.01, max_probe_s=0.02))
        assert await night.run(range(1, 301)) is None
    assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 300})
    assert_every_call_is_journalled(night, calls)


async def test_an_api_that_goes_on_failing_most_calls_stops_the_night() -> None:
    """What was answered is kept, what was not is due: nobody is failed for the API's trouble."""
    calls = 0

    async def api(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 20 and calls % 4:
            return web.Response(status=502)
        return web.json_response({"id": int(request.path.split("/")[-1])})

    async with serving(api) as url:
        breaker = BreakerPolicy(limit_s=1.0, first_probe_s=0.05)
        stopped = await (night := Night(url, workers=8, breaker=breaker)).run(range(1, 301))
    assert isinstance(stopped, StoppedError)
    assert Outcome.FAILED not in ends(night).values()


@pytest.mark.parametrize("left", [1, 3, 12])
async def test_an_outage_when_few_ids_are_left_fails_none(left: int) -> None:
    """Their failures are too few to open the breaker; whoever was answered before is asked, and fails too."""
    asked: Counter[int] = Counter()

    async def api(request: web.Request) -> web.StreamResponse:
        customer_id = int(request.path.split("/")[-1])
        asked[customer_id] += 1
        is_down = sum(asked.values()) > 100 - left
        return web.Response(status=500) if is_down else web.json_response({"id": customer_id})

    async with serving(api) as url:
        night = Night(url, workers=1, breaker=BreakerPolicy(limit_s=1.0, first_probe_s=0.05))
        stopped = await night.run(range(1, 101))
    assert isinstance(stopped, StoppedError)
    assert stopped.publish
    assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 100 - left})
    assert_every_call_is_journalled(night, sum(asked.values()))


async def test_after_a_late_outage_the_last_ids_are_answered() -> None:
    """The API comes back: the IDs that failed with it have their answers, and all attempts left for it."""
    began: float | None = None
    asked = 0

    async def api(request: web.Request) -> web.StreamResponse:
        nonlocal asked, began
        asked += 1
        if asked > 97 and began is None:
            began = time.monotonic()
        if began is not None and time.monotonic() < began + 1.5:
            return web.Response(status=500)
        return web.json_response({"id": int(request.path.split("/")[-1])})

    async with serving(api) as url:
        night = Night(url, workers=4)
        assert await night.run(range(1, 101)) is None
    assert Counter(ends(night).values()) == Counter({Outcome.EXPORTED: 100})


async def test_the_last_ids_of_a_night_may_be_those_that_always_fail() -> None:
    """Nobody else is left to be answered; whoever was before is asked once more, and then it is their own fault."""
    async with serving(one_bad_apple({99, 100}, lambda: web.Response(status=500))) as url:
        night = Night(url, workers=1)
        assert await night.run(range(1, 101)) is None
    assert {n for n, end in ends(night).items() if end is Outcome.FAILED} == {99, 100}
    assert night.other_side.calls()[100] == night.retry.max_attempts
    assert sum(night.other_side.calls().values()) <= 98 + 2 * night.retry.max_attempts + 2


async def test_a_host_that_swallows_every_call_is_given_up_after_one_timeout() -> None:
    """It takes connections and never answers: one round of timeouts says enough."""

    async def api(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60.0)
        return web.Response()

    async with serving(api) as url:
        breaker = BreakerPolicy(limit_s=900.0, never_reached_limit_s=0.5)
        night = Night(url, workers=8, timeout_s=1.0, breaker=breaker)
        began = time.monotonic()
        assert isinstance(await night.run(range(100)), StoppedError)
    assert time.monotonic() - began < 4.0
    assert night.tally.calls <= 16
