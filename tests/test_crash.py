"""kill -9 at random points of a night; resumed, it ends with the tables of a night that nobody disturbed.

The program as it is, with the frames and chunks of a real night. tests/death has all other kinds of death.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from pipeline.fetch.handoff import FRAME_RECORDS, FRAMES_UNDER_WAY
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests import snapshot
from tests.conftest import Home, calls_seen, running_sandbox

POINTS = int(os.environ.get("CRASH_POINTS", "3"))
DAY = date(2026, 11, 21)
CUSTOMERS = 1_200
IN_FLIGHT = 16
UNSYNCED_GROUP = FRAME_RECORDS * (FRAMES_UNDER_WAY + 1)
"""At the most so many replies have left the fetch and are not yet durable: the frames under way and the next one."""


@pytest.fixture(scope="module")
def steady_sandbox() -> Iterator[Sandbox]:
    """A server whose answers depend on the ID alone: no faults that a second try would find healed."""
    with running_sandbox(
        SandboxConfig(customers=CUSTOMERS, cached_bodies=CUSTOMERS + 100, day=DAY)
    ) as sandbox:
        yield sandbox


def a_home(root: Path, sandbox: Sandbox) -> Home:
    root.mkdir()
    home = Home(root, sandbox.url)
    home.settings["quota"]["max_in_flight"] = IN_FLIGHT
    home.settings["api"]["embed"] = ["mlp", "segments"]
    home.write_ids(known_ids(CUSTOMERS))
    home.save()
    return home


def run(home: Home) -> subprocess.Popen[bytes]:
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
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)


@pytest.fixture(scope="module")
def quiet(
    tmp_path_factory: pytest.TempPathFactory, steady_sandbox: Sandbox
) -> tuple[dict[str, list[str]], float]:
    """The tables of an undisturbed night, and how long it took."""
    home = a_home(tmp_path_factory.mktemp("quiet") / "home", steady_sandbox)
    began = time.monotonic()
    assert run(home).wait(120) == 0
    return snapshot.all_rows(home.export), time.monotonic() - began


@pytest.mark.timeout(600)
@pytest.mark.long
def test_killed_at_random_points_a_night_ends_like_a_quiet_one(
    tmp_path: Path, steady_sandbox: Sandbox, quiet: tuple[dict[str, list[str]], float]
) -> None:
    """Same tables, no ID lost or doubled; calls repeated are at most those not yet durable."""
    tables, seconds = quiet
    rng = random.Random(7)
    killed = 0
    for point in range(POINTS):
        home = a_home(tmp_path / f"home-{point}", steady_sandbox)
        steady_sandbox.day = DAY  # forgets attempts: every night meets the same server
        before = calls_seen(steady_sandbox)
        process = run(home)
        time.sleep(seconds * (0.1 + 0.9 * rng.random()))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert run(home).wait(120) == 0
        assert snapshot.all_rows(home.export) == tables
        calls = calls_seen(steady_sandbox) - before
        journalled = snapshot.manifest(home.export)["calls"]["made"]
        assert calls - journalled <= IN_FLIGHT + UNSYNCED_GROUP
    assert killed > POINTS / 2
