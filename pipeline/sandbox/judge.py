"""What the server saw: every arrival, so that a client's promise about its pace can be checked exactly."""

from array import array
from collections import Counter
from collections.abc import Sequence


def busiest(arrivals: Sequence[float], window_s: float) -> int:
    """The most arrivals in any window of this length, wherever it starts. Two arrivals exactly one window
    apart never share one. Arrivals are in order."""
    most = start = 0
    for end, moment in enumerate(arrivals):
        while moment - arrivals[start] >= window_s:
            start += 1
        most = max(most, end - start + 1)
    return most


class Judge:
    """Keeps the arrival of every customer call, refused ones too, and counts what became of them.

    Time is time.monotonic(), in the server's process."""

    def __init__(self, customers: int, window_s: float, limit: int) -> None:
        self.window_s = window_s
        self.limit = limit  # calls per window; 0 is no limit
        self.arrivals = array("d")  # of all customer calls
        self.admitted = array("d")  # of those that the quota let through
        self.statuses: Counter[str] = Counter()  # by HTTP status, or "cut", "reset", "gone" (client left)
        self.faults: Counter[str] = Counter()  # by name of the fault that struck
        self.token_calls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._by_number = array("I", bytes(4 * customers))  # calls for each customer of the base
        self._by_stranger: Counter[int] = Counter()  # calls for IDs outside it
        self._distinct = 0
        self._most_calls = 0

    def arrive(self, now: float) -> None:
        """A customer call came in."""
        self.arrivals.append(now)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def leave(self, outcome: str) -> None:
        """A customer call is answered, or its end is known."""
        self.in_flight -= 1
        self.statuses[outcome] += 1

    def asked_for(self, customer: int, k: int | None) -> None:
        """A call named this customer."""
        if k is None:
            self._by_stranger[customer] += 1
            calls = self._by_stranger[customer]
        else:
            calls = self._by_number[k] = self._by_number[k] + 1
        self._distinct += calls == 1
        self._most_calls = max(self._most_calls, calls)

    def calls_for(self, customer: int, k: int | None) -> int:
        """How many calls named this customer."""
        return self._by_stranger[customer] if k is None else self._by_number[k]

    def busiest(self, window_s: float | None = None) -> int:
        """The most arrivals in any sliding window; of the quota's length if none is given."""
        return busiest(self.arrivals, window_s or self.window_s)

    def report(self) -> dict[str, object]:
        """All of it, for /sandbox/judge."""
        most = self.busiest()
        return {
            "calls": len(self.arrivals),
            "admitted": len(self.admitted),
            "statuses": dict(sorted(self.statuses.items())),
            "faults": dict(sorted(self.faults.items())),
            "customers": self._distinct,
            "most_calls_per_customer": self._most_calls,
            "token_calls": self.token_calls,
            "window_s": self.window_s,
            "limit": self.limit,
            "busiest": most,
            "busiest_admitted": busiest(self.admitted, self.window_s),
            "used_share": most / self.limit if self.limit else None,
            "first_arrival": self.arrivals[0] if self.arrivals else None,
            "last_arrival": self.arrivals[-1] if self.arrivals else None,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }
