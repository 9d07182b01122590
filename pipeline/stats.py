"""What a night counts and times while it runs. The journal, not this, is what sums are made from."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.outcome import Outcome

LATENCIES_KEPT = 1000


@dataclass
class Tally:
    """Counts of the running process, for the progress line and `status`."""

    planned: int = 0  # IDs to ask in this run, as far as can be foreseen
    deferred: int = 0  # due IDs that are foreseen to be left for another night
    ends_at: datetime | None = None  # when the fetch is foreseen to end
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    calls: int = 0
    repeated: int = 0  # calls that had to be made again
    throttled: int = 0  # 429s among them
    in_flight: int = 0
    allowed_in_flight: int = 0  # what the pace needs at the API's latency (fetch/concurrency.py)
    durable: int = 0  # journal records that survive a power loss
    began: float = field(default_factory=time.monotonic)
    latencies_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    @property
    def done(self) -> int:
        """IDs with a verdict in this run."""
        return sum(self.outcomes.values())

    def rate(self) -> float:
        """Calls per second since the run began."""
        return self.calls / max(1e-9, time.monotonic() - self.began)

    def mean_latency_s(self) -> float | None:
        """Of the last calls; None before the first."""
        return sum(self.latencies_us) / len(self.latencies_us) / 1e6 if self.latencies_us else None

    def eta_s(self) -> float | None:
        """Seconds until all planned IDs are done at the pace so far; None while nothing is known."""
        elapsed = time.monotonic() - self.began
        return max(0, self.planned - self.done) * elapsed / self.done if self.done else None

    def sums(self) -> dict[str, object]:
        """What the run amounts to so far, for an event."""
        seconds = round(time.monotonic() - self.began, 1)
        outcomes = {outcome.word: count for outcome, count in self.outcomes.items() if count}
        calls = {"calls": self.calls, "repeated": self.repeated, "throttled": self.throttled}
        return {"done": self.done, **calls, "seconds": seconds, "outcomes": outcomes}

    def to_json(self) -> bytes:
        """The counts, for `status`."""
        counts = {
            "pid": os.getpid(),
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
            "eta_s": self.eta_s(),
            "latency_p50_ms": self.latency_ms(0.5),
            "latency_p95_ms": self.latency_ms(0.95),
            "outcomes": {outcome.word: count for outcome, count in self.outcomes.items()},
        }
        return json.dumps(counts).encode()

    def latency_ms(self, share: float) -> float | None:
        """The latency below which `share` of the last calls were."""
        ordered = sorted(self.latencies_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000 if ordered else None
