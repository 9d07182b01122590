"""Events on stderr: lines that a log shipper can take, quiet where nobody asked, and never a night's end."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.events import EVENTS
from pipeline.log import Log, masked
from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import known_ids
from pipeline.screen import Screens
from tests.conftest import Home
from tests.test_cli import ROOT, command


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_are_all_that_stands_on_stderr(home: Home) -> None:
    """Each line is an object that begins with when, how loud and what; stdout has the result, as ever."""
    done = command("run", home.config_path, "--log-format", "json", "--json")
    assert done.returncode == 0, done.stderr
    found = lines(done.stderr)
    assert [list(one)[:3] for one in found] == [["timestamp", "level", "event"]] * len(found)
    assert all(EVENTS[one["event"]].level == one["level"] for one in found)
    assert found[-2]["event"] == "snapshot.published"
    assert json.loads(done.stdout)["published"]


def test_no_line_for_a_customer_who_was_answered(home: Home) -> None:
    """A night of any size has a handful of lines, at debug level too: logs cost more than calls."""
    found = lines(command("run", home.config_path, "--log-format", "json", "--log-level", "debug").stderr)
    assert len(found) < 15
    assert not any("customer_id" in one for one in found)


def test_an_error_is_an_event_too(home: Home) -> None:
    """A night that fails ends with one line that says why and what to do; so is a hook that was not told."""
    home.settings["notify"] = [{"on": ["failed"], "command": ["false"]}]
    home.save()
    (home.root / "password").write_text("wrong")
    done = command("run", home.config_path, "--log-format", "json")
    *_, hook, last = lines(done.stderr)
    assert (hook["event"], hook["notice"]) == (
        "notify.failed",
        "notify.0 (command): ended with exit code 1",
    )
    assert done.returncode == last["exit_code"] == 5
    assert (last["event"], last["error"]) == ("night.failed", "RefusedError")
    assert "credentials" in last["reason"]
    assert "api.auth" in last["hint"]


def test_the_config_says_how_to_log_and_the_command_line_has_the_last_word(home: Home) -> None:
    """`log: {format, level}` holds for every run; flags stand over it."""
    home.settings["log"] = {"format": "json", "level": "warning"}
    home.write_ids(known_ids(5))
    home.save()
    assert command("run", home.config_path).stderr == ""
    done = command("run", home.config_path, "--log-format", "console", "--log-level", "info")
    assert "[info" in done.stderr
    assert "night.unchanged" in done.stderr


def test_without_being_asked_only_warnings_come_beside_the_progress(home: Home) -> None:
    """The lines for people stay as they are: steps, no events."""
    home.write_ids(known_ids(5))
    done = command("run", home.config_path)
    assert "fetching 5 of 5" in done.stderr
    assert "plan.made" not in done.stderr


def test_quiet_is_quiet(home: Home) -> None:
    """A good night with `--quiet` writes nothing on stderr."""
    home.write_ids(known_ids(5))
    assert command("run", home.config_path, "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--log-format", "xml"], "--log-format xml"), (["--log-level", "loud"], "debug, info, warning, error")],
)
def test_a_wrong_flag_is_told_before_anything_starts(home: Home, words: list[str], said: str) -> None:
    """Exit code 2, and what is allowed."""
    done = command("run", home.config_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not home.work.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [[], ["--log-format", "json"]])
def test_a_stderr_without_room_ends_no_night(home: Home, words: list[str]) -> None:
    """The log's disk is full: the night is published all the same."""
    home.write_ids(known_ids(5))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "run", str(home.config_path), *words],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={**os.environ},
        )
    assert done.returncode == 0
    assert "Published" in done.stdout


def test_a_display_that_fails_ends_no_night(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """It is left out from then on, and that is told once; the others go on."""

    class Broken(Screen):
        def step(self, text: str) -> None:
            raise ZeroDivisionError(text)

    home.write_ids(known_ids(5))
    result = run_night(home.config(), Options(), Screens([Broken()], Log("json", "info")))
    assert result.live
    (told,) = lines(capsys.readouterr().err)
    assert (told["event"], told["watcher"], told["error"]) == (
        "watcher.failed",
        "Broken",
        "ZeroDivisionError",
    )


def test_what_a_library_warns_of_comes_without_its_errors_text(capsys: pytest.CaptureFixture[str]) -> None:
    """asyncio logs exceptions whole; their texts may hold anything."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        Log("json", "info").hear_libraries()
        try:
            raise ValueError("Asha Rao")
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception\nfuture: Asha Rao")
    finally:
        root.handlers = before
        root.setLevel(level)
    (told,) = lines(capsys.readouterr().err)
    assert (told["library"], told["said"], told["error"]) == ("asyncio", "Task exception", "ValueError")
    assert "Asha" not in json.dumps(told)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://x.test/a?sig=abc&x=1 failed", "GET https://x.test/a?… failed"),
        ("asha.rao@example.com was not found", "…@… was not found"),
        ("Authorization: Basic dGlsbDpwYXNz", "Authorization: Basic …"),
        ("Cannot write /data/export: no room.", "Cannot write /data/export: no room."),
    ],
)
def test_signatures_addresses_and_credentials_are_masked(text: str, shown: str) -> None:
    """The second net, for words that are not ours."""
    assert masked(text) == shown


def test_every_event_stands_in_the_docs() -> None:
    """Whoever writes an alert on an event finds its name, level and meaning."""
    docs = (ROOT / "docs" / "operations.md").read_text()
    for name, event in EVENTS.items():
        assert f"| `{name}` | {event.level} | {event.meaning} |" in docs
