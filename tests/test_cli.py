"""The commands as users type them: what is printed where, and what they end with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.sandbox import Sandbox, known_ids
from tests import snapshot
from tests.conftest import Home, calls_seen

ROOT = Path(__file__).parent.parent


def command(*words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user would, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environ},
        cwd=ROOT,
    )


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def wait_for_calls(sandbox: Sandbox, calls: int) -> None:
    """Until the server has seen so many."""
    until = time.monotonic() + 30
    while calls_seen(sandbox) < calls:
        assert time.monotonic() < until, "the night did not get that far"
        time.sleep(0.02)


@pytest.fixture
def slow(home: Home, start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A night of 400 IDs that takes some seconds: 10 in flight, 100 ms each."""
    sandbox = start_sandbox(faults="latency=100ms")
    home.settings["api"]["host"] = sandbox.url
    home.settings["quota"]["max_in_flight"] = 10
    home.write_ids(known_ids(400))
    home.save()
    return sandbox


def test_run_prints_one_json_object_and_exits_0(home: Home) -> None:
    """stdout carries the result alone; stderr the progress."""
    done = command("run", home.config_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["published"]
    assert found["ids"]["distinct"] == 50
    assert "fetching 50 of 50" in done.stderr


@pytest.mark.long
def test_run_again_says_that_there_is_nothing_to_do(home: Home) -> None:
    """A finished night exits 0 and says so."""
    home.write_ids(known_ids(10))
    command("run", home.config_path)
    done = command("run", home.config_path)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout


def test_ids_from_stdin_and_out_from_the_command_line(home: Home, tmp_path: Path) -> None:
    """`--ids -` and `--out` stand in for the config's."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipeline",
            "run",
            home.config_path,
            "--ids",
            "-",
            "--out",
            tmp_path / "elsewhere",
        ],
        input="customer_id\n300000000\n300000007\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert snapshot.manifest(tmp_path / "elsewhere")["ids"]["distinct"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nowhere.yaml"], "no config"),
        (["run"], "CONFIG"),
        (["frobnicate"], "frobnicate"),
        (["run", "{config}", "--until", "25:99"], "HH:MM"),
        (["run", "{config}", "--night", "tomorrow"], "YYYY-MM-DD"),
        (["run", "{config}", "--set", "quota.max_in_fligt=3"], "did you mean max_in_flight"),
        (["run", "{config}", "--set", "nonsense"], "key.path=value"),
        (["publish", "{config}", "--night", "2020-01-01"], "no snapshot"),
        (["publish", "{config}", "--night", "2020-01-01", "--force"], "--reason"),
        (["rollback", "{config}"], "no snapshot"),
        (["rebuild", "{config}", "--night", "2020-01-01"], "no journal"),
        (["rebuild", "{config}"], "--night"),
        (["rebuild", "{config}.gone"], "There is no config"),
        (["publish", "{config}.gone", "--force"], "There is no config"),
        (["tables", "no_such_table"], "no_such_table"),
        (["sandbox", "--faults", "gibberish=maybe"], "gibberish"),
    ],
)
def test_wrong_use_is_told_in_words_and_exits_2(home: Home, words: list[str], said: str) -> None:
    """Mistakes name the thing and the remedy; no traceback."""
    done = command(*[word.format(config=home.config_path) for word in words])
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_environment_key_is_a_mistake_too(home: Home) -> None:
    """A mistyped variable is not silently ignored."""
    done = command("run", home.config_path, CAPILLARY_EXPORT__QUOTA__MAX_IN_FLIGH="3")
    assert done.returncode == 2
    assert "CAPILLARY_EXPORT__QUOTA__MAX_IN_FLIGH" in done.stderr


def test_a_wrong_password_exits_5(home: Home) -> None:
    """The API's refusal has its own code."""
    (home.root / "password").write_text("wrong")
    done = command("run", home.config_path)
    assert done.returncode == 5
    assert "credentials" in done.stderr


def test_an_output_path_through_a_file_exits_7(home: Home) -> None:
    """Storage trouble has its own code."""
    (home.root / "file").write_text("")
    done = command("run", home.config_path, "--out", home.root / "file" / "export")
    assert done.returncode == 7, done.stderr
    assert "file/export" in done.stderr


def test_two_runs_at_once_exit_6(home: Home, slow: Sandbox) -> None:
    """The second run finds the workspace held, and the first goes on."""
    first = start("run", home.config_path)
    wait_for_calls(slow, 20)
    second = command("run", home.config_path)
    assert second.returncode == 6
    assert str(first.pid) in second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_sigterm_ends_in_peace_with_exit_3_and_run_goes_on(home: Home, slow: Sandbox) -> None:
    """Calls in flight end, all is journalled, and no ID is asked twice."""
    first = start("run", home.config_path)
    wait_for_calls(slow, 100)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 3, said
    assert "SIGTERM" in said
    assert not (home.export / "current.json").exists()
    second = command("run", home.config_path)
    assert second.returncode == 0, second.stderr
    assert snapshot.manifest(home.export)["calls"]["made"] == calls_seen(slow)
    asked = [slow.judge.calls_for(one, number) for number, one in enumerate(known_ids(400))]
    assert max(asked) <= 2
    assert asked.count(2) <= 20  # those whose answer was partial


def test_sigterm_while_reading_ends_with_exit_3_too(home: Home) -> None:
    """Whatever the night is doing, a signal is a stop that `run` goes on from, and `status` says so."""
    words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--ids", "-"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        while "reading the IDs" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 3
        assert "Stopped" in process.stderr.read()
    (night,) = json.loads(command("status", home.config_path, "--json").stdout)["nights"]
    assert (night["state"], night["reason"]) == ("stopped", "Stopped by SIGTERM.")


def test_status_from_a_second_shell_shows_a_running_night(home: Home, slow: Sandbox) -> None:
    """Progress is read from the night's files."""
    first = start("run", home.config_path)
    wait_for_calls(slow, 150)
    found = json.loads(command("status", home.config_path, "--json").stdout)
    first.communicate(timeout=60)
    assert found["running"]
    assert found["process"] == first.pid
    assert found["nights"][0]["progress"]["planned"] == 400


def test_the_window_ends_the_night_in_a_publishable_state(home: Home, slow: Sandbox) -> None:
    """What doesn't fit the window is deferred; what was fetched is published."""
    home.settings["quota"]["limits"] = [{"calls": 10, "per_s": 1}]
    home.save()
    soon = time.localtime(time.time() + 9)
    until = time.strftime("%H:%M:%S", soon)
    done = command("run", home.config_path, "--until", until, "--json")
    assert done.returncode in (0, 3), done.stderr
    outcomes = snapshot.manifest(home.export)["outcomes"]
    assert outcomes["deferred"] > 250
    assert sum(outcomes.values()) == 400


def test_doctor_finds_everything_well(home: Home) -> None:
    """With a reachable API and a good config all findings are ok."""
    done = command("doctor", home.config_path, "--json")
    assert done.returncode == 0, done.stdout
    assert all(one["ok"] for one in json.loads(done.stdout)["findings"])


@pytest.mark.parametrize(
    ("break_it", "what", "code"),
    [
        (lambda home: (home.root / "password").write_text("wrong"), "API", 5),
        (lambda home: (home.root / "password").unlink(), "secret", 2),
        (lambda home: (home.root / "ids.csv").unlink(), "IDs", 2),
    ],
)
def test_doctor_names_what_fails_and_what_to_do(
    home: Home, break_it: Callable[[Home], object], what: str, code: int
) -> None:
    """The broken thing is the one that is named, and the exit code is its own."""
    break_it(home)
    done = command("doctor", home.config_path, "--json")
    failing = [one for one in json.loads(done.stdout)["findings"] if not one["ok"]]
    assert what in [one["what"] for one in failing]
    assert done.returncode == code


def test_tables_prints_the_dictionary(home: Home) -> None:
    """Every column with its type and meaning."""
    found = json.loads(command("tables", "loyalty", "--json").stdout)["columns"]
    by_name = {row["column"]: row for row in found}
    assert by_name["lifetime_purchases"]["type"].startswith("decimal128(38, 9)")
    assert all(row["meaning"] for row in found)


def test_rollback_points_at_the_snapshot_before(home: Home) -> None:
    """Readers are back on the older tables at once."""
    home.write_ids(known_ids(5))
    command("run", home.config_path, "--night", "2026-11-21")
    first = snapshot.manifest(home.export)["snapshot"]
    command("run", home.config_path, "--night", "2026-11-22")
    assert snapshot.manifest(home.export)["snapshot"] != first
    done = command("rollback", home.config_path)
    assert done.returncode == 0, done.stderr
    assert snapshot.manifest(home.export)["snapshot"] == first


@pytest.mark.long
def test_a_closed_window_is_well_where_published_is_enough(home: Home, slow: Sandbox) -> None:
    """Schedulers that know only good and bad take a night that is live for a good one, the first time and later."""
    home.settings["quota"]["limits"] = [{"calls": 10, "per_s": 1}]
    home.save()
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + 9))
    for _ in range(2):
        done = command("run", home.config_path, "--until", until, "--published-ok", "--json")
        assert done.returncode == 0, done.stderr
    assert calls_seen(slow) < 150


HEAVY = ("aiohttp", "jinja2", "numpy", "pyarrow", "rich", "structlog", "yaml")  # typer itself needs pydantic


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_does_not_wait_for_what_a_night_needs(words: list[str]) -> None:
    """Commands import what they need when they are called: a typing mistake is told at once."""
    program = (
        "import sys\nfrom pipeline.cli import main\ncode = main(sys.argv[2:])\n"
        "print(*sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, " ".join(HEAVY), *words], capture_output=True, text=True, check=True
    )
    assert ended.stderr.strip() == ""
    assert "capillary-export" in ended.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["doctor", "no.yaml"], 2),
        (["tables", "--json"], 0),
        (["run", "--help"], 0),
        (["ddl", "--dialect", "duckdb"], 0),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_reader_who_leaves_changes_no_exit_code(words: list[str], code: int, unbuffered: str) -> None:
    """`capillary-export … | head`: not a bug of ours, and what the command had to tell by its exit code stands."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
            cwd=ROOT,
        )
    finally:
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (code, b"")


def test_whoever_closes_what_we_write_to_gets_no_trace(home: Home) -> None:
    """As some schedulers start programs: the night runs, and none of its files becomes its stdout."""
    words = f"{sys.executable} -m pipeline run {home.config_path}"
    ended = subprocess.run(["sh", "-c", f"{words} <&- >&- 2>&-"], cwd=ROOT, check=False)
    assert ended.returncode == 0
    assert len(snapshot.rows(home.export, "outcomes")) == 50


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_that_nobody_can_take_is_storage_trouble(unbuffered: str) -> None:
    """A full disk under stdout is no bug of ours."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "pipeline", "tables"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert ended.returncode == 7
    assert "Cannot write to standard output: No space left on device." in ended.stderr


def test_the_sandbox_says_that_its_port_is_taken(sandbox: Sandbox) -> None:
    """A mistake of the caller's, not a bug."""
    port = sandbox.url.rpartition(":")[2]
    ended = command("sandbox", "--port", port)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"--port {port}: the port is taken" in ended.stderr


def test_an_option_is_named_by_its_own_name(home: Home) -> None:
    """Who typed `--out` is not told of `--set`."""
    ended = command("run", home.config_path, "--out", "ftp://x")
    assert ended.returncode == 2
    assert "output.url = 'ftp://x' (from --out)" in ended.stderr


def test_a_night_of_a_mistyped_year_is_none(home: Home, sandbox: Sandbox) -> None:
    """A mistyped year would be live, and every night before it held, for as long."""
    next_year = datetime.now(UTC).date() + timedelta(days=365)
    ended = command("run", home.config_path, "--night", next_year)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"The night {next_year} is more than half a year ahead" in ended.stderr
    assert calls_seen(sandbox) == 0
    nearer = datetime.now(UTC).date() + timedelta(days=100)
    assert command("run", home.config_path, "--night", nearer).returncode == 0


def test_a_plan_goes_by_the_clocks_of_the_window(home: Home) -> None:
    """Whoever wrote until 05:30 reads 05:30, whichever zone the machine is in; and which zone it is."""
    home.settings["window"] = {"until": "05:30", "timezone": "Asia/Kolkata"}
    home.save()
    shown = command("plan", home.config_path, TZ="UTC").stdout
    assert "tonight (Asia/Kolkata)" in shown
    assert re.search(r"window +until \d{4}-\d\d-\d\d 05:30: room for", shown), shown


def test_a_plan_for_a_list_that_no_night_takes_is_none(home: Home) -> None:
    """`plan` ends as `run` would: with 2, before a call."""
    home.write_ids([])
    for word in ("plan", "run"):
        ended = command(word, home.config_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "There is no customer ID in" in ended.stderr
