"""The crew: what the standing-by process and those it forks leave is what one process makes, or left to the fence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.normalize.scribe import Job
from pipeline.processes import usable_cores
from pipeline.store.journal import sealed_chunks
from pipeline.store.ledger import chunks_without_parts
from tests.normalize.test_fence import ROOT, expected, job, parts_of

__all__ = ["job"]  # the fixture: a journal of five chunks

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from pipeline.errors import ExportError, StorageError
from pipeline.normalize import crew, helper
from pipeline.normalize.scribe import Job

def everybody():
    waiting, found = [os.getpid()], []
    while waiting:
        path = Path(f"/proc/{waiting[0]}/task/{waiting.pop(0)}/children")
        children = [int(one) for one in path.read_text().split()] if path.exists() else []
        waiting += children
        found += children
    return found

class Stop(Exception):
    pass

def stop(*_):
    at_work.extend(everybody())
    raise Stop

def is_there(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"

crew.usable_cores = lambda: 3
crew.MOST_ABREAST = 3
job, found, at_work = Job.from_json(sys.argv[1]), {}, []
with helper.standing_by():
    before = everybody()
    if "stop" in sys.argv:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        helper.normalize_abreast(job, os.open("/dev/null", os.O_RDONLY))
    except (StorageError, Stop) as exc:
        found["raised"] = f"{type(exc).__name__}: {exc}"
        patience = time.monotonic() + 20
        while any(map(is_there, at_work)) and time.monotonic() < patience:
            time.sleep(0.01)
        found["at_work"] = [is_there(pid) for pid in at_work]
    found["stands_by"] = everybody() == before
print(json.dumps({**found, "left": everybody()}))
"""
ODD = """
import os, time
from pipeline.normalize import chunk
from pipeline.store.journal import unpack_records

class Normalizer(chunk.ChunkNormalizer):
    def add(self, record, number):
        {does}
        super().add(record, number)

    def add_frame(self, payload, number):
        for record in unpack_records(payload):
            self.add(record, number)

chunk.ChunkNormalizer = Normalizer
"""
"""As Python's sitecustomize."""


def crew(job: Job, tmp_path: Path, *words: str, does: str = "pass") -> dict[str, Any]:
    """Let a crew of three do it, each record with something more."""
    (tmp_path / "sitecustomize.py").write_text(ODD.format(does=does))
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, job.as_json(), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found.pop("left") == []
    return found


def names_left(job: Job) -> list[str]:
    return [path.name for path in chunks_without_parts(job.journal, job.parts)]


def test_a_crew_leaves_the_same_bytes_and_goes_on_standing_by(job: Job, tmp_path: Path) -> None:
    """Every part of every chunk, by three processes; the first of them is there for the next job."""
    assert crew(job, tmp_path) == {"stands_by": True}
    assert names_left(job) == []
    assert parts_of(job.parts) == expected(job, tmp_path / "expected", sealed_chunks(job.journal))


@pytest.mark.parametrize(
    "does", ["record.customer_id == 103 and os.abort()", "assert record.customer_id != 103"]
)
def test_a_death_leaves_its_chunk_to_the_fence(job: Job, tmp_path: Path, does: str) -> None:
    """One answer kills, or raises: its chunk has no parts, nobody raises; what was done counts."""
    found = crew(job, tmp_path, does=does)
    assert "raised" not in found
    assert "chunk-00001.sealed" in names_left(job)
    done = [path for path in sealed_chunks(job.journal) if path.name not in names_left(job)]
    wanted = expected(job, tmp_path / "expected", done)
    found_parts = parts_of(job.parts)
    assert {name: found_parts[name] for name in wanted} == wanted


def test_trouble_with_the_disk_is_told_and_ends_the_work(job: Job, tmp_path: Path) -> None:
    """A file stands where the parts of a table should lie: the error names it, no other chunk is begun."""
    job.parts.mkdir()
    (job.parts / "customers").write_text("")
    found = crew(job, tmp_path)
    assert found["raised"].startswith("StorageError")
    assert "customers" in found["raised"]
    assert len(names_left(job)) == 5


def test_whoever_is_stopped_leaves_nobody_at_work(job: Job, tmp_path: Path) -> None:
    """A signal in the midst of it: all three end, and no chunk counts that is not whole."""
    found = crew(job, tmp_path, "stop", does="time.sleep(0.2)")
    assert (found["raised"], found["at_work"]) == ("Stop: ", [False] * 3)
    assert not found["stands_by"]
    assert len(names_left(job)) == 5


def test_cores_are_those_that_the_container_lets_us_have(tmp_path: Path) -> None:
    """A quota of time rounded up, also one of the group above; never more than there are, never none."""
    every = usable_cores(tmp_path)
    assert every == len(os.sched_getaffinity(0))
    for told, cores in (("max 100000", every), ("50000 100000", 1), ("900000 100000", every), ("odd", every)):
        (tmp_path / "cpu.max").write_text(told)
        assert usable_cores(tmp_path) == cores
