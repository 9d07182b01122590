"""The plan: who is asked tonight, in which order, and when it ends; the window in zones whose clocks jump."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import LimitConfig
from pipeline.plan import (
    LastSeen,
    Plan,
    calls_per_second,
    goes_on_until,
    in_order,
    make_plan,
    night_of,
    window_end,
)

NOW = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
KOLKATA, NEW_YORK, BERLIN = ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")
PER_MINUTE = LimitConfig(calls=600, per_s=60)


def plan(**changes: Any) -> Plan:
    """A plan for 1,000 IDs of which 800 are due, at ten a second, without limit and window."""
    given: dict[str, Any] = {
        "ids": 1000,
        "due": 800,
        "limit": None,
        "limits": [PER_MINUTE],
        "now": NOW,
        "window_ends": None,
    }
    return make_plan(**(given | changes))


def test_without_limit_and_window_all_due_ids_are_asked() -> None:
    """800 IDs at ten a second take 80 seconds."""
    found = plan()
    assert (found.done, found.due, found.asked, found.deferred, found.fits) == (200, 800, 800, 0, None)
    assert (found.calls_per_s, found.seconds_needed) == (10.0, 80.0)
    assert found.ends_at == NOW + timedelta(seconds=80)


@pytest.mark.parametrize(
    ("seconds", "limit", "fits", "asked"),
    [
        (60, None, 600, 600),
        (60, 500, 600, 500),
        (600, None, 6000, 800),
        (0, None, 0, 0),
        (-9, None, 0, 0),
        (60, 0, 600, 0),
    ],
)
def test_window_and_limit_both_hold(seconds: int, limit: int | None, fits: int, asked: int) -> None:
    """What the window lets through and what the limit says: the smaller counts, and the rest is deferred."""
    found = plan(window_ends=NOW + timedelta(seconds=seconds), limit=limit)
    assert (found.fits, found.asked, found.deferred) == (fits, asked, 800 - asked)


def test_the_tightest_of_several_limits_sets_the_pace() -> None:
    """Ten a second, but 3,600 an hour: one a second. Without any limit there is none."""
    limits = [PER_MINUTE, LimitConfig(calls=3600, per_s=3600), LimitConfig(calls=5, per_s=1)]
    assert calls_per_second(limits) == 1.0
    assert plan(limits=limits).seconds_needed == 800
    assert calls_per_second([]) == float("inf")
    assert plan(limits=[]).ends_at == NOW
    assert plan(limits=[], window_ends=NOW + timedelta(hours=1)).asked == 800
    assert plan(limits=[], window_ends=NOW).asked == 0


def test_calls_that_are_made_again_take_their_time() -> None:
    """With a call and a half per ID, two thirds of the IDs fit."""
    found = plan(calls_per_id=1.5, window_ends=NOW + timedelta(seconds=60))
    assert (found.asked, found.seconds_needed) == (400, 60.0)


def test_nothing_due_ends_at_once() -> None:
    """No ID, no time."""
    found = plan(due=0)
    assert (found.asked, found.seconds_needed, found.ends_at) == (0, 0, NOW)


def test_a_quota_for_ages_gives_an_end_all_the_same() -> None:
    """100 million IDs at one a month end beyond the calendar; the plan says the time, and a date that exists."""
    found = plan(ids=10**8, due=10**8, limits=[LimitConfig(calls=1, per_s=31 * 86_400)])
    assert found.seconds_needed == (10**8 - 1) * 31 * 86_400
    assert found.ends_at > NOW + timedelta(days=36_000)


def seen(*pairs: tuple[int, int]) -> LastSeen:
    ids, times = zip(*sorted(pairs), strict=True)
    return LastSeen(np.array(ids), np.array(times))


def test_new_customers_come_first_then_the_longest_unseen() -> None:
    """IDs without an answer so far, in input order, then by the time of the last answer, equals in input order."""
    due = np.array([5, 9, 1, 7, 3, 8])
    found = in_order(due, plan(due=6, limit=5), seen((5, 30), (1, 10), (3, 10), (8, 0), (2, 1)))
    assert found.tolist() == [9, 7, 8, 1, 3]


def test_the_order_stands_when_all_are_asked() -> None:
    """Sorting is for nights that leave someone out."""
    due = np.array([5, 1, 3])
    assert in_order(due, plan(due=3), seen((5, 9), (1, 1))).tolist() == [5, 1, 3]


def test_equals_keep_their_order() -> None:
    """Of a thousand who answered at two moments, the input's order decides."""
    due = np.random.default_rng(1).permutation(1000)
    times = np.arange(1000) % 2 + 5
    found = in_order(due, plan(due=1000, limit=999), LastSeen(np.arange(1000), times)).tolist()
    assert found == sorted(due.tolist(), key=lambda one: one % 2)[:999]


@given(
    due=st.lists(st.integers(1, 60), unique=True),
    known=st.dictionaries(st.integers(1, 60), st.integers(0, 4), max_size=40),
    limit=st.integers(0, 40),
)
def test_any_order_is_the_plain_one(due: list[int], known: dict[int, int], limit: int) -> None:
    """The same as sorting in plain Python, which is stable, cut at the limit."""
    last = seen(*known.items()) if known else LastSeen(np.empty(0, np.int64), np.empty(0, np.int64))
    found = in_order(np.array(due, np.int64), plan(due=len(due), limit=limit), last).tolist()
    expected = due if limit >= len(due) else sorted(due, key=lambda one: known.get(one, 0))[:limit]
    assert found == expected


@pytest.mark.parametrize(
    ("started", "until", "zone", "ends"),
    [
        pytest.param(
            "2026-11-22T22:30+05:30", "05:30", KOLKATA, "2026-11-23T05:30+05:30", id="over midnight"
        ),
        pytest.param("2026-11-22T01:00+05:30", "05:30", KOLKATA, "2026-11-22T05:30+05:30", id="the same day"),
        pytest.param("2026-11-22T05:30+05:30", "05:30", KOLKATA, "2026-11-23T05:30+05:30", id="just then"),
        pytest.param("2026-11-22T20:00+00:00", "05:30", KOLKATA, "2026-11-23T05:30+05:30", id="told in UTC"),
        pytest.param(
            "2026-03-28T22:00+01:00", "05:30", BERLIN, "2026-03-29T05:30+02:00", id="the short night"
        ),
        pytest.param(
            "2026-10-24T22:00+02:00", "05:30", BERLIN, "2026-10-25T05:30+01:00", id="the long night"
        ),
        pytest.param(
            "2026-03-07T22:00-05:00", "02:30", NEW_YORK, "2026-03-08T03:30-04:00", id="a time that isn't"
        ),
        pytest.param(
            "2026-10-31T22:00-04:00", "01:30", NEW_YORK, "2026-11-01T01:30-04:00", id="a time that is twice"
        ),
        pytest.param(
            "2026-11-01T01:45-04:00", "01:30", NEW_YORK, "2026-11-02T01:30-05:00", id="between the two"
        ),
    ],
)
def test_the_window_ends_at_the_next_such_clock_time(
    started: str, until: str, zone: ZoneInfo, ends: str
) -> None:
    """In the window's zone, whatever its clocks do in between."""
    found = window_end(datetime.fromisoformat(started), time.fromisoformat(until), zone)
    assert found == datetime.fromisoformat(ends)


def test_a_night_in_which_the_clocks_jump_has_its_real_length() -> None:
    """From 22:00 to 05:30 it is seven and a half hours; six and a half where the clocks go forward."""
    for day, hours in ((date(2026, 3, 27), 7.5), (date(2026, 3, 28), 6.5), (date(2026, 10, 24), 8.5)):
        started = datetime.combine(day, time(22), BERLIN)
        found = plan(now=started, window_ends=window_end(started, time(5, 30), BERLIN))
        assert found.fits == int(hours * 36_000)


@given(
    started=st.integers(0, 366 * 86_400).map(lambda seconds: YEAR + timedelta(seconds=seconds)),
    until=st.times(),
    zone=st.sampled_from([KOLKATA, NEW_YORK, BERLIN, ZoneInfo("Australia/Lord_Howe"), None]),
)
def test_any_window_ends_within_about_a_day(started: datetime, until: time, zone: ZoneInfo | None) -> None:
    """After the start, and never later than a day and the clocks' jump."""
    found = window_end(started, until, zone)
    assert found is not None
    assert started < found <= started + timedelta(hours=26)


def test_without_a_zone_the_machines_clocks_count() -> None:
    """The machine's own zone jumps, too: in the long night the window ends an hour later."""
    program = (
        "from datetime import *; from pipeline.plan import window_end\n"
        "print(window_end(datetime(2026, 10, 24, 20, tzinfo=UTC), time(5, 30), None).isoformat())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TZ": "Europe/Berlin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "2026-10-25T04:30:00+00:00"


def test_without_a_window_there_is_no_end() -> None:
    """Then an unfinished night is gone on with for twelve hours."""
    assert window_end(NOW, None, KOLKATA) is None
    assert goes_on_until(NOW, None, KOLKATA) == NOW + timedelta(hours=12)
    assert goes_on_until(NOW, time(5, 30), KOLKATA) == datetime(2026, 11, 23, 5, 30, tzinfo=KOLKATA)


def test_a_night_has_the_local_date_of_its_beginning() -> None:
    """Half past eleven at night in UTC is tomorrow in Kolkata, and today in New York."""
    late = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    assert night_of(late, KOLKATA) == date(2026, 11, 23)
    assert night_of(late, NEW_YORK) == date(2026, 11, 22)
