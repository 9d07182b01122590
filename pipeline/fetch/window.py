"""The proof that no window of the server's holds one call too many: when calls left, and how late they may arrive."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.fetch.limits import Limit

NEVER = -math.inf
SLACK_SHARE, SLACK_SHARE_OF_FEW, FEW = 0.004, 0.002, 20
"""By so much every window is kept longer; by less where it holds fewer calls, of which late timers cost more."""
MOST_SLACK_S = 10.0
POLL_S = 0.005
"""How often to look again while a call that had its turn long ago is still under way."""

Ages = Sequence[float] | npt.NDArray[Any]
"""Ages of calls in seconds, the oldest first: a list, an array('d') or a numpy array."""


class Departures:
    """When the last `capacity` calls had their turns, in order: one log, in which every limit looks back as far as
    it reaches. So a limit that begins to hold knows of the calls before it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._times = array("d")  # a ring, once it is full
        self.count = 0  # of all turns so far

    def add_ages(self, ages: Ages, now: float) -> None:
        """Calls that were made before, by an earlier start."""
        kept = np.asarray(ages, dtype=np.float64)[max(0, len(ages) - self._capacity) :]
        times = np.maximum.accumulate(now - np.maximum(0.0, kept))
        self._times.frombytes(times.tobytes())
        self.count = len(kept)

    def add(self, now: float) -> None:
        """A call has its turn."""
        if len(self._times) < self._capacity:
            self._times.append(now)
        else:
            self._times[self.count % self._capacity] = now
        self.count += 1

    def back(self, calls: int) -> float:
        """When the call had its turn that is so many turns ago; `NEVER` where there were not as many."""
        return self._times[(self.count - calls) % self._capacity] if calls <= self.count else NEVER


class Sent(NamedTuple):
    """A call that was sent: when it had its turn, when it left."""

    number: int
    turn_at: float
    sent_at: float


@dataclass
class OnTheWay:
    """Calls that the server may not have seen yet."""

    unsent: dict[int, float] = field(default_factory=dict)  # turn's number -> its time; the oldest first
    unheard: OrderedDict[int, Sent] = field(
        default_factory=OrderedDict
    )  # sent, no answer since; the oldest first
    alone: dict[int, Sent] = field(default_factory=dict)  # the same, on connections that are new


class Window:
    """One limit's proof: a call may leave when fewer than `calls` others can lie in one window with it.

    We know when a call left; the server counts when it arrives. Two calls may therefore be closer together there
    than here, by what the first was later on its way than the second. Three things keep the limit all the same:

    * `slack_s`: every window is kept a little longer than it is, by 0.4 % (ten seconds at most). By half of it any
      call may be later than it seems, by the other half calls may change places on their way.
    * Doubt. Calls arrive in the order they were sent, but for what the slack is for; so the first answer to a call, or
      to any that was sent after it, proves that it has arrived. When that took longer than usual, it may have arrived
      late by the difference, and counts for so much longer. A stall of the network, of the server or of our own loop
      is thus paid once, by the calls that it met, instead of by a slack for the worst case in every window.
    * A call that was not sent yet, or not heard of at all, counts however long ago it had its turn. So does one on a
      new connection until its own answer: the server has to accept that first, and may read later calls before it.

    The price is 0.4 % of the calls for the slack, and for the doubt the mean by which answers are heard of later than
    usual, as a share of the window: an API whose latency is uneven by 5 ms costs a limit by the second 0.5 %, and one
    by the minute nothing to speak of. At high paces it is less, because the next calls' answers tell. The limit goes
    first: where much is stalled less is used. What is not covered: one call that is held up by itself (its packet
    was lost) while later ones pass it may arrive late unseen. The server tells by a 429.
    """

    def __init__(self, limit: Limit, departures: Departures, on_the_way: OnTheWay) -> None:
        self.limit = limit
        share = SLACK_SHARE if limit.calls >= FEW else SLACK_SHARE_OF_FEW
        self.slack_s = min(MOST_SLACK_S, share * limit.per_s)
        self.usual_s = self.least_s = 0.0  # latency: what it takes longer to hear of a call is doubt
        self.since, self.until = NEVER, math.inf  # of the fixed window that is now, where there is one
        self._departures = departures
        self._on_the_way = on_the_way
        # Heap: from when a call counts once more, until when, and whether the usual latency is to be taken off.
        self._doubts: list[tuple[float, float, bool]] = []
        self._late: list[float] = []  # heap of the same ends, once begun

    def opens_at(self, now: float) -> float:
        """The clock's time from which one more call keeps the limit, as far as is known now."""
        if self.limit.starts_anew:
            is_used_up = self._departures.back(self.limit.calls) >= self.since
            return self.until if is_used_up else NEVER
        late, under_way = self._still_late(now), self._still_under_way(now)
        room = self.limit.calls - late - under_way
        opens_at = self._departures.back(room) + self._length_s if room > 0 else math.inf
        if late:
            opens_at = min(opens_at, self._late[0])
        return min(opens_at, now + POLL_S) if under_way and opens_at > now else opens_at

    def sent(self, call: Sent) -> None:
        """A call was sent only now: it is late already."""
        self._doubt(call.turn_at, call.sent_at, False)

    def heard(self, call: Sent, took_s: float) -> None:
        """It took so long to hear that a call has arrived: what is more than usual it may have been late.

        What is usual is known best when it matters: when the call's turn leaves the window. Till then only those are
        kept that may be late by then; the others' lateness takes up half of the slack.
        """
        if took_s - self.least_s > self.slack_s / 2:
            self._doubt(max(call.turn_at, call.sent_at), call.sent_at + took_s, True)

    def _doubt(self, counts_from: float, ends: float, has_latency: bool) -> None:
        """A call that is taken to have arrived at `counts_from` may have arrived as late as `ends`."""
        if ends > counts_from:
            heappush(self._doubts, (counts_from + self._length_s, ends + self._length_s, has_latency))

    @property
    def _length_s(self) -> float:
        return self.limit.per_s + self.slack_s

    def _still_late(self, now: float) -> int:
        """How many calls have left the window by their turns, but may have arrived in it."""
        while self._doubts and self._doubts[0][0] <= now:
            _, ends, has_latency = heappop(self._doubts)
            heappush(self._late, ends - self.usual_s if has_latency else ends)
        while self._late and self._late[0] <= now:
            heappop(self._late)
        return len(self._late)

    def _still_under_way(self, now: float) -> int:
        """How many calls have left the window by their turns, but may not even have arrived."""
        before = now - self._length_s
        unsent = _count_until(before, self._on_the_way.unsent.values())
        if self.usual_s >= self.limit.per_s:  # an answer takes longer than the window: silence means nothing
            return unsent
        return (
            unsent
            + _count_sent(before, self._on_the_way.unheard)
            + _count_sent(before, self._on_the_way.alone)
        )


def _count_until(moment: float, ordered: Iterable[float]) -> int:
    count = 0
    for one in ordered:
        if one > moment:
            break
        count += 1
    return count


def _count_sent(moment: float, sent: Mapping[int, Sent]) -> int:
    """How many had their turns until then; for every turn of every call it is asked, and mostly there is none."""
    count = 0
    for call in sent.values():
        if call.turn_at > moment:
            break
        count += 1
    return count
