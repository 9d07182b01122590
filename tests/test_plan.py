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

from pipeline.config import LimitConfig, PlanConfig, QuotaConfig
from pipeline.outcome import Outcome
from pipeline.plan import Learned, Plan, make_plan, replanned
from pipeline.plan.allowance import Allowance
from pipeline.plan.order import in_order
from pipeline.plan.window import goes_on_until, night_of, window_end
from pipeline.store.knowledge import DTYPES, Knowledge

NOW = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
KOLKATA, NEW_YORK, BERLIN = ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")
PER_MINUTE = LimitConfig(calls=600, per_s=60)


def allowance(*limits: LimitConfig, start: datetime = NOW, **more: Any) -> Allowance:
    """What these limits let through from `start` on."""
    return Allowance(
        QuotaConfig(limits=list(limits)), more.pop("zone", ZoneInfo("UTC")), start.astimezone(UTC), **more
    )


def plan(**changes: Any) -> Plan:
    """A plan for 1,000 IDs of which 800 are due, at ten a second, without limit and window."""
    limits, now = changes.pop("limits", [PER_MINUTE]), changes.pop("now", NOW)
    given: dict[str, Any] = {
        "ids": 1000,
        "due": 800,
        "limit": None,
        "allowance": allowance(*limits, start=now),
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
    found = plan(limits=limits)
    assert (found.calls_per_s, found.seconds_needed) == (1.0, 800)
    assert plan(limits=[]).calls_per_s == float("inf")
    assert plan(limits=[]).ends_at == NOW
    assert plan(limits=[], window_ends=NOW + timedelta(hours=1)).asked == 800
    assert plan(limits=[], window_ends=NOW).asked == 0


def test_calls_that_are_made_again_take_their_time() -> None:
    """With a call and a half per ID, two thirds of the IDs fit."""
    found = plan(learned=Learned(calls_per_id=1.5), window_ends=NOW + timedelta(seconds=60))
    assert (found.asked, found.calls_needed, found.seconds_needed) == (400, 600, 60.0)


def test_nothing_due_ends_at_once() -> None:
    """No ID, no time."""
    found = plan(due=0)
    assert (found.asked, found.seconds_needed, found.ends_at) == (0, 0, NOW)


def test_a_quota_for_ages_gives_an_end_all_the_same() -> None:
    """100 million IDs at one a month end beyond the calendar; the plan says the time, and a date that exists."""
    found = plan(ids=10**8, due=10**8, limits=[LimitConfig(calls=1, per_s=31 * 86_400)])
    assert found.seconds_needed == pytest.approx(10**8 * 31 * 86_400, rel=0.05)
    assert found.ends_at > NOW + timedelta(days=36_000)


def budget(calls: int, window: Any = "sliding") -> LimitConfig:
    """So many calls a day."""
    return LimitConfig(calls=calls, per_s=86_400, window=window)


def test_a_days_budget_may_be_spent_at_once_and_what_was_spent_counts() -> None:
    """5,000 a day at ten a second: gone after 500 seconds; yesterday's calls come back when they are a day old."""
    assert allowance(PER_MINUTE, budget(5000)).seconds_for(5000) == 500
    assert allowance(PER_MINUTE, budget(5000)).calls_until(NOW + timedelta(hours=8)) == 5000
    half = allowance(PER_MINUTE, budget(5000), spent=np.full(2500, 3600.0))
    assert half.calls_until(NOW + timedelta(hours=8)) == 2500
    assert half.calls_until(NOW + timedelta(hours=24)) == 5000
    assert 23 * 3600 <= half.seconds_for(2501) <= 24 * 3600


def test_a_fixed_budget_begins_anew_at_midnight() -> None:
    """At 22:00 in UTC; in Kolkata it is half past three, and midnight is hours away. Only calls since then count."""
    fixed = (PER_MINUTE, budget(5000, "fixed"))
    assert allowance(*fixed).calls_until(NOW + timedelta(hours=1)) == 5000
    assert allowance(*fixed).calls_until(NOW + timedelta(hours=4)) == 10_000
    assert allowance(*fixed).seconds_for(5001) == pytest.approx(7200.1)
    assert allowance(*fixed, zone=KOLKATA).calls_until(NOW + timedelta(hours=4)) == 5000
    yesterdays = np.full(4000, 23 * 3600.0)
    assert allowance(*fixed, spent=yesterdays).calls_until(NOW + timedelta(hours=1)) == 5000
    todays = np.full(4000, 21 * 3600.0)
    assert allowance(*fixed, spent=todays).calls_until(NOW + timedelta(hours=1)) == 1000


def test_the_calendar_counts_hour_by_hour() -> None:
    """Ten a second from 20:00 to 06:00, else one: a night from 22:00 to 07:00 in UTC."""
    quota = QuotaConfig.model_validate(
        {
            "limits": [{"calls": 60}],
            "calendar": [{"from": "20:00", "to": "06:00", "limits": [{"calls": 600}]}],
        }
    )
    found = Allowance(quota, ZoneInfo("UTC"), NOW)
    assert found.calls_until(NOW + timedelta(hours=9)) == 8 * 36_000 + 3600
    assert found.seconds_for(8 * 36_000 + 60) == 8 * 3600 + 60
    a_day = 10 * 36_000 + 14 * 3600
    assert found.seconds_for(1000 * a_day) == pytest.approx(1000 * 86_400, rel=0.001)


def test_a_slow_api_lets_less_through_than_the_quota() -> None:
    """64 in flight at 20 seconds each make 3.2 a second, whatever is allowed."""
    assert allowance(PER_MINUTE, most_per_s=3.2).calls_until(NOW + timedelta(seconds=100)) == 320
    assert allowance(most_per_s=3.2).seconds_for(32) == 10


@given(
    calls=st.integers(1, 5_000_000),
    limits=st.lists(
        st.builds(
            LimitConfig,
            calls=st.integers(1, 10_000),
            per_s=st.sampled_from([1.0, 60.0, 3600.0, 7200.0, 86_400.0]),
            window=st.sampled_from(["sliding", "fixed"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_fits_until_the_end_is_what_was_asked_for(calls: int, limits: list[LimitConfig]) -> None:
    """The two questions answer each other: the time for n calls has room for n, and hardly more."""
    found = allowance(*limits)
    seconds = found.seconds_for(calls)
    fits = found.calls_until(NOW + timedelta(seconds=min(seconds, 10**9) + 0.001))
    assert fits >= 0.98 * calls - 1 or seconds > 10**9
    if seconds < 5 * 86_400:
        paced = min((limit.calls / limit.per_s for limit in limits if limit.per_s <= 3600), default=0.0)
        assert fits <= calls + sum(limit.calls for limit in limits if limit.per_s > 3600) + paced + 1


def test_a_running_night_plans_again_from_what_it_sees() -> None:
    """After 10,000 verdicts that took 15,000 calls, a third fewer of the rest fit than was planned."""
    ends = NOW + timedelta(seconds=4000)
    first = plan(ids=50_000, due=50_000, window_ends=ends)
    assert first.asked == 40_000
    later = allowance(PER_MINUTE, start=NOW + timedelta(seconds=1500))
    found = replanned(first, later, done=10_000, calls=15_000)
    assert found.due == 50_000
    assert found.asked == pytest.approx(10_000 + 25_000 / 1.4545, rel=0.01)
    assert found.deferred == 50_000 - found.asked
    limited = replanned(first, later, done=10_000, calls=15_000, limit=12_000)
    assert limited.asked == 12_000


def test_disk_and_memory_grow_with_the_ids() -> None:
    """The night's files with those asked, the snapshot with all that are known, memory with both."""
    small, large = plan(), plan(known=1_000_000)
    assert large.disk_bytes > small.disk_bytes > 800 * 4000
    assert large.memory_bytes > small.memory_bytes


def test_memory_is_that_of_the_fetch_or_of_the_merge_whichever_is_more() -> None:
    """A small night's two processes take more than its merge; the merge of a large one more than they."""
    learned = Learned(memory_bytes=240e6, merge_bytes=170e6)
    few, many = (plan(known=known, learned=learned).memory_bytes for known in (100_000, 2_000_000))
    assert (few, many) == (240e6 + 100_000 * 20, 170e6 + 80e6 + 2_000_000 * 20)


def known(*rows: tuple[int, float], changes: Any = (), answers: int = 4, dates: Any = ()) -> Knowledge:
    """IDs and how many days ago they answered; watched for 40 days before that."""
    columns = {name: np.zeros(len(rows), dtype) for name, dtype in DTYPES.items()}
    order = sorted(range(len(rows)), key=lambda place: rows[place][0])
    columns["customer_ids"] = np.array([rows[place][0] for place in order], np.int64)
    ages = np.array([rows[place][1] for place in order])
    columns["outcomes"][:] = Outcome.EXPORTED
    columns["seen_at"] = np.where(ages < 0, 0, NOW.timestamp() - ages * 86_400).astype(np.uint32)
    columns["first_seen_at"] = np.where(ages < 0, 0, NOW.timestamp() - (ages + 40) * 86_400).astype(np.uint32)
    columns["answers"][:] = answers
    for name, values in (("changes", changes), ("next_dates", dates)):
        if len(values):
            columns[name] = np.array([values[place] for place in order]).astype(DTYPES[name])
    return Knowledge(**columns)


OLDEST, INPUT = PlanConfig(), PlanConfig(order="input")
CHANGED = PlanConfig.model_validate({"order": "likely_changed", "max_age": "30d"})
NEVER = -1.0


def order_of(due: list[int], knowledge: Knowledge, config: PlanConfig = OLDEST) -> list[int]:
    found: list[int] = in_order(np.array(due, np.int64), knowledge, config, NOW).tolist()
    return found


def test_new_customers_come_first_then_the_longest_unseen() -> None:
    """IDs without an answer so far, in input order, then by the time of the last answer, equals in input order."""
    before = known((5, 1), (1, 9), (3, 9), (8, NEVER), (2, 20))
    assert order_of([5, 9, 1, 7, 3, 8], before) == [9, 7, 8, 1, 3, 5]
    assert order_of([5, 9, 1, 7, 3, 8], before, INPUT) == [5, 9, 1, 7, 3, 8]
    assert order_of([3, 1, 2], known()) == [3, 1, 2]
    assert order_of([], before) == []


def test_who_changes_often_is_asked_before_who_never_did() -> None:
    """Of the same age, the one with three changes in 40 days first; a longer absence makes up for fewer."""
    before = known((1, 5), (2, 5), (3, 5), (4, 0.01), changes=[0, 3, 1, 3])
    assert order_of([1, 2, 3, 4], before, CHANGED) in ([1, 2, 3, 4], [2, 3, 1, 4])
    many = known(*((one, 5.0) for one in range(1, 101)), changes=[one % 4 for one in range(1, 101)])
    found = order_of(list(range(1, 101)), many, CHANGED)[4:]
    assert [one % 4 for one in found] == sorted((one % 4 for one in found), reverse=True)


def test_a_date_that_has_passed_is_a_change() -> None:
    """Points that expired yesterday: the answer cannot be what it was. Those of next week say nothing yet."""
    today = int(NOW.timestamp() // 86_400)
    ids = range(1, 41)
    dates = [today - 1 if one == 30 else today + 7 if one == 20 else 0 for one in ids]
    before = known(*((one, 10.0) for one in ids), changes=[2] * 40, dates=dates)
    assert order_of(list(ids), before, CHANGED)[2] == 30


def test_nobody_stays_unseen_for_longer_than_the_maximum_age() -> None:
    """Sixty nights with a quota for a tenth of the base: the one that never changes is seen every thirty days all
    the same, and so is everybody else."""
    rng = np.random.default_rng(3)
    ids = np.arange(1, 301)
    ages, changes = rng.uniform(0, 29, 300), rng.integers(0, 9, 300)
    oldest = []
    for _ in range(60):
        before = known(*zip(ids.tolist(), ages.tolist(), strict=True), changes=changes)
        asked = order_of(ids.tolist(), before, CHANGED)[:30]
        ages[np.array(asked) - 1] = 0.0
        ages += 1.0
        oldest.append(ages.max())
    assert max(oldest[1:]) <= 31.0


def test_likely_changed_finds_more_changes_than_oldest_with_the_same_calls() -> None:
    """A base in which one in ten changes every other day and the others hardly ever: the calls go where they pay."""

    def changes_found(config: PlanConfig) -> int:
        rng = np.random.default_rng(5)
        ids = np.arange(1, 1001)
        rates = np.where(ids % 10 == 0, 0.5, 0.005)
        ages, changes, found = np.full(1000, 1.0), np.zeros(1000, np.int64), 0
        dirty = np.zeros(1000, bool)
        for night in range(60):
            dirty |= rng.random(1000) < rates
            before = known(*zip(ids.tolist(), ages.tolist(), strict=True), changes=changes)
            asked = np.array(order_of(ids.tolist(), before, config)[:150]) - 1
            found += int(dirty[asked].sum()) if night >= 20 else 0
            changes[asked] += dirty[asked]
            dirty[asked], ages[asked] = False, 0.0
            ages += 1.0
        return found

    assert changes_found(CHANGED) > 1.5 * changes_found(OLDEST)


@given(
    due=st.lists(st.integers(1, 60), unique=True),
    ages=st.dictionaries(st.integers(1, 60), st.sampled_from([NEVER, 1.0, 2.0, 40.0, 50.0]), max_size=40),
    config=st.sampled_from([OLDEST, INPUT, CHANGED]),
)
def test_any_order_asks_everybody_once(due: list[int], ages: dict[int, float], config: PlanConfig) -> None:
    """No ID lost, none twice; by age it is what sorting in plain Python gives, which is stable; in slices it is the
    same."""
    found = order_of(due, known(*ages.items()), config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.plan.order.AT_ONCE", 3)
        assert order_of(due, known(*ages.items()), config) == found
    assert sorted(found) == sorted(due)
    if config is OLDEST:
        is_new = [one for one in due if ages.get(one, NEVER) == NEVER]
        others = [one for one in due if one not in is_new]
        assert found == is_new + sorted(others, key=lambda one: -ages[one])


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
        "from datetime import *; from pipeline.plan.window import window_end\n"
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
