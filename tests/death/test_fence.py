"""An answer that kills the normalizer: found, set aside, told; the night goes on, and every later one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.normalize.aside import REASON_CODE
from pipeline.sandbox import Sandbox, known_ids
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.death.nights import FIRST, ROOT, SECOND, children, journalled_calls

POISON = Path(__file__).with_name("poison")
CUSTOMERS = 250
VICTIMS = ("aborts", "also_aborts", "raises")

pytestmark = [pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory, steady_sandbox: Sandbox) -> list[int]:
    """Three customers who give a full answer."""
    home = a_home(tmp_path_factory.mktemp("victims"), steady_sandbox)
    assert program(home, "run", "--night", FIRST).returncode == 0
    rows = snapshot.rows(home.export, "outcomes")
    exported = sorted(row["customer_id"] for row in rows if row["outcome"] == "exported")
    return [exported[20], exported[21], exported[-5]]


def a_home(root: Path, sandbox: Sandbox) -> Home:
    home = Home(root, sandbox.url)
    home.settings["api"] |= {"embed": ["segments"], "params": {"includedFraudDetails": True}}
    home.write_ids(known_ids(CUSTOMERS))
    home.save()
    return home


def environ(victims: list[int]) -> dict[str, str]:
    """Two whose answers abort the process, one whose answer raises."""
    first, second, third = victims
    aborts = {"POISON_ABORTS": f"{first},{second}", "POISON_RAISES": str(third)}
    by_hand = {"CAPILLARY_KERNEL": "off"}  # the poison stands in what looks at an answer first, by hand
    return {**os.environ, **aborts, **by_hand, "PYTHONPATH": os.pathsep.join([str(POISON), str(ROOT)])}


def program(
    home: Home, command: str, *words: object, env: dict[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A command of the program, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", command, str(home.config_path), *map(str, words)],
        capture_output=True,
        text=True,
        env=env or dict(os.environ),
        cwd=ROOT,
        timeout=120,
        **more,
    )


def outcomes(home: Home) -> dict[int, dict[str, Any]]:
    return {row["customer_id"]: row for row in snapshot.rows(home.export, "outcomes")}


def test_answers_that_kill_the_normalizer_are_set_aside_and_the_night_is_published(
    tmp_path: Path, steady_sandbox: Sandbox, victims: list[int]
) -> None:
    """One `run` ends with 0: those answers are `failed` with the reason, all others are rows, each ID once."""
    home = a_home(tmp_path, steady_sandbox)
    done = program(home, "run", "--night", FIRST, env=environ(victims))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Jane Doe" not in done.stderr + done.stdout
    assert "kill the normalizer" in done.stderr
    found = outcomes(home)
    assert len(found) == CUSTOMERS
    failed = {one: found[one]["reason"] for one in victims}
    assert all(found[one]["outcome"] == "failed" for one in victims)
    assert all(found[one]["reason_code"] == REASON_CODE for one in victims)
    assert [("SIGABRT" in reason, "KeyError" in reason) for reason in failed.values()] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    customers = {row["customer_id"] for row in snapshot.rows(home.export, "customers")}
    assert not customers & set(victims)
    others = [row for one, row in found.items() if one not in victims]
    assert all(row["outcome"] != "failed" for row in others)
    assert all(found[one]["body_bytes"] > 100 for one in victims)


@pytest.mark.long
def test_a_rebuild_and_a_second_run_give_the_same_tables_and_make_no_call(
    tmp_path: Path, steady_sandbox: Sandbox, victims: list[int]
) -> None:
    """What was set aside is remembered: nobody is asked again tonight, and the tables stay as they are."""
    home = a_home(tmp_path, steady_sandbox)
    assert program(home, "run", "--night", FIRST, env=environ(victims)).returncode == 0
    tables, calls = snapshot.all_rows(home.export), calls_seen(steady_sandbox)
    again = program(home, "run", "--night", FIRST, env=environ(victims))
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stderr
    assert program(home, "rebuild", "--night", FIRST, env=environ(victims)).returncode == 0
    assert snapshot.all_rows(home.export) == tables
    assert calls_seen(steady_sandbox) == calls
    shutil.rmtree(home.work / FIRST.isoformat() / "parts")
    assert program(home, "rebuild", "--night", FIRST).returncode == 0, (
        "without the poison, but it is remembered"
    )
    assert snapshot.all_rows(home.export) == tables


@pytest.mark.long
def test_the_next_night_asks_again_and_the_last_good_rows_stay(
    tmp_path: Path, steady_sandbox: Sandbox, victims: list[int]
) -> None:
    """A failure never replaces an answer: the rows of the night before are still there."""
    home = a_home(tmp_path, steady_sandbox)
    assert program(home, "run", "--night", FIRST).returncode == 0
    assert program(home, "run", "--night", SECOND, env=environ(victims)).returncode == 0
    customers = {row["customer_id"]: row["_night"] for row in snapshot.rows(home.export, "customers")}
    assert {customers[one] for one in victims} == {FIRST}
    assert {outcomes(home)[one]["_night"] for one in victims} == {SECOND}


@pytest.mark.long
def test_another_version_tries_them_again(
    tmp_path: Path, steady_sandbox: Sandbox, victims: list[int]
) -> None:
    """Their bodies are in the journal: a program that can read them needs no call."""
    home = a_home(tmp_path, steady_sandbox)
    assert program(home, "run", "--night", FIRST, env=environ(victims)).returncode == 0
    path = home.work / FIRST.isoformat() / "set_aside.json"
    remembered = json.loads(path.read_text())
    assert sorted(one["customer_id"] for one in remembered["answers"]) == sorted(victims)
    path.write_text(json.dumps({"answers": [{**one, "version": "0.0"} for one in remembered["answers"]]}))
    calls = calls_seen(steady_sandbox)
    assert program(home, "rebuild", "--night", FIRST).returncode == 0
    assert {outcomes(home)[one]["outcome"] for one in victims} == {"exported"}
    assert calls_seen(steady_sandbox) == calls


def test_a_second_process_that_is_killed_costs_no_second_run(tmp_path: Path, steady_sandbox: Sandbox) -> None:
    """kill -9 of the second process alone: the night takes another one, and nothing acknowledged is lost."""
    home = a_home(tmp_path, steady_sandbox)
    steady_sandbox.faults = "latency=30ms"
    try:
        words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--night", FIRST.isoformat()]
        before = calls_seen(steady_sandbox)
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while calls_seen(steady_sandbox) - before < 60:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        said = process.communicate(timeout=60)
    finally:
        steady_sandbox.faults = ""
    assert process.returncode == 0, said
    assert len(outcomes(home)) == CUSTOMERS
    journalled = journalled_calls(home, FIRST)
    assert sum(journalled.values()) == len(journalled)
    assert snapshot.manifest(home.export)["calls"]["made"] == len(journalled)
