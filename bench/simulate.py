"""Whole nights by a clock that is moved, not waited for: does the plan say what the night does?

The pool, the quota, the breaker and the plan are the program's own. The API and the journal are a few lines each, in
memory. `python -m bench.simulate` prints a table and writes it to bench/PLAN.md; `--short` takes fewer IDs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from bench.stepped import SteppedLoop, clocks_of
from bench.tables import machine, markdown, write_table
from pipeline.config import QuotaConfig
from pipeline.errors import StoppedError
from pipeline.fetch.auth import Auth
from pipeline.fetch.breaker import Breaker, BreakerPolicy
from pipeline.fetch.client import CallError, Client, Question, Reply
from pipeline.fetch.handoff import Handoff
from pipeline.fetch.limits import ByCalendar
from pipeline.fetch.outcomes import Trouble
from pipeline.fetch.pool import Pool, Tools
from pipeline.fetch.quota import Quota
from pipeline.fetch.retry import RetryPolicy
from pipeline.plan import Learned, Plan, make_plan, replanned
from pipeline.plan.allowance import Allowance
from pipeline.stats import Tally

START = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
TIMERS_ARE_LATE_S = 0.0005


@dataclass(frozen=True)
class Night:
    """What is simulated. Shares are of calls; the outage is in seconds after the start."""

    name: str
    ids: int
    quota: dict[str, Any]
    window_h: float | None = None
    latency_s: float = 0.2
    failing: float = 0.0  # 503s
    partial: float = 0.0  # answers that are asked for once more
    outage: tuple[float, float] = (0.0, 0.0)

    @property
    def config(self) -> QuotaConfig:
        """The quota, as the config has it."""
        return QuotaConfig.model_validate(self.quota)


class Api(Client):
    """Answers after some time; fails by its dice."""

    def __init__(self, night: Night, seed: int) -> None:
        self._night = night
        self._rng = random.Random(seed)
        self._began = time.monotonic()
        self.calls = 0

    async def get(
        self,
        question: Question,
        headers: dict[str, str],
        on_sent: Callable[[bool], None] | None = None,
        offset: int | None = None,
        on_heard: Callable[[], None] | None = None,
    ) -> Reply:
        """One answer, or one failure."""
        self.calls += 1
        if on_sent is not None:
            on_sent(False)
        latency = self._night.latency_s * self._rng.uniform(0.5, 1.5)
        await asyncio.sleep(latency)
        first, last = self._night.outage
        if first <= time.monotonic() - self._began < last:
            raise CallError(Trouble.CONNECT, "the host is away", int(latency * 1e6))
        if on_heard is not None:
            on_heard()
        status, body = self._answer(question.customer_id)
        return Reply(status, body, "", "", int(latency * 1e6), time.time_ns() // 1000)

    def _answer(self, customer_id: int) -> tuple[int, bytes]:
        dice = self._rng.random()
        if dice < self._night.failing:
            return 503, b""
        warned = dice < self._night.failing + self._night.partial
        warnings = b'[{"code":8062,"message":"points are away"}]' if warned else b"[]"
        return 200, b'{"id":%d,"errors":[],"warnings":%s}' % (customer_id, warnings)


class Journal(Handoff):
    """Takes everything, keeps nothing."""

    def __init__(self) -> None:
        pass

    def add(self, packed: bytes, records: int = 1) -> bool:
        """Durable at once: no frame is ever full."""
        return False


NO_HEADERS: dict[str, str] = {}


class Till(Auth):
    """Lets everybody in."""

    def at_hand(self) -> dict[str, str] | None:
        """None that would have to be asked for."""
        return NO_HEADERS

    async def headers(self) -> dict[str, str]:
        """None."""
        return NO_HEADERS

    async def renew(self, used: dict[str, str]) -> bool:
        """Never needed."""
        return False


@dataclass
class Ended:
    """How a simulated night ended. `looks` are the live forecasts: how many verdicts each foresaw."""

    verdicts: int
    calls: int
    seconds: float
    took_s: float
    looks: list[int] = field(default_factory=list)


def simulate(night: Night, plan: Plan, seed: int = 1) -> Ended:
    """Fetch for all IDs until the window ends."""
    began = time.perf_counter()
    loop = SteppedLoop(TIMERS_ARE_LATE_S)
    try:
        with clocks_of(loop, START):
            ended = loop.run_until_complete(_fetch(night, plan, seed))
    finally:
        loop.close()
    ended.took_s = time.perf_counter() - began
    return ended


async def _fetch(night: Night, plan: Plan, seed: int) -> Ended:
    tally, loop, looks = Tally(), asyncio.get_running_loop(), list[int]()
    began = loop.time()
    tools = _tools(night, tally, seed)
    tools.quota.ends_at = began + night.window_h * 3600 if night.window_h else float("inf")
    pool = Pool(tools, night.config.max_in_flight)
    pool._gate._clock = time.monotonic  # the stepped one: its own was bound before
    if night.window_h:
        loop.call_later(night.window_h * 3600, pool.stop, StoppedError("The window has closed.", ""))
    looking = loop.create_task(_look_now_and_then(night, plan, tally, looks))
    try:
        await pool.run(map(Question, range(1, night.ids + 1)))
    except StoppedError:
        pass
    finally:
        looking.cancel()
    return Ended(tally.done, tally.calls, loop.time() - began, 0.0, looks)


async def _look_now_and_then(night: Night, plan: Plan, tally: Tally, looks: list[int]) -> None:
    """As a running night does: twenty forecasts on the way."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(plan.seconds_needed / 20)
        elapsed = time.monotonic() - began
        allowance = _allowance(
            night, tally.mean_latency_s() or 0.0, START + timedelta(seconds=elapsed), tally.calls
        )
        looks.append(replanned(plan, allowance, done=tally.done, calls=tally.calls).asked)


def _tools(night: Night, tally: Tally, seed: int) -> Tools:
    return Tools(
        client=Api(night, seed),
        auth=Till(),
        quota=Quota(
            ByCalendar(night.config, None),
            time.monotonic,
            wall=lambda: datetime.fromtimestamp(time.time(), UTC),
        ),
        handoff=Journal(),
        breaker=Breaker(BreakerPolicy(limit_s=3600.0), time.monotonic),
        retry=RetryPolicy(5, 120.0),
        tally=tally,
        rng=random.Random(seed),
    )


def planned(night: Night, learned: Learned) -> Plan:
    """What the plan says before the first call."""
    ends = START + timedelta(hours=night.window_h) if night.window_h else None
    allowance = _allowance(night, learned.latency_s, START)
    return make_plan(
        ids=night.ids, due=night.ids, limit=None, allowance=allowance, window_ends=ends, learned=learned
    )


def _allowance(night: Night, latency_s: float, start: datetime, calls: int = 0) -> Allowance:
    """What may be called from `start` on, `calls` having been made evenly since the night began."""
    most = night.config.max_in_flight / latency_s if latency_s else float("inf")
    ages = np.linspace((start - START).total_seconds(), 0.0, calls)
    return Allowance(night.config, None, start, ages, most)


def nights(ids: int) -> list[Night]:
    """The nights that are simulated, for so many IDs: the window is as long as half of them need, or all fit."""
    fast = {"limits": [{"calls": 6000}], "max_in_flight": 64}
    half_h = ids / 2 / 360_000
    by_hour = [{"from": "20:05", "to": "04:00", "limits": [{"calls": 12_000}]}]
    return [
        Night("all fit", ids, fast),
        Night("half of them fit the window", ids, fast, half_h),
        Night("one call in twenty fails, one answer in fifty is partial", ids, fast, half_h, 0.2, 0.05, 0.02),
        Night("a slow API: 2 s a call, 64 in flight", ids // 2, fast, ids / 4 / 115_200, 2.0),
        Night("twice as fast from 20:05 to 04:00", ids, {**fast, "calendar": by_hour}, ids / 2 / 420_000),
        Night(
            "a day's budget", ids, {"limits": [{"calls": 6000}, {"calls": ids // 3, "per_s": "1d"}]}, half_h
        ),
        Night("20 minutes' outage that nobody foresaw", ids, fast, half_h * 1.5, outage=(600.0, 1800.0)),
    ]


def learned_from(night: Night) -> Learned:
    """What a smaller night before this one took."""
    before = replace(night, ids=max(2000, night.ids // 20), window_h=None, outage=(0.0, 0.0))
    ended = simulate(before, planned(before, Learned()), seed=7)
    return Learned(calls_per_id=ended.calls / ended.verdicts, latency_s=night.latency_s)


def row_of(night: Night) -> tuple[list[str], float]:
    """A night in the table, and by how much the plan was off, as a share."""
    plan = planned(night, learned_from(night))
    ended = simulate(night, plan)
    off = max(abs(ended.verdicts / plan.asked - 1), abs(ended.seconds / plan.seconds_needed - 1))
    live = [abs(look / ended.verdicts - 1) for look in ended.looks[len(ended.looks) // 2 :]]
    cells = [
        night.name,
        f"{night.ids:,}",
        f"{plan.asked:,}",
        f"{ended.verdicts:,}",
        f"{plan.seconds_needed / 3600:.2f} h",
        f"{ended.seconds / 3600:.2f} h",
        f"{off:.1%}",
        f"{max(live, default=0.0):.1%}",
        f"{ended.took_s:.0f} s",
    ]
    return cells, off


HEADS = ("night", "IDs", "planned", "asked", "planned end", "end", "off by", "live forecasts of the second half off by",
         "simulated in")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate all nights. Exit code 1 where the plan of a night without surprises was off by more than 5 %."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__)
    parser.add_argument("--ids", type=int, default=1_000_000)
    chosen = parser.parse_args(arguments)
    found = [(night, *row_of(night)) for night in nights(chosen.ids)]
    about = (
        f"`make simulate`: {machine('aiolimiter')}. The plan is made from what a smaller night before took."
    )
    table = markdown(HEADS, [cells for _, cells, _ in found])
    write_table("PLAN.md", "Plan and simulated nights", about, table)
    return int(any(off > 0.05 for night, _, off in found if night.outage == (0.0, 0.0)))


if __name__ == "__main__":
    raise SystemExit(main())
