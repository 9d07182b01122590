"""What a night learns for the next one's plan, and whom it asks first, end to end against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.night import Options, Result, Screen, plan_night, run_night
from pipeline.night.learned import measure
from pipeline.plan import Plan
from pipeline.processes import peak_bytes
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.ledger import read_ledger
from pipeline.store.snapshots import open_snapshots
from pipeline.store.workspace import Workspace
from tests import snapshot
from tests.conftest import Home, calls_seen

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)


def go(home: Home, night: date = ONE, **options: object) -> Result:
    return run_night(home.config(), Options(night=night, **options), Screen())  # type: ignore[arg-type]


def plan_of(home: Home, night: date = TWO, **flags: object) -> Plan:
    return plan_night(home.config(**flags), Options(night=night))


def asked_on(home: Home, night: date) -> set[int]:
    rows = snapshot.rows(home.export, "outcomes")
    return {row["customer_id"] for row in rows if row["_night"] == night and row["outcome"] != "deferred"}


def test_the_second_nights_plan_knows_what_the_first_took(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Calls an ID, latency, bytes and memory are those of the night before, not guesses."""
    sandbox = start_sandbox(faults="500=20%, latency=20ms")
    home.settings["api"]["host"] = sandbox.url
    home.write_ids(known_ids(300))
    home.save()
    before = plan_of(home, ONE)
    assert (before.calls_per_id, before.calls_needed) == (1.0, 300)
    go(home)
    after = plan_of(home)
    assert after.calls_per_id == pytest.approx(calls_seen(sandbox) / 300)
    assert after.calls_per_id > 1.15
    assert after.calls_needed == pytest.approx(300 * after.calls_per_id, abs=1)
    measured = Workspace(home.work).night(ONE).state().measured  # type: ignore[union-attr]
    assert measured is not None
    assert measured.latency_us >= 20_000
    assert after.calls_per_s <= 16 / 0.020 + 1
    assert after.disk_bytes == pytest.approx(measured.night_bytes + measured.snapshot_bytes, rel=0.01)
    assert after.memory_bytes == pytest.approx(measured.memory_bytes, rel=0.01)


def test_a_nights_memory_is_that_of_the_step_that_takes_most(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Two processes have their largest size in the fetch, one has it in the merge: what they never had at the same time
    is not added up.
    """
    home.settings["api"]["host"] = start_sandbox().url
    home.write_ids(known_ids(300))
    home.save()
    snapshots, folder = open_snapshots(home.config()), Workspace(home.work).night(ONE)
    go(home)
    live, ledger = snapshots.current(), read_ledger(folder.parts)
    assert live is not None
    for fetch_bytes, most in ((0, peak_bytes()), (1 << 40, 1 << 40)):
        found = measure(folder, ledger, snapshots.manifest(live.snapshot), 300, fetch_bytes)
        assert found.memory_bytes == pytest.approx(most, rel=0.05)


def test_a_night_too_short_for_all_ends_publishable_and_the_next_asks_the_others_first(home: Home) -> None:
    """Whoever was left over, and a newcomer, are asked before those who have just answered."""
    home.settings["quota"]["limits"] = [{"calls": 5, "per_s": 1}]
    home.settings["quota"]["max_in_flight"] = 4
    home.settings["plan"] = {"order": "oldest"}
    home.write_ids(known_ids(50))
    home.save()
    began = datetime.now(UTC)
    closing = (began + timedelta(seconds=7)).time().replace(tzinfo=None)
    home.settings["window"] = {"timezone": "UTC"}
    home.save()
    first = go(home, until=closing)
    assert first.stopped is not None
    assert first.live
    reached = asked_on(home, ONE)
    assert 0 < len(reached) < 50
    home.write_ids([*known_ids(50), known_ids(60)[-1]])
    left = {*known_ids(50), known_ids(60)[-1]} - reached
    go(home, TWO, limit=len(left))
    assert asked_on(home, TWO) >= left


def test_the_lists_own_order_is_kept_where_it_is_asked_for(home: Home, sandbox: Sandbox) -> None:
    """`plan.order: input`: whoever sorts the CSV says who comes first, new or not."""
    home.settings["plan"] = {"order": "input"}
    home.write_ids(known_ids(20))
    home.save()
    go(home)
    home.write_ids([*known_ids(20)[5:10], *known_ids(40)[30:]])
    go(home, TWO, limit=5)
    assert asked_on(home, TWO) == set(known_ids(20)[5:10])


def test_a_running_night_tells_when_it_will_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` reads it from the night's folder; here it looks ahead at every tick."""
    monkeypatch.setattr("pipeline.night.asking.LOOK_AHEAD_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.night.asking.PROGRESS_EVERY_S", 0.0)
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": 1}]
    home.write_ids(known_ids(40))
    home.save()
    go(home)
    progress = json.loads(Workspace(home.work).night(ONE).progress.read_bytes())
    assert datetime.fromisoformat(progress["ends_at"]) > datetime(2026, 1, 1, tzinfo=UTC)
    assert progress["planned"] == 40
    assert progress["deferred"] == 0


def test_the_calendar_and_the_reserve_are_in_the_plan(home: Home) -> None:
    """Half of the limit is for others: the same IDs take twice as long."""
    home.settings["quota"]["limits"] = [{"calls": 600, "per_s": 60}]
    home.save()
    whole, half = plan_of(home), plan_of(home, quota__reserved_share=0.5)
    assert half.seconds_needed == pytest.approx(2 * whole.seconds_needed)
    home.settings["quota"]["calendar"] = [{"from": "00:00", "to": "00:00", "limits": [{"calls": 6000}]}]
    home.save()
    assert plan_of(home).seconds_needed == pytest.approx(whole.seconds_needed / 10)


@pytest.mark.long
def test_calls_of_a_killed_start_count_against_the_quota(home: Home, sandbox: Sandbox) -> None:
    """kill -9 takes the calls that were not durable yet; started again at once, no window holds one too many."""
    home.settings["quota"]["limits"] = [{"calls": 60, "per_s": 4}]
    home.write_ids(known_ids(150))
    home.save()
    words = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        str(home.config_path),
        "--night",
        "2026-11-21",
        "--quiet",
    ]
    process = subprocess.Popen(words, cwd=Path(__file__).parent.parent, start_new_session=True)
    while calls_seen(sandbox) < 40:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert subprocess.run(words, cwd=Path(__file__).parent.parent, check=False).returncode == 0
    assert sandbox.judge.busiest(4.0) <= 60


def test_a_budget_that_is_used_up_ends_the_night_at_once_and_publishes(home: Home, sandbox: Sandbox) -> None:
    """No waiting for tomorrow: what was answered is live, the rest is deferred, and the exit code says so (3)."""
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": "1d"}]
    home.save()
    began = time.monotonic()
    result = go(home)
    assert time.monotonic() - began < 60
    assert result.stopped is not None
    assert "used up" in result.stopped.message
    assert result.live
    assert calls_seen(sandbox) == 20
    assert snapshot.manifest(home.export)["outcomes"]["deferred"] >= 30
