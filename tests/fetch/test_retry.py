"""When to ask again: a plain function of what happened and how often."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.breaker import Breaker, BreakerPolicy
from pipeline.fetch.client import retry_after_s, used_up_s
from pipeline.fetch.retry import RetryPolicy, wait_before_retry
from tests.fetch.conftest import HandClock

POLICY = RetryPolicy(max_attempts=5, max_wait_s=10.0, base_s=1.0)
NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC


@pytest.mark.parametrize(("attempts", "ceiling"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0)])
def test_waits_double_and_are_spread_over_their_upper_half(attempts: int, ceiling: float) -> None:
    """IDs that failed together come back apart, and each later than the time before."""
    waits = [wait_before_retry(attempts, POLICY, random.Random(seed)) or 0.0 for seed in range(200)]
    assert ceiling / 2 <= min(waits) < 0.6 * ceiling
    assert 0.9 * ceiling < max(waits) <= ceiling


def test_the_last_attempt_is_the_last() -> None:
    """After max_attempts there is no wait, even where the server names one."""
    assert wait_before_retry(5, POLICY, random.Random(1)) is None
    assert wait_before_retry(5, POLICY, random.Random(1), retry_after_s=1.0) is None


@given(st.integers(1, 99), st.none() | st.floats(0.0), st.integers())
def test_no_wait_is_longer_than_allowed_or_shorter_than_asked_for(
    attempts: int, asked_for: float | None, seed: int
) -> None:
    """What the server asks for is a lower bound, up to max_wait_s; infinity is no exception."""
    policy = RetryPolicy(max_attempts=100, max_wait_s=120.0)
    wait = wait_before_retry(attempts, policy, random.Random(seed), asked_for)
    assert wait is not None
    assert min(asked_for or 0.0, 120.0) <= wait <= 120.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("9" * 400, float("inf")),
        ("Fri, 15 Jan 2027 08:01:30 GMT", 90.0),
        ("Fri, 15 Jan 2027 09:01:30 +0100", 90.0),
        ("Fri, 15 Jan 2027 08:01:30", 90.0),  # no zone: HTTP's own
        ("Fri, 15 Jan 2027 08:01:30 -0000", 90.0),
        ("Fri, 15 Jan 2021 08:00:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("nan", None),
        ("Fri, 99 Jan 2027 08:01:30 GMT", None),
        ("Fri, 15 Jan 99999999999999999999 08:01:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    """Both forms of RFC 9110 are understood; anything else counts as unsaid."""
    assert retry_after_s(header, NOW) == seconds


@given(
    st.text() | st.from_regex(r"[A-Za-z]{3}, ?\d+ [A-Za-z]{3} \d+( \d+:\d+(:\d+)?)?( .*)?", fullmatch=True)
)
def test_no_retry_after_header_breaks_the_night(header: str) -> None:
    """A header is the server's to write: nonsense is nothing, never an error."""
    seconds = retry_after_s(header, NOW)
    assert seconds is None or seconds >= 0.0


def outage(clock: HandClock) -> Breaker:
    breaker = Breaker(BreakerPolicy(threshold=4, limit_s=900.0, never_reached_limit_s=10.0), clock)
    for _ in range(4):
        breaker.failed("HTTP 503")
    return breaker


def test_the_breaker_opens_after_failures_in_a_row_only() -> None:
    """An answer in between says that the API is there."""
    breaker = Breaker(BreakerPolicy(threshold=4), HandClock())
    breaker.answered()
    for _ in range(3):
        breaker.failed("HTTP 503")
    breaker.answered()
    for _ in range(3):
        breaker.failed("HTTP 503")
    assert not breaker.is_open
    breaker.failed("HTTP 503")
    assert breaker.is_open


def test_a_host_that_never_answered_is_given_up_soon() -> None:
    """A wrong host ends the night after ten seconds, an outage after its limit."""
    clock = HandClock()
    breaker = outage(clock)
    clock.now = 10.1
    assert breaker.has_lasted_too_long()
    clock.now = 0.0
    breaker.answered()
    assert not outage(clock).has_lasted_too_long()


def test_an_outage_is_waited_out_until_its_limit() -> None:
    """An API that has answered before gets the whole patience of the config, with probes ever farther apart."""
    clock = HandClock()
    breaker = Breaker(BreakerPolicy(threshold=1, limit_s=900.0), clock)
    breaker.answered()
    breaker.failed("HTTP 503")
    waits = [breaker.probe_wait_s() for _ in range(20)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.5, 15.0)
    clock.now = 899.0
    assert not breaker.has_lasted_too_long()
    clock.now = 901.0
    assert breaker.has_lasted_too_long()


def test_being_turned_away_for_ever_ends_too() -> None:
    """429s (or a firewall) without a single answer between them end at the limit of an outage."""
    clock = HandClock()
    breaker = Breaker(BreakerPolicy(limit_s=900.0), clock)
    breaker.answered()
    breaker.throttled("429")
    clock.now = 800.0
    breaker.answered()
    clock.now = 1600.0
    breaker.throttled("429")
    assert not breaker.has_lasted_too_long()
    clock.now = 2501.0
    breaker.throttled("429")
    assert breaker.has_lasted_too_long()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"RateLimit-Remaining": "7", "RateLimit-Reset": "30"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 30.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790000010"}, 10.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1789999990"}, 0.0),
        ({"RateLimit-Remaining": "0"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "soon"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "9" * 400}, None),
    ],
)
def test_rate_limit_headers_say_when_calls_are_left_again(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Both spellings, seconds and Unix times; nonsense is no pause."""
    assert used_up_s(headers, now=1_790_000_000.0) == seconds
