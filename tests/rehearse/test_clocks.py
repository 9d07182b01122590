"""Clocks that go faster: all of them, by the same factor, and the waits with them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.test_cli import ROOT

PROGRAM = """
import json, sys, time
real = time.monotonic
from pipeline.rehearse.clocks import Hurry
hurry = Hurry(1_800_000_000.0)
hurry.go(20.0)
import asyncio
from time import monotonic, perf_counter_ns, sleep, time_ns
began = real()
clocks = {"monotonic": monotonic, "perf": lambda: perf_counter_ns() / 1e9, "time": time.time,
          "ns": lambda: time_ns() / 1e9}
starts = {name: clock() for name, clock in clocks.items()}
real_starts = real()
async def wait():
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(6.0)
    return loop.time() - before
slept = asyncio.run(wait())
sleep(2.0)
passed = {name: clock() - starts[name] for name, clock in clocks.items()}
print(json.dumps({"slept": slept, "real": real() - real_starts, "passed": passed, "at": starts["time"]}))
"""


def test_every_clock_and_every_wait_goes_by_the_same_factor() -> None:
    """Twenty times as fast: eight seconds of waiting are eight by all clocks, and a twentieth of that in truth."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["slept"] >= 6.0
    assert found["at"] == pytest.approx(1_800_000_000, abs=1000)
    for passed in found["passed"].values():
        assert passed >= 8.0
        assert passed == pytest.approx(found["real"] * 20, rel=0.01)
