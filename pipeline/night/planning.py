"""What tonight is to ask for, and in which order: from the lists, the journal and what is known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.night.known import knowledge_for
from pipeline.night.learned import learn
from pipeline.night.listing import Ints, askable, list_ids, listed_ids
from pipeline.night.tonight import Night
from pipeline.normalize.aside import read_set_aside
from pipeline.plan import Learned, Plan, make_plan, replanned
from pipeline.plan.allowance import PACED_S, Allowance
from pipeline.plan.order import in_order
from pipeline.plan.window import window_end
from pipeline.stats import Tally
from pipeline.store.columns import column_of, let_go, scratch_in, slices, united
from pipeline.store.idsets import without
from pipeline.store.knowledge import Knowledge
from pipeline.store.ledger import Ledger, call_times_since, read_ledger
from pipeline.store.workspace import NightFolder


def list_tonight(night: Night) -> Ledger:
    """Read the CSVs; gives the calls made so far. Raises UsageError, StorageError."""
    ledger = read_ledger(night.folder.parts)
    known = night.state.ids if night.state.listed else None
    counts = list_ids(night.config.ids, night.folder, ledger.customer_ids, known)
    night.save(ids=counts, listed=True)
    night.tell("ids.read", **counts.model_dump())
    return ledger


def plan_tonight(night: Night, ledger: Ledger) -> tuple[Ints, Plan]:
    """Who is due, in the order to ask, and how many of them the window is going to reach.

    All of them are in the order: the plan is a forecast, and the night goes on until the window's end. Only `--limit`
    cuts it.
    """
    listed, scratch = listed_ids(night.folder), scratch_in(night.folder.root)
    answered = done(night, ledger)
    left = (without(listed[one], answered) for one in slices(len(listed)))
    due = askable(column_of(left, scratch), night.folder)
    let_go()
    knowledge = knowledge_for(night)
    plan = forecast(night, len(listed), len(due), len(knowledge))
    return ordered(night, due, knowledge)[: night.options.limit], plan


def ordered(night: Night, due: Ints, knowledge: Knowledge) -> Ints:
    """The due IDs, those first whose answers are worth most."""
    scratch = scratch_in(night.folder.root)
    return in_order(due, knowledge, night.config.plan, night.options.now(), scratch)


def forecast(night: Night, ids: int, due: int, known: int, learned: Learned | None = None) -> Plan:
    """The plan for `due` of `ids` IDs, by what the last nights took, or by what is said to be learned."""
    learned = learned or learn(night.workspace)
    return make_plan(
        ids=ids,
        due=due,
        limit=night.options.limit,
        allowance=_allowance(night, learned, spent(night)),
        window_ends=window_ends(night),
        learned=learned,
        known=known,
    )


def live_forecast(night: Night, plan: Plan, tally: Tally) -> Callable[[], Plan]:
    """Plans again from what a running night has seen; each call of the function given looks anew."""
    began, before = night.options.now(), spent(night)

    def look() -> Plan:
        elapsed = (night.options.now() - began).total_seconds()
        seen = Learned(latency_s=tally.mean_latency_s() or 0.0)
        calls = np.linspace(elapsed, 0.0, tally.calls) if _has_budget(night) else np.empty(0)
        allowance = _allowance(night, seen, np.concatenate([before + elapsed, calls]))
        return replanned(plan, allowance, done=tally.done, calls=tally.calls, limit=night.options.limit)

    return look


def _allowance(night: Night, learned: Learned, ages: npt.NDArray[Any]) -> Allowance:
    """What may be called from now on: the quota, and what the calls in flight let through at the latency known."""
    quota, now = night.config.quota, night.options.now().astimezone(UTC)
    most = quota.max_in_flight / learned.latency_s if learned.latency_s else float("inf")
    return Allowance(quota, night.zone, now, ages, most)


def done(night: Night, ledger: Ledger) -> Ints:
    """Who needs no call, sorted: answered tonight, or by a night that died, not too long ago."""
    now, fresh_for = night.options.now(), timedelta(seconds=night.config.retry.fresh_for)
    began = datetime.fromisoformat(night.state.started_at)
    answered = ledger.done(_micros(min(began, now - fresh_for)), _micros(max(began, now) + fresh_for))
    aside = read_set_aside(night.folder.parts)  # tonight they would only kill once more
    if not aside:
        return answered
    killing = np.array([one.customer_id for one in aside], np.int64)
    return united([answered, killing], ledger.scratch)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def window_ends(night: Night) -> datetime | None:
    """When this night may call no more; None without a window."""
    until = night.options.until or night.config.window.until
    return window_end(datetime.fromisoformat(night.state.started_at), until, night.zone)


def second_looks(night: Night, ledger: Ledger, plan: Plan) -> Ints:
    """Partial answers that an earlier start had no time to ask for once more; `--limit` counts them too."""
    again = askable(ledger.partial_once(), night.folder)
    if plan.window_ends is not None and night.options.now() >= plan.window_ends:
        return again[:0]
    limit = night.options.limit
    return again if limit is None else again[: max(0, limit - plan.asked)]


def spent(night: Night) -> npt.NDArray[Any]:
    """Ages in seconds of the calls that count against the quota still, the oldest first: tonight's earlier starts',
    last night's."""
    now = night.options.now().timestamp()
    longest = max((limit.per_s for limit in _every_limit(night)), default=0.0)
    since = int((now - longest - 1.0) * 1e6)
    times = [call_times_since(folder.parts, since) for folder in _not_taken_along(night)]
    ages: npt.NDArray[Any] = now - np.sort(np.concatenate([np.empty(0, np.int64), *times])) / 1e6
    unseen = [np.full(calls, monotonic() - moment) for moment, calls in night.unseen]
    return np.sort(np.concatenate([ages, *unseen]))[::-1]


def _not_taken_along(night: Night) -> list[NightFolder]:
    """The nights whose calls are their own still: those of a night that was taken along stand in its taker's folder."""
    return [
        one
        for one in night.workspace.nights()
        if (state := one.state()) is None or state.state != "taken along"
    ]


def _every_limit(night: Night) -> list[Any]:
    quota = night.config.quota
    return [*quota.limits, *chain.from_iterable(hours.limits for hours in quota.calendar)]


def _has_budget(night: Night) -> bool:
    return any(limit.per_s > PACED_S for limit in _every_limit(night))
