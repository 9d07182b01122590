"""The limit, and the judge that counts against it."""

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from pipeline.sandbox import Judge, customer_id
from pipeline.sandbox.judge import busiest
from pipeline.sandbox.quota import Quota
from tests.sandbox.conftest import Start


def most_in_a_window(moments: list[float], window_s: float) -> int:
    """The judge's count, the slow and plain way."""
    return max((sum(0 <= other - first < window_s for other in moments) for first in moments), default=0)


def test_busiest_is_exact_over_every_sliding_window() -> None:
    """On random arrivals the fast count equals the plain one; none give 0."""
    for seed in range(30):
        dice = random.Random(seed)
        moments = sorted(dice.choice((dice.uniform(0, 9), float(dice.randrange(9)))) for _ in range(80))
        for window_s in (0.1, 1.0, 3.0, 20.0):
            assert busiest(moments, window_s) == most_in_a_window(moments, window_s)
    assert busiest([], 60) == 0


def test_a_sliding_quota_never_admits_more_than_its_limit_in_any_window() -> None:
    """Whatever the arrivals: the judge finds at most the limit among the admitted, and the limit is
    reached."""
    for seed in range(30):
        dice = random.Random(seed)
        quota = Quota(10, 1.0, "sliding", origin=0.0)
        moments = sorted(dice.uniform(0, 10) for _ in range(400))
        admitted = [moment for moment in moments if quota.wait_s(moment) == 0]
        assert most_in_a_window(admitted, 1.0) == 10


def test_a_fixed_quota_admits_its_limit_in_each_window_and_twice_across_an_edge() -> None:
    """Fixed windows count from the origin, so a burst around an edge passes: what a sliding count forbids."""
    quota = Quota(3, 60.0, "fixed", origin=100.0)

    waits = [quota.wait_s(moment) for moment in (159.0, 159.1, 159.2, 159.3, 160.0, 160.1, 160.2, 160.3)]

    assert [wait == 0 for wait in waits] == [True, True, True, False, True, True, True, False]
    assert waits[3] == pytest.approx(0.7)
    assert waits[7] == pytest.approx(59.7)


def test_a_sliding_quota_says_when_there_is_room() -> None:
    """Who waits as long as told is admitted; who comes a moment early isn't."""
    quota = Quota(2, 60.0, "sliding", origin=0.0)
    assert quota.wait_s(0.0) == quota.wait_s(10.0) == 0

    assert quota.wait_s(20.0) == 40.0
    assert quota.wait_s(59.9) > 0
    assert quota.wait_s(60.0) == 0


async def test_the_call_over_the_limit_gets_429_and_the_judge_agrees(start: Start) -> None:
    """Limit + 5 calls at once: limit are answered, 5 refused; the judge counts all of them as arrivals."""
    caller = await start(calls_per_minute=20)

    replies = await asyncio.gather(*(caller.customer(customer_id(k)) for k in range(25)))

    refused = [reply for reply in replies if reply.status == 429]
    report = caller.sandbox.judge.report()
    assert len(refused) == report["statuses"]["429"] == 5  # type: ignore[index]  # a dict by contract
    assert (report["busiest"], report["busiest_admitted"], report["limit"]) == (25, 20, 20)
    assert report["used_share"] == 25 / 20


async def test_no_sliding_window_on_the_wire_admits_more_than_the_limit(start: Start) -> None:
    """Calls as fast as they go, over several short windows: the admitted stay within the limit in every
    one."""
    caller = await start(calls_per_minute=5, window_s=0.5)
    judge = caller.sandbox.judge
    while len(judge.admitted) < 13:
        await caller.customer(customer_id(0))

    assert most_in_a_window(list(judge.admitted), 0.5) == 5
    assert judge.statuses["429"] == len(judge.arrivals) - len(judge.admitted) > 0
    assert judge.busiest() > 5


async def test_a_paced_caller_gets_no_429(start: Start) -> None:
    """Calls slower than the limit allows are never refused."""
    caller = await start(calls_per_minute=5, window_s=0.05)
    for _ in range(20):
        await caller.customer(customer_id(0))
        await asyncio.sleep(0.0125)

    assert set(caller.sandbox.judge.statuses) == {"200"}


async def test_refused_strangers_spend_no_quota(start: Start) -> None:
    """Calls without credentials are seen by the judge, and not charged."""
    caller = await start(calls_per_minute=2)
    for _ in range(5):
        await caller.path(f"/v2/customers/{customer_id(0)}?source=INSTORE", {})

    assert (await caller.customer(customer_id(0))).status == 200
    assert (len(caller.sandbox.judge.arrivals), len(caller.sandbox.judge.admitted)) == (6, 1)


@pytest.mark.parametrize("retry_after", ["seconds", "date", "none"])
async def test_retry_after_comes_in_the_asked_form(start: Start, retry_after: str) -> None:
    """Seconds, an HTTP date that isn't too early, or no header at all."""
    caller = await start(calls_per_minute=1, retry_after=retry_after)
    await caller.customer(customer_id(0))

    header = (await caller.customer(customer_id(0))).headers.get("Retry-After")

    if retry_after == "none":
        assert header is None
    elif retry_after == "seconds":
        assert header is not None
        assert 1 <= int(header) <= 60
    else:
        assert header is not None
        assert 0 < (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds() <= 62


async def test_the_judge_tells_customers_from_calls(start: Start) -> None:
    """Three calls for one, one for another, one for a stranger: three customers, three calls at most for
    one."""
    caller = await start()
    for customer in (customer_id(1), customer_id(1), customer_id(1), customer_id(2), 17):
        await caller.customer(customer)

    report = (await caller.path("/sandbox/judge", {})).json()

    assert (report["calls"], report["customers"], report["most_calls_per_customer"]) == (5, 3, 3)
    assert report["first_arrival"] < report["last_arrival"]
    assert report["in_flight"] == 0


async def test_the_judge_knows_how_many_were_in_flight(start: Start) -> None:
    """Eight slow calls at once are eight in flight."""
    caller = await start(faults="latency=200ms")

    await asyncio.gather(*(caller.customer(customer_id(k)) for k in range(8)))

    assert (caller.sandbox.judge.most_in_flight, caller.sandbox.judge.in_flight) == (8, 0)


def test_a_judge_without_calls_reports_zeros() -> None:
    """A night that never called is reported, not an error."""
    report = Judge(customers=3, window_s=60.0, limit=100).report()

    assert (report["calls"], report["busiest"], report["used_share"], report["first_arrival"]) == (
        0,
        0,
        0.0,
        None,
    )
