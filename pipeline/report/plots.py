"""Drawings as plain shapes: paths in a box of 1000 × 100 that the page stretches, and where its labels go, in percent.

The labels are no part of the drawing: they are text of the page, so that they stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.outcome import VERDICTS, Outcome
from pipeline.report.facts import Before, Facts, Series, Slot
from pipeline.report.words import Clock, count, latency

WIDTH, HEIGHT = 1000.0, 100.0
FAR_ABOVE = 3.0
"""A quota so many times the busiest slot would press the plot flat: it is told, not drawn."""
_TIME_STEPS_S = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_MOST_TIME_LABELS = 6


class Label(NamedTuple):
    """A label of an axis, at so many percent from the left or the top."""

    at: float
    text: str


class Shape(NamedTuple):
    """A path, and the class that colours it."""

    kind: str
    path: str


class Hint(NamedTuple):
    """What the pointer shows over a stretch of the plot."""

    left: float
    width: float
    text: str


@dataclass(frozen=True)
class Table:
    """The numbers behind a plot."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A drawing with its words."""

    name: str
    title: str
    summary: str
    shapes: Sequence[Shape]
    down: Sequence[Label] = ()  # of the vertical axis
    across: Sequence[Label] = ()
    legend: Sequence[tuple[str, str]] = ()  # class, text
    hints: Sequence[Hint] = ()
    table: Table | None = None
    note: str = ""


class Strip(NamedTuple):
    """One of several small plots above each other, each with a scale of its own."""

    kind: str
    text: str
    total: str
    most: str
    path: str
    summary: str


@dataclass(frozen=True)
class Strips:
    """Small plots with one axis of time."""

    strips: Sequence[Strip]
    across: Sequence[Label]
    table: Table


# Shapes


def bars(values: Sequence[float], top: float, under: Sequence[float] = ()) -> str:
    """A bar for each value, standing on `under`."""
    step, found = WIDTH / max(1, len(values)), []
    for place, value in enumerate(values):
        if value > 0:
            ground = HEIGHT - HEIGHT * (under[place] if under else 0) / top
            tall = min(HEIGHT, HEIGHT * value / top)
            gap = step * 0.08
            found.append(
                f"M{place * step + gap:.1f} {ground:.1f}v{-tall:.2f}h{step - 2 * gap:.1f}v{tall:.2f}z"
            )
    return "".join(found)


def steps(heights: Sequence[float | None]) -> str:
    """A line that stays at each height (percent from the top) for its slot; a gap where there is none."""
    step, found, is_down = WIDTH / max(1, len(heights)), [], False
    for place, height in enumerate(heights):
        if height is None:
            is_down = False
            continue
        left = place * step
        found.append(f"V{height:.2f}" if is_down else f"M{left:.1f} {height:.2f}")
        found.append(f"H{left + step:.1f}")
        is_down = True
    return "".join(found)


# Axes


def round_top(most: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(
        factor * power for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if factor * power >= most * 0.999
    )


def ticks(top: float) -> list[Label]:
    """From the top of a linear axis to its 0."""
    return [Label(at, _short(top * (1 - at / 100))) for at in (0.0, 50.0, 100.0)]


def _short(value: float) -> str:
    if value >= 10_000_000:
        return f"{value / 1e6:,.0f} M"
    if value >= 10_000:
        return f"{value / 1e3:,.0f} k"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def time_labels(series: Series, clock: Clock) -> list[Label]:
    """At round times, at most `_MOST_TIME_LABELS` of them."""
    if not series.slots:
        return []
    began = clock.local(series.slots[0].at)
    length = len(series.slots) * series.slot_s
    step = next((one for one in _TIME_STEPS_S if length / one <= _MOST_TIME_LABELS), _TIME_STEPS_S[-1])
    step = max(step, 86_400 * math.ceil(length / 86_400 / _MOST_TIME_LABELS)) if length > 6 * 86_400 else step
    midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
    first = math.ceil((began - midnight).total_seconds() / step) * step
    moments = (midnight + timedelta(seconds=first + more * step) for more in range(_MOST_TIME_LABELS + 1))
    return [
        Label(100 * seconds / length, _time(moment, step))
        for moment in moments
        if 0 <= (seconds := (moment - began).total_seconds()) < length * 0.93
    ]


def _time(moment: datetime, step: float) -> str:
    if step >= 86_400:
        return f"{moment:%d.%m.}"
    return f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"


def _hints(series: Series, clock: Clock, said: Callable[[Slot], str]) -> list[Hint]:
    step = WIDTH / max(1, len(series.slots))
    return [
        Hint(place * step, step, f"{clock.time(slot.at, series.slot_s)}: {said(slot)}")
        for place, slot in enumerate(series.slots)
        if slot.calls
    ]


def slot_name(series: Series) -> str:
    """How long a slot is, in words."""
    if series.slot_s < 60:
        return f"{series.slot_s} s" if series.slot_s > 1 else "second"
    return "minute" if series.slot_s == 60 else f"{series.slot_s // 60} minutes"


# The plots


def calls_plot(facts: Facts, clock: Clock) -> Plot:
    """Calls a minute, and what the quota lets through."""
    series = facts.series
    rate = [series.per_minute(slot.calls) for slot in series.slots]
    again = [series.per_minute(slot.again) for slot in series.slots]
    busiest = max(rate, default=0.0)
    finite = [one for one in series.quota if math.isfinite(one)]
    drawn = [one for one in finite if one <= FAR_ABOVE * max(1.0, busiest)]
    top = round_top(max([busiest, *drawn]))
    line = steps([HEIGHT - HEIGHT * one / top if one in set(drawn) else None for one in series.quota])
    shapes = [
        Shape("calls", bars([all_ - more for all_, more in zip(rate, again, strict=True)], top)),
        Shape("again", bars(again, top, [all_ - more for all_, more in zip(rate, again, strict=True)])),
    ]
    legend = [("calls", "calls"), ("again", "calls that failed and were made again")]
    if drawn:
        shapes.append(Shape("quota", line))
        legend.append(("quota", "the quota"))
    return Plot(
        name="calls",
        title="Calls a minute against the quota",
        summary=_calls_summary(finite, clock, series),
        shapes=shapes,
        down=ticks(top),
        across=time_labels(series, clock),
        legend=legend,
        hints=_hints(series, clock, lambda slot: f"{count(series.per_minute(slot.calls))} calls a minute"),
        table=_calls_table(series, clock),
        note=_far_above(finite, drawn),
    )


def _far_above(finite: Sequence[float], drawn: Sequence[float]) -> str:
    if drawn:
        return ""
    if not finite:
        return "No limit of an hour or less is configured: there is no line to draw."
    return f"The quota, {count(min(finite))} calls a minute or more, lies far above what is drawn."


def _calls_summary(finite: Sequence[float], clock: Clock, series: Series) -> str:
    place, calls = _busiest_minute(series)
    at = clock.time(series.slots[place].at, series.slot_s)
    allowed = f", {count(min(finite))} to {count(max(finite))} allowed" if finite else ""
    allowed = f" of {count(finite[0])} allowed" if finite and min(finite) == max(finite) else allowed
    short = " A short bar may pass the line while no minute does." if finite and series.slot_s < 60 else ""
    return f"The busiest minute, from {at} on, had {count(calls)} calls{allowed}.{short}"


def _busiest_minute(series: Series) -> tuple[int, float]:
    """The slot at which it begins, and its calls; of slots longer than a minute their average."""
    wide = max(1, 60 // series.slot_s)
    calls = [slot.calls for slot in series.slots]
    sums = [sum(calls[place : place + wide]) for place in range(len(calls))]
    place = max(range(len(sums)), key=lambda at: sums[at])
    return place, sums[place] * min(1.0, 60 / series.slot_s)


def _calls_table(series: Series, clock: Clock) -> Table:
    quota = [count(one) if math.isfinite(one) else "no limit" for one in series.quota]
    rows = [
        (
            clock.time(slot.at, series.slot_s),
            count(series.per_minute(slot.calls)),
            allowed,
            count(slot.again),
        )
        for slot, allowed in zip(series.slots, quota, strict=True)
    ]
    head = ("from", "calls a minute", "allowed", "failed calls, made again")
    return Table(f"Calls in each {slot_name(series)}", head, rows)


_LATENCY_FLOOR_MS = 1.0


def latency_plot(facts: Facts, clock: Clock) -> Plot:
    """Latency percentiles over time, on a logarithmic axis."""
    series = facts.series
    known = [one for slot in series.slots for one in (slot.p50, slot.p99) if one is not None]
    low = 10.0 ** math.floor(math.log10(max(_LATENCY_FLOOR_MS, min(known, default=1.0))))
    high = 10.0 ** math.ceil(math.log10(max(low * 10, max(known, default=10.0))))

    def height(value: float | None) -> float | None:
        if value is None:
            return None
        return HEIGHT * (1 - math.log(max(low, value) / low) / math.log(high / low))

    decades = round(math.log10(high / low))
    labels = [Label(100 * one / decades, latency(high / 10**one)) for one in range(decades + 1)]
    shapes = [
        Shape(name, steps([height(getattr(slot, name)) for slot in series.slots]))
        for name in ("p99", "p95", "p50")
    ]
    worst = max((slot for slot in series.slots if slot.p95), key=lambda slot: slot.p95 or 0, default=None)
    return Plot(
        name="latency",
        title="Latency of the calls",
        summary=_latency_summary(worst, series, clock),
        shapes=shapes,
        down=labels,
        across=time_labels(series, clock),
        legend=[
            ("p50", "p50: half of the calls were quicker"),
            ("p95", "p95: 19 of 20"),
            ("p99", "p99: 99 of 100"),
        ],
        hints=_hints(
            series,
            clock,
            lambda slot: f"p50 {latency(slot.p50)}, p95 {latency(slot.p95)}, p99 {latency(slot.p99)}",
        ),
        table=Table(
            f"Latency in each {slot_name(series)}",
            ("from", "p50", "p95", "p99"),
            [
                (clock.time(slot.at, series.slot_s), latency(slot.p50), latency(slot.p95), latency(slot.p99))
                for slot in series.slots
            ],
        ),
        note="Each step up is ten times as long.",
    )


def _latency_summary(worst: Slot | None, series: Series, clock: Clock) -> str:
    if worst is None:
        return "No call was answered."
    at = clock.time(worst.at, series.slot_s)
    return f"At its worst, at {at}, one call in twenty took {latency(worst.p95)} or longer."


def outcome_strips(facts: Facts, clock: Clock) -> Strips:
    """What the calls ended with over time: a strip for each outcome that came, and for repeats and throttling."""
    series = facts.series
    rows: list[tuple[str, str, list[int]]] = [
        (one.word, one.word, [slot.verdicts.get(one, 0) for slot in series.slots])
        for one in VERDICTS
        if one is not Outcome.DEFERRED
    ]
    rows.append(("again", "failed calls, made again", [slot.again for slot in series.slots]))
    rows.append(("throttled", "throttled (429)", [slot.throttled for slot in series.slots]))
    told = [row for row in rows if any(row[2]) or row[0] in ("failed", "throttled")]
    strips = [_strip(kind, text, values, series, clock) for kind, text, values in told]
    head = ("from", *(text for _, text, _ in told))
    table_rows = [
        (clock.time(slot.at, series.slot_s), *(count(values[place]) for _, _, values in told))
        for place, slot in enumerate(series.slots)
    ]
    caption = f"Outcomes in each {slot_name(series)}"
    return Strips(strips, time_labels(series, clock), Table(caption, head, table_rows))


def _strip(kind: str, text: str, values: Sequence[int], series: Series, clock: Clock) -> Strip:
    most = max(values, default=0)
    if not most:
        return Strip(kind, text, "0", "", "", f"{text}: none")
    at = clock.time(series.slots[values.index(most)].at, series.slot_s)
    summary = f"{text}: {count(sum(values))} in all, at most {count(most)} a {slot_name(series)}, at {at}"
    return Strip(
        kind, text, count(sum(values)), f"at most {count(most)} at {at}", bars(values, most), summary
    )


class RowsOf(NamedTuple):
    """A table's rows in the last snapshots, the oldest first."""

    table: str
    now: int
    before: int | None
    path: str
    summary: str


def rows_plots(facts: Facts) -> list[RowsOf]:
    """For each table, its rows in this snapshot and those of the last nights."""
    found = []
    for table, now in facts.rows.items():
        past: Iterable[Before] = reversed(facts.before)
        values = [*(one.rows.get(table, 0) for one in past), now]
        told = ", ".join(count(one) for one in values)
        found.append(
            RowsOf(
                table,
                now,
                facts.before[0].rows.get(table) if facts.before else None,
                bars(values, max(1, *values)),
                f"{table}: rows in the last {len(values)} snapshots: {told}",
            )
        )
    return found
