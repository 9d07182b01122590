"""`status` from a second shell: a night that runs, that died, that was stopped; and what the terminal shows."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from pipeline.outcome import Outcome
from pipeline.sandbox import Sandbox, known_ids
from pipeline.screen import display, one_line
from pipeline.stats import Tally
from pipeline.status import bytes_text, duration_text, status_of
from pipeline.store.workspace import NightState, Workspace
from tests.conftest import Home
from tests.test_cli import ROOT, command, slow, start, wait_for_calls

__all__ = ["slow"]


def status(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command("status", home.config_path, "--json").stdout)
    return found


def test_a_running_night_is_shown_whole(home: Home, slow: Sandbox) -> None:
    """How far, how fast against the quota, in flight, latency, outcomes, end, disk: from files, while it runs."""
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": 1}]
    home.save()
    process = start("run", home.config_path)
    try:
        wait_for_calls(slow, 60)
        found, said = status(home), command("status", home.config_path).stdout
    finally:
        process.kill()
        process.communicate()
    night = found["nights"][0]
    progress = night["progress"]
    assert (found["process"], night["is_running"], night["step"]["step"]) == (process.pid, True, "fetching")
    assert (progress["planned"], progress["ids"], progress["allowed_per_s"]) == (400, 400, 20.0)
    assert 0 < progress["done"] == sum(progress["outcomes"].values()) < 400
    assert 0 < progress["calls_per_s_now"] <= 22
    assert progress["latency_p95_ms"] >= progress["latency_p50_ms"] >= 100
    assert progress["heard_s"] < 60
    assert 0 < progress["disk_free_bytes"] <= found["disk"]["total_bytes"]
    assert datetime.fromisoformat(progress["ends_at"]) > datetime.now(UTC) - timedelta(minutes=1)
    for words in (
        "fetching since",
        "of 400 IDs",
        "a minute of 1,200 allowed",
        "in flight of",
        "95 % under",
        "left",
    ):
        assert words in said, said


def test_a_night_that_died_tells_how_far_it_had_come(home: Home, slow: Sandbox) -> None:
    """After kill -9: interrupted, nobody at work, the last counts with their age, and no forecast of an end."""
    process = start("run", home.config_path)
    wait_for_calls(slow, 150)
    process.kill()
    process.communicate()
    found, said = status(home), command("status", home.config_path).stdout
    night = found["nights"][0]
    assert (found["running"], night["is_running"], night["state"]) == (False, False, "interrupted")
    assert night["progress"]["planned"] == 400
    assert "last heard of" in said
    assert "of 400 IDs" in said
    assert "a minute" not in said
    assert "`run` goes on" in said


def test_a_stopped_night_keeps_its_last_counts_and_the_next_run_begins_anew(
    home: Home, slow: Sandbox
) -> None:
    """The counts are those at the stop, to the last call; while another run reads, nobody's old ones are shown."""
    process = start("run", home.config_path)
    wait_for_calls(slow, 100)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    night = status(home)["nights"][0]
    assert (night["state"], night["reason"]) == ("stopped", "Stopped by SIGTERM.")
    assert night["progress"]["calls"] == night["progress"]["durable"] == len(slow.judge.arrivals)
    folder = Workspace(home.work).night(date.fromisoformat(night["night"]))
    with Workspace(home.work).lock():
        now = datetime.now(UTC).isoformat()
        folder.step.write_text(json.dumps({"step": "reading", "since": now, "pid": os.getpid()}))
        night = status_of(home.config())["nights"][0]
    assert (night["is_running"], night["step"]["step"], night["progress"]) == (True, "reading", None)


def test_a_process_number_that_came_again_makes_no_dead_night_alive(home: Home) -> None:
    """In a container each run has the same number: only the newest note of it is the run's."""
    workspace = Workspace(home.work)
    for night, since in (
        (date(2026, 11, 21), "2026-11-21T01:00:00"),
        (date(2026, 11, 22), "2026-11-22T01:00:00"),
    ):
        folder = workspace.night(night).make()
        folder.save(NightState(night=night, started_at=f"{since}+00:00", state="fetching"))
        folder.step.write_text(json.dumps({"step": "fetching", "since": since, "pid": os.getpid()}))
    with workspace.lock():
        states = [(one["is_running"], one["state"]) for one in status_of(home.config())["nights"]]
    assert states == [(True, "fetching"), (False, "interrupted")]


@pytest.mark.long
def test_another_command_at_work_is_no_running_night(home: Home) -> None:
    """`rollback` holds the workspace, too."""
    home.write_ids(known_ids(3))
    command("run", home.config_path)
    with Workspace(home.work).lock():
        found, said = status(home), command("status", home.config_path).stdout
    assert found["running"]
    assert not found["nights"][0]["is_running"]
    assert f"held by process {os.getpid()}" in said


def test_an_export_that_does_not_answer_hides_no_night(home: Home) -> None:
    """The nights are told all the same; the trouble is named, and the exit code is the storage's."""
    home.write_ids(known_ids(3))
    command("run", home.config_path)
    (home.export / "current.json").unlink()
    (home.export / "current.json").mkdir()
    done = command("status", home.config_path)
    assert done.returncode == 7
    assert "Live: not known" in done.stdout
    assert "published" in done.stdout


def test_half_a_file_of_progress_is_none(home: Home) -> None:
    """It is written without a sync: after a power loss anything may be in it."""
    folder = Workspace(home.work).night(date(2026, 11, 22)).make()
    folder.save(NightState(night=folder.night, started_at="2026-11-22T01:00:00+00:00", state="fetching"))
    for text in ("", "{", "[]", '"x"', "{}"):
        folder.progress.write_text(text)
        folder.step.write_text(text)
        assert status_of(home.config())["nights"][0]["progress"] is None


def tally() -> Tally:
    found = Tally(
        planned=5000, deferred=20, calls=123_400, in_flight=16, allowed_in_flight=24, allowed_per_s=50 / 3
    )
    found.outcomes = Counter({Outcome.EXPORTED: 1000, Outcome.PARTIAL: 200, Outcome.FAILED: 3})
    found.began -= 9000  # so long ago that a stall of this machine does not show in the pace
    found.latencies_us.extend(range(80_000, 120_000, 400))
    found.disk_free, found.disk_free_before = 40_000_000_000, 41_200_000_000
    found.ends_at = datetime.now(UTC) + timedelta(hours=3)
    return found


def test_the_terminal_shows_everything_at_once() -> None:
    """One look: done of planned, outcomes, pace against the quota, in flight, latency, end, disk."""
    console = Console(file=io.StringIO(), width=110, force_terminal=True)
    console.print(display(tally()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "1,203 of 5,000 IDs (24%), 20 left for another night",
        "1,000 exported, 200 partial, 3 failed",
        "823 calls a minute of 1,000 allowed (82%)",
        "16 in flight of 24",
        "half under 100 ms, 95 % under 118 ms",
        "in 3.0 hours",
        "40.0 GB left, 1.2 GB used since the start",
    ):
        assert words in shown, shown


def test_the_line_of_a_minute_says_the_same_in_short() -> None:
    """Elsewhere than on a terminal."""
    told = one_line(tally())
    assert told.startswith("1,203 of 5,000 IDs (24%), 20 left for another night done; 823 calls a minute")
    assert "16 in flight; ends about" in told


def test_a_run_on_a_terminal_draws_and_leaves_lines_behind(home: Home, slow: Sandbox) -> None:
    """A real terminal: the display comes and goes, the steps stay."""
    home.write_ids(known_ids(150))
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--json"]
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=follower, text=True, cwd=ROOT, env=environ
    ) as run:
        os.close(follower)
        shown = _read_all(leader)
        assert run.stdout is not None
        result = json.loads(run.stdout.read())
    assert result["published"]
    for words_shown in (
        "reading the IDs",
        "of 150 IDs",
        "in flight of",
        "fetched 150 of 150",
        "building the snapshot",
    ):
        assert words_shown in shown, shown
    assert "Traceback" not in shown


def _read_all(descriptor: int) -> str:
    pieces = []
    try:
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
    except OSError:  # the other end has closed
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode()


def test_the_rate_now_is_the_last_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night that was slow for hours and is quick now says how quick it is now."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    found = Tally(began=1000.0)
    for second in range(0, 600, 5):
        now = 1000.0 + second
        found.calls += 5 if second < 500 else 50
        found.sample()
    assert found.rate_now() == pytest.approx(10.0, rel=0.1)
    assert found.rate() < 3


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        (duration_text, 3, "3 seconds"),
        (duration_text, 119, "119 seconds"),
        (duration_text, 150, "2 minutes"),
        (duration_text, 10_800, "3.0 hours"),
        (duration_text, 864_000, "10.0 days"),
        (bytes_text, 1_234, "1 kB"),
        (bytes_text, 2_500_000, "2.5 MB"),
        (bytes_text, 3_200_000_000, "3.2 GB"),
    ],
)
def test_numbers_come_in_the_unit_people_use(shown: Callable[[float], str], value: float, text: str) -> None:
    """Nobody reads 10,800 seconds."""
    assert shown(value) == text
