"""An outage is the server's trouble, not an ID's: the night pauses and asks with one call at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BreakerPolicy:
    """When the API is taken to be down, and when to be back.

    Down: after `threshold` failures in a row, or when `open_share` of the last `last` IDs that were asked for the
    first time failed. An API that fails as often gives few answers for the quota, and its IDs would spend their
    attempts on its trouble. Only first attempts count there: IDs that fail for their own sake, however often they are
    asked, weigh no more than their number.

    Back: after failures in a row, with the first answer. After a share of failures one answer proves little, and
    those to calls from before say nothing new: then it takes `close_after` answers in a row to calls made since.

    An outage may last `limit_s` from when the first failed call was made.
    """

    threshold: int = 20
    limit_s: float = 900.0
    never_reached_limit_s: float = 10.0  # when not one answer ever came: a wrong host, not an outage
    first_probe_s: float = 0.5
    max_probe_s: float = 15.0
    last: int = 50
    open_share: float = 0.6
    close_after: int = 5


class Breaker:
    """Plain bookkeeping of what comes back; the workers do the waiting.

    `took_s` is for how long the call was under way: a failure after 30 s of silence says that nobody has listened for
    30 s, and an answer to a call from before an outage says nothing of its end.
    """

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._failures = 0  # in a row
        self._since = 0.0  # when the first of them was asked
        self._answered_at = float("-inf")
        self._last: deque[bool] = deque(maxlen=policy.last)  # first attempts: whether they failed
        self._flaky_since: float | None = None  # when the share of failures became too high
        self._close_after = 0  # answers still to come until it is low again
        self._is_doubted = False
        self._probes = 0
        self._throttled_since: float | None = None
        self._reached = False
        self.last_reason = ""
        self.answers = 0  # in all

    @property
    def is_open(self) -> bool:
        """Whether the API is taken to be down."""
        threshold = self._policy.threshold if self._reached else min(3, self._policy.threshold)
        return self._failures >= threshold or self._flaky_since is not None or self._is_doubted

    def answered(self, took_s: float = 0.0, *, is_first: bool = True) -> None:
        """A call was answered: the API is there."""
        self._failures = self._probes = 0
        self._throttled_since = None
        self._is_doubted = False
        self._reached = True
        self._answered_at = self._clock()
        self.answers += 1
        self._note(False, is_first)
        if self._flaky_since is not None and self._clock() - took_s >= self._flaky_since:
            self._close_after -= 1
            if self._close_after <= 0:
                self._flaky_since = None
                self._last.clear()

    def throttled(self, reason: str) -> None:
        """A call was turned away for being too many: an answer of a kind, but not for ever."""
        self._failures = self._probes = 0
        self._is_doubted = False
        if self._throttled_since is None:
            self._throttled_since = self._clock()
        self.last_reason = reason

    def failed(self, reason: str, took_s: float = 0.0, *, is_first: bool = True) -> None:
        """A call failed for the server's fault."""
        if self._failures == 0:
            self._since = max(self._clock() - took_s, self._answered_at)
        self._failures += 1
        self._note(True, is_first)
        self._close_after = self._policy.close_after
        self.last_reason = reason
        if self._flaky_since is None and self._fails_too_often():
            self._flaky_since = self._clock()

    def doubted(self) -> None:
        """Even an ID that was answered before fails now: the API is down, however few failures there were."""
        self._is_doubted = True

    def _note(self, has_failed: bool, is_first: bool) -> None:
        if is_first:
            self._last.append(has_failed)

    def _fails_too_often(self) -> bool:
        is_full = self._reached and len(self._last) == self._policy.last
        return is_full and sum(self._last) >= self._policy.open_share * self._policy.last

    def probe_wait_s(self) -> float:
        """How long to wait before the next single call; longer each time."""
        self._probes += 1
        return min(self._policy.max_probe_s, self._policy.first_probe_s * 1.5 ** (self._probes - 1))

    def has_lasted_too_long(self) -> bool:
        """Whether the API has been down, or has turned every call away, for longer than the limit."""
        if self._throttled_since is not None:
            return self._clock() - self._throttled_since > self._policy.limit_s
        limit = self._policy.limit_s if self._reached else self._policy.never_reached_limit_s
        since = self._since if self._flaky_since is None else min(self._since, self._flaky_since)
        return self.is_open and self._clock() - since > limit
