"""How late a call may have reached the server, told from how long nothing was heard of it."""

from __future__ import annotations

from array import array

KEPT = 200
SPACING_S = 0.05
"""So many latencies say what is usual, taken so far apart: a stall of a moment is not usual, however many it met."""
FEW = 20
QUICK_SHARE = 0.01
"""So many may be quicker than usual: a refusal is, and says nothing of the way."""


class Latencies:
    """The last latencies in seconds, and the one that a call has which is not late."""

    def __init__(self) -> None:
        self._kept = array("d")
        self._seen = 0
        self._last_at = float("-inf")
        self.least_s = float("inf")  # of all so far

    def add(self, now: float, seconds: float) -> bool:
        """Note one; whether it was taken, and what is usual may be another."""
        if now - self._last_at < SPACING_S:
            return False
        self._last_at = now
        self.least_s = min(self.least_s, seconds)
        if len(self._kept) < KEPT:
            self._kept.append(seconds)
        else:
            self._kept[self._seen % KEPT] = seconds
        self._seen += 1
        return True

    def usual_s(self) -> float:
        """See `usual_latency_s`."""
        return usual_latency_s(self._kept)


def usual_latency_s(latencies: array[float]) -> float:
    """The latency above which a call may have arrived late, by the difference: of the quickest in a hundred.

    What the API's own work takes longer for one customer than for another is thus taken for lateness, too. That costs
    a limit by the second its mean in milliseconds, a limit by the minute next to nothing; but whoever tells the two
    apart by their size lets calls that a busy server saw late pass as slow ones. As long as they are few it is 0,
    and a call counts until its answer: the first ones wait for more than any other.
    """
    if len(latencies) < FEW:
        return 0.0
    return sorted(latencies)[int(QUICK_SHARE * len(latencies))]
