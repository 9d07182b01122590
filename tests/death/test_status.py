"""What `status` says of a night that died: that nobody is at work, and what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from pipeline.sandbox import Sandbox, known_ids
from pipeline.status import status_of
from tests.conftest import Home, calls_seen
from tests.death.nights import FIRST, finish, run, start

pytestmark = [pytest.mark.timeout(120)]


def until(process: subprocess.Popen[str], has_come: Callable[[], bool]) -> None:
    while not has_come():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_night_that_was_killed_is_interrupted(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """While it runs it is fetching; after kill -9 it is interrupted; `run` ends it."""
    slow = start_sandbox(faults="latency=50ms")
    home.settings["api"]["host"] = slow.url
    home.write_ids(known_ids(100))
    home.save()
    process = start(home, FIRST, None, module="pipeline")
    until(process, lambda: calls_seen(slow) > 20)
    (running,) = status_of(home.config())["nights"]
    assert running["state"] == "fetching"
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    found = status_of(home.config())
    (dead,) = found["nights"]
    assert (found["running"], dead["state"]) == (False, "interrupted")
    assert "`run` goes on" in dead["reason"]
    assert run(home, FIRST, module="pipeline").returncode == 0
    (ended,) = status_of(home.config())["nights"]
    assert (ended["state"], ended["reason"]) == ("published", "")
