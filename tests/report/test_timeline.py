"""Calls by time: nothing is lost when slots grow wider, and percentiles are right to 3 %."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.outcome import Outcome
from pipeline.report.timeline import MOST_SLOTS, WIDTHS_S, Timeline

BEGAN = int(datetime(2026, 11, 21, 1, 7, 13, tzinfo=UTC).timestamp()) * 1_000_000


def filled(seconds: np.ndarray, latency_us: np.ndarray | int = 80_000, at_a_time: int = 10_000) -> Timeline:
    """A timeline of exported calls, sent so many seconds after the night began."""
    timeline = Timeline(BEGAN)
    latencies = np.broadcast_to(np.asarray(latency_us, np.int32), seconds.shape)
    for start in range(0, len(seconds), at_a_time):
        part = slice(start, start + at_a_time)
        sent = BEGAN + (seconds[part] * 1e6).astype(np.int64)
        outcomes = np.full(len(sent), Outcome.EXPORTED, np.int8)
        timeline.take(sent, outcomes, np.zeros(len(sent), bool), latencies[part])
    return timeline


@given(
    st.lists(st.integers(0, 20 * 86_400), min_size=1, max_size=60),
    st.integers(1, 400),
    st.integers(1, 7),
)
def test_no_call_is_lost_however_wide_the_slots(seconds: list[int], most: int, at_a_time: int) -> None:
    """In any order, in pieces of any size: each call stands in the slot that holds its moment."""
    timeline = filled(np.array(seconds, float), at_a_time=at_a_time)
    series = timeline.series(most)
    assert sum(slot.calls for slot in series.slots) == len(seconds)
    assert len(series.slots) <= max(most, 20 * 86_400 // WIDTHS_S[-1] + 2)
    by_slot: dict[int, int] = {}
    for one in seconds:
        slot = (BEGAN // 1_000_000 + one) // series.slot_s
        by_slot[slot] = by_slot.get(slot, 0) + 1
    found = {int(slot.at.timestamp()) // series.slot_s: slot.calls for slot in series.slots if slot.calls}
    assert found == by_slot


def test_a_night_of_days_keeps_to_its_memory() -> None:
    """Ten million seconds of a night take as many slots as ten minutes do."""
    timeline = filled(np.arange(0, 10_000_000, 50.0))
    assert len(timeline._throttled) <= MOST_SLOTS
    assert sum(slot.calls for slot in timeline.series(180).slots) == 200_000


@pytest.mark.parametrize("middle_ms", [0.8, 40, 3_000, 200_000])
def test_percentiles_are_right_to_three_percent(middle_ms: float) -> None:
    """From quick caches to calls that run into the time-out."""
    rng = np.random.default_rng(7)
    latency = (rng.lognormal(np.log(middle_ms * 1000), 0.5, 20_000)).astype(np.int32)
    (slot,) = filled(np.full(20_000, 5.0), latency).series(10).slots
    exact = np.percentile(latency, [50, 95, 99], method="inverted_cdf") / 1000
    assert [slot.p50, slot.p95, slot.p99] == pytest.approx(exact.tolist(), rel=0.03)


def test_calls_of_before_and_of_a_clock_far_ahead_are_counted_apart() -> None:
    """They are calls, but they would stretch the plots over weeks of nothing."""
    timeline = filled(np.array([-86_400.0, -1.0, 0.0, 3.0, 4000 * 86_400.0]))
    assert timeline.outside == 3
    assert [slot.calls for slot in timeline.series(10).slots] == [1, 0, 0, 1]


def test_outcomes_repeats_and_throttling_are_told_apart() -> None:
    """Repeats are calls without a verdict; a throttled call is one of them."""
    timeline = Timeline(BEGAN)
    outcomes = np.array([Outcome.EXPORTED, Outcome.FAILED, Outcome.RETRIED, Outcome.PAGE], np.int8)
    throttled = np.array([False, False, True, False])
    timeline.take(np.full(4, BEGAN), outcomes, throttled, np.full(4, 1000, np.int32))
    (slot,) = timeline.series(10).slots
    assert (slot.calls, slot.again, slot.throttled) == (4, 1, 1)
    assert dict(slot.verdicts) == {Outcome.EXPORTED: 1, Outcome.FAILED: 1}


def test_a_copy_is_counted_on_without_the_first() -> None:
    """A running night's page adds what has no parts yet to a copy, again and again."""
    timeline = filled(np.array([1.0, 2.0]))
    copy = timeline.copy()
    copy.take(np.array([BEGAN]), np.array([1], np.int8), np.array([False]), np.array([5], np.int32))
    assert sum(slot.calls for slot in timeline.series(10).slots) == 2
    assert sum(slot.calls for slot in copy.series(10).slots) == 3
