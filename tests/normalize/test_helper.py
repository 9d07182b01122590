"""The second process stands by: it takes its job when it comes, and is no longer there when nobody wants it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import json, os, signal, sys
from datetime import date
from pathlib import Path
from pipeline.blocks import TABLES
from pipeline.fetch.handoff import FINISH, HEAD
from pipeline.normalize.helper import standing_by, start
from pipeline.normalize.scribe import Job
from pipeline.outcome import Outcome
from pipeline.store.journal import Record, pack_record

def children():
    return [int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]

def journal(name):
    folder = Path(sys.argv[1]) / name
    (folder / "journal").mkdir(parents=True)
    job = Job(
        night=date(2026, 11, 22), journal=folder / "journal", parts=folder / "parts", first_chunk=0,
        tables=[one.name for one in TABLES],
    )
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    process, sock = start(job, lock)
    record = pack_record(Record(7, 1, 0, 0, 5, 1, 1, 200, Outcome.EXPORTED, b"", b'{"id":7,"profiles":[]}'))
    with sock:
        sock.sendall(HEAD.pack(1, len(record)) + record + FINISH)
        said = sock.makefile().read().splitlines()
    name = Path(f"/proc/{process.pid}/comm").read_text().strip()
    return {"name": name, "pid": process.pid, "said": [*json.loads(said[0]), *json.loads(said[-1])],
            "code": process.wait()}

found = {"threads": len(os.listdir("/proc/self/task"))}
with standing_by():
    found["stands_by"] = children()
    found["first"] = journal("first")
    found["second"] = journal("second")
with standing_by():
    os.kill(dead := children()[0], signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    found["after_a_death"] = journal("third")
with standing_by():
    pass
found["left"] = children()
print(json.dumps(found))
"""


def test_a_process_that_stands_by_does_the_job(tmp_path: Path) -> None:
    """The first start finds it, further ones and one after its death begin anew; nobody is left who was not wanted."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["threads"] == 1
    assert found["first"]["name"] == "scribe"
    assert [found["first"]["pid"]] == found["stands_by"]
    assert found["second"]["pid"] not in found["stands_by"]
    for start in ("first", "second", "after_a_death"):
        assert (found[start]["said"], found[start]["code"]) == (["durable", "finished"], 0)
    for folder in ("first", "second", "third"):
        assert [path.name for path in (tmp_path / folder / "parts" / "customers").iterdir()] == [
            "chunk-00000.part"
        ]
    assert found["left"] == []


def test_threads_are_never_forked_over(tmp_path: Path) -> None:
    """Where a second thread runs there is no fork: it might hold a lock that the child would wait for in vain."""
    code = (
        "import threading, time, os; from pathlib import Path; from pipeline.normalize.helper import standing_by\n"
        "threading.Thread(target=time.sleep, args=(0.5,)).start()\n"
        "with standing_by(): print(Path(f'/proc/self/task/{os.getpid()}/children').read_text().split())"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_it_is_forked_before_the_command_line_is_loaded() -> None:
    """What reads options and the config is memory that it would have for nothing; who only asks for help has none."""
    code = (
        "import sys; from pipeline import __main__; from pipeline.normalize import helper; fork = helper._forked\n"
        "def seen(): print(sorted({'pydantic', 'typer', 'pipeline.config'} & set(sys.modules))); return fork()\n"
        "helper._forked = seen; __main__.main()"
    )
    for words, printed in ((["gone.yaml", "--night", "2026-11-22"], "[]"), (["--help"], "Usage:")):
        for verb in ("run", "rebuild"):
            ended = subprocess.run(
                [sys.executable, "-c", code, verb, *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert ended.stdout.strip().startswith(printed), ended.stderr
