"""When the API is taken to be down, and when to be back: plain bookkeeping, no event loop."""

from __future__ import annotations

import random

import pytest

from pipeline.fetch.breaker import Breaker, BreakerPolicy
from tests.fetch.conftest import HandClock

POLICY = BreakerPolicy()


def is_down(breaker: Breaker) -> bool:
    return breaker.is_open


def reached(clock: HandClock, policy: BreakerPolicy = POLICY) -> Breaker:
    """A breaker that has seen an answer."""
    breaker = Breaker(policy, clock)
    breaker.answered()
    return breaker


def test_failures_in_a_row_open_it_and_one_answer_closes_it() -> None:
    """Nineteen are bad luck, twenty an outage."""
    breaker = reached(HandClock())
    for _ in range(POLICY.threshold - 1):
        breaker.failed("HTTP 500", is_first=False)
    assert not is_down(breaker)
    breaker.failed("HTTP 500", is_first=False)
    assert is_down(breaker)
    breaker.answered()
    assert not is_down(breaker)


@pytest.mark.parametrize(("share", "opens"), [(0.2, False), (0.4, False), (0.7, True), (0.9, True)])
def test_a_share_of_failures_opens_it(share: float, opens: bool) -> None:
    """An API that fails 70 % of the calls is down, though never twenty in a row; one that fails 40 % is not."""
    breaker, rng = reached(HandClock()), random.Random(5)
    was_open = False
    for _ in range(300):
        breaker.failed("HTTP 500") if rng.random() < share else breaker.answered()
        was_open |= breaker.is_open
    assert was_open is opens


def test_ids_that_fail_again_and_again_are_no_share() -> None:
    """Retries do not count: two IDs that always fail, asked a hundred times between the others, open nothing."""
    breaker = reached(HandClock())
    for number in range(200):
        breaker.answered()
        breaker.failed("HTTP 500", is_first=number < 2)
        breaker.failed("HTTP 500", is_first=False)
        assert not breaker.is_open


def flaky(clock: HandClock) -> Breaker:
    """A breaker that is open because too large a share has failed."""
    breaker = reached(clock)
    for _ in range(POLICY.last // 3):
        breaker.failed("HTTP 502")
        breaker.answered()
        breaker.failed("HTTP 502")
    breaker.failed("HTTP 502")
    assert breaker.is_open
    return breaker


def test_after_a_share_of_failures_it_takes_some_answers_in_a_row() -> None:
    """One answer in three is what such an API gives anyhow; a failure in between starts the count anew."""
    breaker = flaky(HandClock())
    for _ in range(POLICY.close_after - 1):
        breaker.answered()
    breaker.failed("HTTP 502")
    for _ in range(POLICY.close_after - 1):
        breaker.answered()
    assert is_down(breaker)
    breaker.answered()
    assert not is_down(breaker)
    breaker.failed("HTTP 502")
    assert not is_down(breaker)  # and what was before is forgotten


def test_answers_to_calls_from_before_do_not_close_it() -> None:
    """When it opens, many calls are under way, and a third of them will be answered."""
    clock = HandClock(100.0)
    breaker = flaky(clock)
    clock.now += 1.0
    for _ in range(50):
        breaker.answered(took_s=1.5)
    assert breaker.is_open


def test_a_flaky_api_is_given_up_when_it_lasts() -> None:
    """Answers now and then do not make it last for ever: the night's calls are worth more tomorrow."""
    clock = HandClock(100.0)
    breaker = flaky(clock)
    for _ in range(100):
        clock.now += POLICY.limit_s / 90
        breaker.answered()
        breaker.failed("HTTP 502")
    assert breaker.has_lasted_too_long()


def test_an_outage_has_lasted_since_its_first_call_was_made() -> None:
    """A host that swallows calls tells so only after their timeout: that time counts."""
    clock = HandClock(30.0)
    breaker = Breaker(POLICY, clock)
    for _ in range(3):
        breaker.failed("no whole answer in time", took_s=30.0)
    assert breaker.has_lasted_too_long()


def test_an_outage_does_not_begin_before_the_last_answer() -> None:
    """A call that hung for long says nothing of the time when others were answered."""
    clock = HandClock(2000.0)
    breaker = reached(clock)
    clock.now += 1.0
    for _ in range(30):
        breaker.failed("no whole answer in time", took_s=1500.0)
    assert breaker.is_open
    assert not breaker.has_lasted_too_long()


def test_a_doubt_opens_it_and_an_answer_closes_it() -> None:
    """With few IDs left, the failure of one that was answered before is enough."""
    breaker = reached(HandClock())
    breaker.failed("HTTP 500")
    breaker.doubted()
    assert is_down(breaker)
    breaker.answered()
    assert not is_down(breaker)
