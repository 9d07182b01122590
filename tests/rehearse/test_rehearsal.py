"""Rehearsals as users run them: what they foresee, and that nothing of them stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.tree import tree_of
from pipeline.cli import main
from pipeline.night import Options, Screen, run_night
from pipeline.rehearse.climate import Climate
from pipeline.sandbox import SandboxConfig, known_ids
from pipeline.store.ledger import calls_parts
from pipeline.store.parts import read_part
from pipeline.store.workspace import Workspace
from tests.conftest import Home, calls_seen, running_sandbox
from tests.notify.servers import until
from tests.rehearse.test_climate import DAY
from tests.test_cli import ROOT, command

IDS = 200


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file beneath, when it was written and what is in it."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def seconds_of_fetch(home: Home) -> float:
    """From the first call of the real night to its last answer."""
    (folder,) = Workspace(home.work).nights()
    times = [
        batch.column("fetched_at").to_numpy() - batch.column("latency_us").to_numpy()
        for path in calls_parts(folder.parts)
        for batch in read_part(path, ["fetched_at", "latency_us"])
    ]
    found = np.concatenate(times) / 1e6
    return float(found.max() - found.min())


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, int, dict[str, Any]]]:
    """A real night at 20 calls a second with failing calls, and tomorrow's rehearsal of it.

    Meanwhile the workspace is locked, the password is gone and the API is away.
    """
    root = tmp_path_factory.mktemp("learned")
    quiet = replace(SandboxConfig(customers=500), faults="latency=60ms±40ms, 503=4%", day=DAY)
    with running_sandbox(quiet) as server:
        home = Home(root, server.url)
        home.settings["quota"] = {"limits": [{"calls": 100, "per_s": 5}], "max_in_flight": 16}
        home.settings["retry"] = {"max_wait_s": 0.5}
        home.settings["notify"] = [{"on": ["published"], "command": ["touch", str(root / "told")]}]
        home.write_ids(known_ids(IDS))
        home.save()
        assert run_night(home.config(), Options(night=DAY), Screen()).live
        calls = calls_seen(server)
    (root / "password").unlink()
    temporary = tmp_path_factory.mktemp("temporary")
    with Workspace(home.work).lock():
        before = tree(root)
        done = command("rehearse", home.config_path, "--json", "--speed", 2, TMPDIR=str(temporary))
        assert tree(root) == before
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    yield home, calls, json.loads(done.stdout)


def test_a_rehearsal_foresees_the_calls_and_the_end(learned: tuple[Home, int, dict[str, Any]]) -> None:
    """The same list, quota and faults as the night it learned from: so the same calls, and no other order of time.

    How near the time comes is measured, by `make bench-rehearse`: a busy machine would make this test fail.
    """
    home, calls, found = learned
    took = seconds_of_fetch(home)
    rehearsed, plan = found["rehearsed"], found["plan"]
    assert rehearsed["asked"] == IDS
    assert rehearsed["calls"] == pytest.approx(calls, rel=0.1)
    assert rehearsed["seconds_needed"] == pytest.approx(took, rel=0.7)
    assert plan["seconds_needed"] == pytest.approx(rehearsed["seconds_needed"], rel=0.7)
    assert rehearsed["tables_at"] >= rehearsed["ends_at"]


def test_a_rehearsal_measures_memory_and_disk(learned: tuple[Home, int, dict[str, Any]]) -> None:
    """Both processes' peak, as the real night had it; and the real night's bytes for each ID."""
    home, _, found = learned
    (folder,) = Workspace(home.work).nights()
    state = folder.state()
    assert state is not None
    assert state.measured is not None
    assert found["sample"]["memory_bytes"] > 100e6
    assert found["rehearsed"]["disk_bytes"] == pytest.approx(found["plan"]["disk_bytes"], rel=0.05)
    assert found["sample"]["disk_bytes"] > 0
    assert found["sample"]["speed"] == 2
    assert found["last_nights"]["nights"] == 1
    assert found["last_nights"]["faults"]["503"] > 0


def test_a_rehearsal_of_a_first_night_says_what_it_assumes(home: Home, tmp_path: Path) -> None:
    """No workspace, no secret, an API that is away, OAuth: it rehearses all the same, and leaves no trace."""
    auth = {"kind": "oauth", "key": "k", "secret_env": "NOT_SET_HERE"}
    home.settings["api"] |= {"host": "https://away.invalid", "auth": auth, "source": "ALL"}
    home.save()
    before = tree(home.root)
    done = command("rehearse", home.config_path, "--ids", 200, "--speed", 20)
    assert done.returncode == 0, done.stderr
    assert "Assumed, as no night has been yet: latency 50%" in done.stdout
    for line in ("asked tonight", "fetched until", "memory", "disk"):
        assert line in done.stdout
    assert tree(home.root) == before


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        signal.SIGTERM,
        pytest.param(signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_nothing_is_left_of_a_rehearsal_that_is_stopped(home: Home, tmp_path: Path, number: int) -> None:
    """Ctrl-C in the middle: no process, no folder. After kill -9 the folder goes with the next rehearsal."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = [sys.executable, "-m", "pipeline", "rehearse", str(home.config_path), "--ids", "2000"]
    words += ["--speed", "1", "--set", "quota.limits=[{calls: 60, per_s: 60}]"]
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)})
    assert until(lambda: list(temporary.glob("*/work/*/progress.json")), 60)
    family = tree_of(process.pid)
    assert len(family) >= 4
    process.send_signal(number)
    assert process.wait(20) == (3 if number != signal.SIGKILL else -signal.SIGKILL)
    assert until(lambda: not any(_is_alive(pid) for pid in family))
    if number == signal.SIGKILL:
        assert len(list(temporary.iterdir())) == 1
        again = command("rehearse", home.config_path, "--ids", 200, "--speed", 20, TMPDIR=str(temporary))
        assert again.returncode == 0, again.stderr
    assert list(temporary.iterdir()) == []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_too_small_a_disk_is_exit_code_7(
    home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The figures are shown first; cron and people then see that tonight will not fit."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("pipeline.rehearse.rehearsal.shutil.disk_usage", lambda _path: usage)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        ended = main(["rehearse", str(home.config_path), "--ids", "200", "--speed", "20", "--json"])
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)
    assert ended == 7
    out, err = capfd.readouterr()
    assert json.loads(out)["rehearsed"]["disk_fits"] is False
    assert "0.0 GB are free" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "25:00"], "--at 25:00: give a time of day as HH:MM"),
        (["--ids", "5"], "200"),
        (["--set", "ids.paths=['-']"], "IDs from standard input cannot be rehearsed"),
    ],
)
def test_wrong_use_is_told_before_anything_is_started(home: Home, words: list[str], said: str) -> None:
    """Exit code 2, and what would be right."""
    done = command("rehearse", home.config_path, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_climate_without_nights_has_no_sizes() -> None:
    """The sandbox's own answers are as long as they are."""
    assert "pad" not in Climate().fault_plan(1)
