"""What a night counts and times while it runs. The journal, not this, is what sums are made from."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.outcome import VERDICTS, Outcome

LATENCIES_KEPT = 1000
RATE_OVER_S = 60.0
"""The rate now is that of the last minute."""


@dataclass
class Tally:
    """Counts of the running process, for the progress line and `status`."""

    planned: int = 0  # IDs to ask in this run, as far as can be foreseen
    deferred: int = 0  # due IDs that are foreseen to be left for another night
    ends_at: datetime | None = None  # when the fetch is foreseen to end
    ids: int = 0  # the night's distinct IDs
    done_before: int = 0  # of these, done when the run began
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    calls: int = 0
    repeated: int = 0  # calls that had to be made again
    throttled: int = 0  # 429s among them
    in_flight: int = 0
    allowed_in_flight: int = 0  # what the pace needs at the API's latency (fetch/concurrency.py)
    allowed_per_s: float | None = None  # what the quota lets through now, on average; None without a limit
    durable: int = 0  # journal records that survive a power loss
    disk_free: int = 0  # bytes, where the journal is written
    disk_free_before: int = 0  # when the run began
    began: float = field(default_factory=time.monotonic)
    latencies_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    samples: deque[tuple[float, int]] = field(
        default_factory=deque
    )  # moments of the last minute, and `calls` then

    @property
    def done(self) -> int:
        """IDs with a verdict in this run."""
        return sum(self.outcomes.values())

    def rate(self) -> float:
        """Calls per second since the run began."""
        return self.calls / max(1e-9, time.monotonic() - self.began)

    def sample(self) -> None:
        """Note how many calls there were by now, for `rate_now`. To be called now and then."""
        now = time.monotonic()
        self.samples.append((now, self.calls))
        while len(self.samples) > 1 and now - self.samples[1][0] >= RATE_OVER_S:
            self.samples.popleft()

    def rate_now(self) -> float:
        """Calls per second in the last minute, or since the run began where that is not so long ago."""
        began, calls = self.samples[0] if self.samples else (self.began, 0)
        if began - self.began < RATE_OVER_S / 2:
            began, calls = self.began, 0
        return (self.calls - calls) / max(1e-9, time.monotonic() - began)

    def mean_latency_s(self) -> float | None:
        """Of the last calls; None before the first."""
        return sum(self.latencies_us) / len(self.latencies_us) / 1e6 if self.latencies_us else None

    def eta_s(self) -> float | None:
        """Seconds until all planned IDs are done: as foreseen, else at the pace so far; None while nothing is known."""
        if self.ends_at is not None:
            return max(0.0, (self.ends_at - datetime.now(UTC)).total_seconds())
        elapsed = time.monotonic() - self.began
        return max(0, self.planned - self.done) * elapsed / self.done if self.done else None

    def sums(self) -> dict[str, object]:
        """What the run amounts to so far, for an event."""
        seconds = round(time.monotonic() - self.began, 1)
        outcomes = {one.word: self.outcomes[one] for one in VERDICTS if self.outcomes[one]}
        calls = {"calls": self.calls, "repeated": self.repeated, "throttled": self.throttled}
        return {"done": self.done, **calls, "seconds": seconds, "outcomes": outcomes}

    def standing(self) -> dict[str, Any]:
        """All of it as JSON has it, for `status` and displays."""
        return {
            "pid": os.getpid(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "running_s": round(time.monotonic() - self.began, 1),
            "ids": self.ids,
            "done_before": self.done_before,
            "planned": self.planned,
            "deferred": self.deferred,
            "ends_at": self.ends_at.isoformat(timespec="seconds") if self.ends_at else None,
            "done": self.done,
            "calls": self.calls,
            "repeated": self.repeated,
            "throttled": self.throttled,
            "in_flight": self.in_flight,
            "allowed_in_flight": self.allowed_in_flight,
            "durable": self.durable,
            "calls_per_s": self.rate(),
            "calls_per_s_now": self.rate_now(),
            "allowed_per_s": self.allowed_per_s,
            "eta_s": self.eta_s(),
            "latency_p50_ms": self.latency_ms(0.5),
            "latency_p95_ms": self.latency_ms(0.95),
            "disk_free_bytes": self.disk_free,
            "disk_used_bytes": max(0, self.disk_free_before - self.disk_free),
            "outcomes": {one.word: self.outcomes[one] for one in VERDICTS if self.outcomes[one]},
        }

    def to_json(self) -> bytes:
        """The same as bytes."""
        return json.dumps(self.standing()).encode()

    def latency_ms(self, share: float) -> float | None:
        """The latency below which `share` of the last calls were."""
        ordered = sorted(self.latencies_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000 if ordered else None
