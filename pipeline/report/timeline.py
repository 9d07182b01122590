"""Calls summed by time in bounded memory: counts and latencies in slots that grow wider as the night grows longer."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.outcome import NO_VERDICTS, Outcome
from pipeline.report.facts import Series, Slot

Ints = npt.NDArray[Any]
WIDTHS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
"""How long a slot may be; each divides the next."""
MOST_SLOTS = 1024
"""With one more, neighbours are put together."""
_STEPS = 16
"""Latency bins an octave: a percentile is right to 2 %."""
_FIRST_OCTAVE, _OCTAVES = 6, 25  # 64 µs to half an hour
_BINS = _STEPS * _OCTAVES
_KINDS = len(Outcome)
_MICROS = 1_000_000


class Timeline:
    """Counts by slot from `origin` (µs since 1970) on; what was sent before it, or long after, is only counted."""

    def __init__(self, origin: int) -> None:
        self.outside = 0
        self.first = self.last = 0  # when the first and the last call were sent, in µs since 1970
        self._width = 0  # its place in WIDTHS_S
        self._origin = origin // (WIDTHS_S[-1] * _MICROS) * (WIDTHS_S[-1] * _MICROS)
        self._first = (origin - self._origin) // _MICROS  # seconds between: slots of before are not kept
        self._kinds = np.zeros((0, _KINDS), np.int64)
        self._throttled = np.zeros(0, np.int64)
        self._latencies = np.zeros((0, _BINS), np.int32)

    def copy(self) -> Timeline:
        """The same counts, to count on from."""
        other = copy(self)
        other._kinds, other._throttled = self._kinds.copy(), self._throttled.copy()
        other._latencies = self._latencies.copy()
        return other

    def take(self, sent_at: Ints, outcomes: Ints, is_throttled: Ints, latency_us: Ints) -> None:
        """Add calls, in any order."""
        seconds = (sent_at - self._origin) // _MICROS
        inside = (seconds >= self._first) & (seconds < self._first + WIDTHS_S[-1] * MOST_SLOTS)
        self.outside += int(np.count_nonzero(~inside))
        if not inside.any():
            return
        first, last = int(sent_at[inside].min()), int(sent_at[inside].max())
        self.first, self.last = min(self.first or first, first), max(self.last, last)
        self._grow(int(seconds[inside].max()))
        slots = seconds[inside] // WIDTHS_S[self._width] - self._first_slot()
        count = len(self._throttled)
        self._kinds += _counts(slots * _KINDS + outcomes[inside], count * _KINDS).reshape(count, _KINDS)
        self._throttled += _counts(slots[is_throttled[inside]], count)
        at = slots * _BINS + _bins(latency_us[inside])
        places, found = np.unique(at, return_counts=True)
        self._latencies.reshape(-1)[places] += found.astype(np.int32)

    def _first_slot(self) -> int:
        return int(self._first // WIDTHS_S[self._width])

    def _grow(self, second: int) -> None:
        """Room up to this second."""
        while second // WIDTHS_S[self._width] - self._first_slot() >= MOST_SLOTS:
            self._widen()
        missing = second // WIDTHS_S[self._width] - self._first_slot() + 1 - len(self._throttled)
        if missing > 0:
            self._kinds = np.pad(self._kinds, ((0, missing), (0, 0)))
            self._throttled = np.pad(self._throttled, (0, missing))
            self._latencies = np.pad(self._latencies, ((0, missing), (0, 0)))

    def _widen(self) -> None:
        """Put neighbours together, into slots of the next width."""
        before, factor = self._first_slot(), WIDTHS_S[self._width + 1] // WIDTHS_S[self._width]
        self._width += 1
        ahead = before - self._first_slot() * factor
        self._kinds, self._throttled, self._latencies = (
            _together(one, ahead, factor) for one in (self._kinds, self._throttled, self._latencies)
        )

    def series(self, most_slots: int, at_least_s: int = 1) -> Series:
        """The night in at most so many slots, none shorter than `at_least_s`; from its first call to its last."""
        wide = self.copy()
        while wide._width + 1 < len(WIDTHS_S) and (
            WIDTHS_S[wide._width] < at_least_s or len(wide._trimmed()) > most_slots
        ):
            wide._widen()
        return Series(WIDTHS_S[wide._width], list(wide._slots()))

    def _trimmed(self) -> range:
        used = np.flatnonzero(self._kinds.any(axis=1))
        return range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)

    def _slots(self) -> Iterator[Slot]:
        width = WIDTHS_S[self._width]
        for place in self._trimmed():
            kinds = {Outcome(kind): int(count) for kind, count in enumerate(self._kinds[place]) if count}
            second = (self._first_slot() + place) * width + self._origin // _MICROS
            p50, p95, p99 = _percentiles(self._latencies[place])
            again = kinds.pop(Outcome.RETRIED, 0)
            calls = again + sum(kinds.values())
            verdicts = {kind: count for kind, count in kinds.items() if kind not in NO_VERDICTS}
            at = datetime.fromtimestamp(second, UTC)
            yield Slot(at, calls, again, int(self._throttled[place]), verdicts, p50, p95, p99)


def _counts(places: Ints, length: int) -> Ints:
    found: Ints = np.bincount(places, minlength=length)
    return found


def _bins(latency_us: Ints) -> Ints:
    octaves = np.log2(np.maximum(latency_us, 1)) - _FIRST_OCTAVE
    found: Ints = np.clip(octaves * _STEPS, 0, _BINS - 1).astype(np.int64)
    return found


def _together(counts: Ints, ahead: int, factor: int) -> Ints:
    """Sums of `factor` neighbours, `ahead` empty ones put before the first."""
    behind = -(len(counts) + ahead) % factor
    padded = np.pad(counts, ((ahead, behind), *((0, 0),) * (counts.ndim - 1)))
    summed: Ints = padded.reshape(-1, factor, *counts.shape[1:]).sum(axis=1, dtype=counts.dtype)
    return summed


def _percentiles(bins: Ints) -> tuple[float | None, float | None, float | None]:
    """In ms, each the middle of its bin."""
    behind = np.cumsum(bins)
    if not behind[-1]:
        return None, None, None
    places = np.searchsorted(behind, np.ceil(np.array([0.5, 0.95, 0.99]) * behind[-1]))
    found = 2.0 ** ((places + 0.5) / _STEPS + _FIRST_OCTAVE) / 1000
    return float(found[0]), float(found[1]), float(found[2])
