"""A wall clock that jumps, and a machine that sleeps: no ID lost or doubled, the limits hold for the server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from pipeline.sandbox.judge import busiest
from tests import snapshot
from tests.conftest import Home, calls_seen, running_sandbox
from tests.death.conftest import needs_compiler
from tests.death.disk import Disk
from tests.death.nights import FIRST, finish, journalled_calls, start

CUSTOMERS = 240
LIMIT = 60
"""Calls in any second."""
LATENESS = 1.1
"""A server that shares two cores with everything else sees calls later than they came, and so closer together."""
HOUR = 3600.0

pytestmark = [pytest.mark.timeout(120), needs_compiler]


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    """A server that answers slowly and counts every second."""
    config = SandboxConfig(
        customers=CUSTOMERS,
        cached_bodies=CUSTOMERS,
        day=FIRST,
        faults="latency=60ms",
    )
    with running_sandbox(config) as sandbox:
        yield sandbox


@pytest.fixture
def home(tmp_path: Path, strict: Sandbox) -> Home:
    """A night of some four seconds."""
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home", strict.url)
    home.settings["api"] |= {"embed": [], "params": {}, "timeout_s": 1.0}
    home.settings["quota"] = {"limits": [{"calls": LIMIT, "per_s": 1}], "max_in_flight": 12}
    home.settings["window"] = {"timezone": "UTC"}
    home.write_ids(known_ids(CUSTOMERS))
    home.save()
    return home


def disk_of(home: Home, now: datetime) -> Disk:
    """The file layer, with the clock at that moment."""
    disk = Disk(home.root, home.root.parent / "beside")
    disk.set_clock((now - datetime.now(UTC)).total_seconds())
    return disk


def begin(home: Home, disk: Disk) -> subprocess.Popen[str]:
    """Tonight, whichever night that is by the clock."""
    return start(home, None, disk, module="pipeline")


def wait_for_calls(sandbox: Sandbox, calls: int, process: subprocess.Popen[str]) -> None:
    while calls_seen(sandbox) < calls:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def every_id_once(home: Home) -> list[dict[str, Any]]:
    rows = snapshot.rows(home.export, "outcomes")
    assert sorted(row["customer_id"] for row in rows) == sorted(known_ids(CUSTOMERS))
    assert {row["outcome"] for row in rows} & {"failed", "deferred"} == set()
    return rows


EVENING = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param((6.0, 0.0), marks=pytest.mark.long),
        (-6.0, 0.0),
        pytest.param((30.0, -30.0), marks=pytest.mark.long),
    ],
)
def test_a_clock_that_jumps_changes_nothing_but_the_times_told(
    home: Home, strict: Sandbox, jumps: tuple[float, float]
) -> None:
    """Hours forward, hours back, past midnight: one night, each ID once, the limit holds, times are the clock's."""
    disk = disk_of(home, EVENING)
    first, second = jumps
    process = begin(home, disk)
    ahead = (EVENING - datetime.now(UTC)).total_seconds()
    wait_for_calls(strict, 80, process)
    disk.set_clock(ahead + first * HOUR)
    wait_for_calls(strict, 160, process)
    disk.set_clock(ahead + second * HOUR)
    ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    rows = every_id_once(home)
    assert {row["_night"] for row in rows} == {FIRST}, "the night keeps the date on which it began"
    offsets = {round((row["_fetched_at"] - EVENING) / timedelta(hours=1)) for row in rows}
    assert offsets == {0, round(first), round(second)}
    assert busiest(strict.judge.arrivals, 1.0) <= LIMIT * LATENESS
    assert calls_seen(strict) == snapshot.manifest(home.export)["calls"]["made"]


@pytest.mark.parametrize("jump", [6.0, pytest.param(-6.0, marks=pytest.mark.long)])
def test_a_night_killed_after_a_jump_is_gone_on_with(home: Home, strict: Sandbox, jump: float) -> None:
    """Answers from the future, or hours old all at once, are answers: only what was not durable is asked again."""
    disk = disk_of(home, EVENING)
    process = begin(home, disk)
    wait_for_calls(strict, 100, process)
    disk.set_clock((EVENING - datetime.now(UTC)).total_seconds() + jump * HOUR)
    wait_for_calls(strict, 130, process)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    time.sleep(1.1)  # what was in flight when it died stands in no journal: the window passes
    disk.set_clock((EVENING - datetime.now(UTC)).total_seconds())
    ended = finish(begin(home, disk))
    assert ended.returncode == 0, ended.stderr
    assert {row["_night"] for row in every_id_once(home)} == {FIRST}
    journalled = sum(journalled_calls(home, FIRST).values())
    assert calls_seen(strict) - journalled <= 12 + 2 * LIMIT
    assert busiest(strict.judge.arrivals, 1.0) <= LIMIT * LATENESS


@pytest.mark.long
def test_answers_from_a_far_future_are_not_fresh_for_ever(home: Home, strict: Sandbox) -> None:
    """A clock that was a month ahead when a night died: the next night asks again."""
    disk = disk_of(home, EVENING + timedelta(days=-1))
    process = begin(home, disk)
    wait_for_calls(strict, 60, process)
    disk.set_clock((EVENING - datetime.now(UTC)).total_seconds() + 30 * 24 * HOUR)
    wait_for_calls(strict, 140, process)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    before = calls_seen(strict)
    disk.set_clock((EVENING - datetime.now(UTC)).total_seconds())
    ended = finish(begin(home, disk))
    assert ended.returncode == 0, ended.stderr
    assert calls_seen(strict) - before >= CUSTOMERS, (
        "a day old, or of a month that has not come: both are asked again"
    )
    every_id_once(home)


@pytest.mark.long
def test_a_snapshot_made_after_the_clock_went_back_is_still_the_newest(home: Home, strict: Sandbox) -> None:
    """Names sort by time, and retention and rollback go by them: a clock that was ahead must not turn them around."""
    home.settings["output"] = {"keep_snapshots": 1, "grace": 0}
    home.save()
    disk = disk_of(home, EVENING + timedelta(hours=3))
    assert finish(start(home, FIRST, disk, module="pipeline")).returncode == 0
    older = snapshot.manifest(home.export)["snapshot"]
    disk.set_clock((EVENING - datetime.now(UTC)).total_seconds())
    home.write_ids([*known_ids(CUSTOMERS), 900_000_001])
    assert finish(start(home, FIRST, disk, module="pipeline")).returncode == 0
    newer = snapshot.manifest(home.export)["snapshot"]
    assert newer > older
    assert [path.name for path in (home.export / "snapshots").iterdir()] == [newer]


@pytest.mark.long
def test_a_machine_that_sleeps_goes_on_where_it_was(home: Home, strict: Sandbox) -> None:
    """Both processes stopped for seconds: calls in flight time out and are made again, nobody fails, no burst."""
    disk = disk_of(home, EVENING)
    process = begin(home, disk)
    for calls in (60, 150):
        wait_for_calls(strict, calls, process)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGCONT)
    ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    every_id_once(home)
    assert busiest(strict.judge.arrivals, 1.0) <= LIMIT * LATENESS
