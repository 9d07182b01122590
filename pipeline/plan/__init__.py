"""Who is asked tonight, in which order, and when it ends. Plain arithmetic on IDs, quota and window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pipeline.plan.allowance import Allowance

A_CENTURY_S = 100 * 365 * 86_400
"""Later than this no end is told: calendars end before some quotas do."""


@dataclass(frozen=True)
class Learned:
    """What the last nights took; before the first, what is usual."""

    calls_per_id: float = 1.0  # retries, second looks and pages of user groups counted in
    latency_s: float = 0.0  # 0: not known
    night_bytes_per_id: float = 4_000.0  # journal and parts of an ID asked for
    snapshot_bytes_per_id: float = 2_000.0  # of an ID in the snapshot
    memory_bytes: float = 240e6  # of all processes at the same time, before the first ID
    merge_bytes: float = 170e6  # of the first one, which merges alone


ROW_GROUP_BYTES_PER_ID, ROW_GROUPS_BYTES = 200.0, 80e6
"""Until the tables' row groups are full, each ID takes so much; then all take so much together."""
MEMORY_BYTES_PER_ID = 20.0
"""And of the columns of IDs that a step looks at, in the fetch, too."""


def growth_bytes(ids: int) -> float:
    """How much more memory the merge of so many IDs takes than one of none."""
    return min(ids * ROW_GROUP_BYTES_PER_ID, ROW_GROUPS_BYTES) + ids * MEMORY_BYTES_PER_ID


@dataclass(frozen=True)
class Plan:
    """What tonight can cover. `fits` is None where no window ends the night."""

    ids: int
    done: int
    due: int
    asked: int
    calls_per_s: float
    calls_per_id: float
    calls_needed: int
    seconds_needed: float
    fits: int | None
    ends_at: datetime
    window_ends: datetime | None
    disk_bytes: int
    memory_bytes: int

    @property
    def deferred(self) -> int:
        """IDs that this plan leaves for another night."""
        return self.due - self.asked


def make_plan(
    *,
    ids: int,
    due: int,
    limit: int | None,
    allowance: Allowance,
    window_ends: datetime | None,
    learned: Learned | None = None,
    known: int = 0,
) -> Plan:
    """The plan for `due` of `ids` IDs. `limit` caps how many are asked; `known` are in the snapshot already."""
    learned = learned or Learned()
    wanted = due if limit is None else min(due, limit)
    fits = None
    if window_ends is not None:
        calls = allowance.calls_until(window_ends)
        fits = due if math.isinf(calls) else int(calls / learned.calls_per_id + 1e-6)
    asked = wanted if fits is None else min(wanted, fits)
    calls_needed = math.ceil(asked * learned.calls_per_id)
    needed = allowance.seconds_for(calls_needed)
    return Plan(
        ids=ids,
        done=ids - due,
        due=due,
        asked=asked,
        calls_per_s=calls_needed / needed if needed else allowance.pace(),
        calls_per_id=learned.calls_per_id,
        calls_needed=calls_needed,
        seconds_needed=needed,
        fits=fits,
        ends_at=allowance.start.astimezone(UTC) + timedelta(seconds=min(needed, A_CENTURY_S)),
        window_ends=window_ends,
        disk_bytes=round(
            asked * learned.night_bytes_per_id + max(ids, known) * learned.snapshot_bytes_per_id
        ),
        memory_bytes=_memory_bytes(learned, max(ids, known)),
    )


def _memory_bytes(learned: Learned, ids: int) -> int:
    """What the fetch takes with two processes, or the merge with one, whichever is more: they never meet."""
    fetch = learned.memory_bytes + ids * MEMORY_BYTES_PER_ID
    return round(max(fetch, learned.merge_bytes + growth_bytes(ids)))


def replanned(plan: Plan, allowance: Allowance, *, done: int, calls: int, limit: int | None = None) -> Plan:
    """The plan as a running night has it, after so many verdicts and calls: what is left, at the rate of repeats seen.

    The plan's own rate weighs as much as the first thousand verdicts.
    """
    seen = (calls + plan.calls_per_id * 1000) / (done + 1000)
    left = make_plan(
        ids=plan.ids,
        due=max(0, plan.due - done),
        limit=None if limit is None else max(0, limit - done),
        allowance=allowance,
        window_ends=plan.window_ends,
        learned=Learned(calls_per_id=seen),
    )
    fits = None if left.fits is None else left.fits + done
    return replace(
        left,
        done=plan.done,
        due=plan.due,
        asked=left.asked + done,
        fits=fits,
        disk_bytes=plan.disk_bytes,
        memory_bytes=plan.memory_bytes,
    )
