"""An outage is the server's trouble, not an ID's: the night pauses and asks with one call at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BreakerPolicy:
    """After `threshold` failures in a row the breaker opens; an outage may last `limit_s`."""

    threshold: int = 20
    limit_s: float = 900.0
    never_reached_limit_s: float = 10.0  # when not one answer ever came: a wrong host, not an outage
    first_probe_s: float = 0.5
    max_probe_s: float = 15.0


class Breaker:
    """Plain bookkeeping of what comes back; the workers do the waiting."""

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._failures = 0  # in a row
        self._since = 0.0  # of the first of them
        self._probes = 0
        self._throttled_since: float | None = None
        self._reached = False
        self.last_reason = ""
        self.answers = 0  # in all

    @property
    def is_open(self) -> bool:
        """Whether the API is taken to be down."""
        threshold = self._policy.threshold if self._reached else min(3, self._policy.threshold)
        return self._failures >= threshold

    def answered(self) -> None:
        """A call was answered: the API is there."""
        self._failures = self._probes = 0
        self._throttled_since = None
        self._reached = True
        self.answers += 1

    def throttled(self, reason: str) -> None:
        """A call was turned away for being too many: an answer of a kind, but not for ever."""
        self._failures = self._probes = 0
        if self._throttled_since is None:
            self._throttled_since = self._clock()
        self.last_reason = reason

    def failed(self, reason: str) -> None:
        """A call failed for the server's fault."""
        if self._failures == 0:
            self._since = self._clock()
        self._failures += 1
        self.last_reason = reason

    def probe_wait_s(self) -> float:
        """How long to wait before the next single call; longer each time."""
        self._probes += 1
        return min(self._policy.max_probe_s, self._policy.first_probe_s * 1.5 ** (self._probes - 1))

    def has_lasted_too_long(self) -> bool:
        """Whether the API has been down, or has turned every call away, for longer than the limit."""
        limit = self._policy.limit_s if self._reached else self._policy.never_reached_limit_s
        if self._throttled_since is not None:
            return self._clock() - self._throttled_since > self._policy.limit_s
        return self.is_open and self._clock() - self._since > limit
