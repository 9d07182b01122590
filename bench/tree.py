"""Runs a command and measures the whole tree of its processes: wall clock, CPU, peak memory.

CPU comes from the kernel's own sum over the command and all its children (`wait4`); the share of each process and the
memory are looked up in /proc every 50 ms. Memory is the sum of the resident sets: pages that two processes share
(libraries; after a fork nearly everything) count twice, so the true peak is lower. What they take together, each page
counted once, is looked up every fourth time: it costs the kernel a walk over all pages. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.05
WALK_EVERY = 4
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parent.parent


@dataclass
class Used:
    """What a command took, with all its processes."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0  # sum of resident sets
    peak_once_bytes: int = 0  # each page counted once
    exit_code: int = 0
    began_at: float = 0.0  # Unix time
    by_process: dict[str, float] = field(default_factory=dict)  # CPU seconds by name; to 50 ms
    peak_by_process: dict[str, int] = field(default_factory=dict)  # the largest resident set by name
    output: str = ""


def run(
    command: Sequence[str], environ: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout_s: float = 900
) -> Used:
    """Run it to its end. A command that fails is the caller's business: its exit code is told."""
    used = Used(began_at=time.time())
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**_compiled_once(os.environ), **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        watcher = Watcher(process.pid, used)
        deadline = threading.Timer(timeout_s, process.kill)
        watcher.start()
        deadline.start()
        assert process.stdout is not None
        used.output = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        deadline.cancel()
        watcher.end()
        process.returncode = used.exit_code = os.waitstatus_to_exitcode(status)
    used.wall_s = time.monotonic() - began
    used.cpu_s = usage.ru_utime + usage.ru_stime
    return used


def _compiled_once(environ: Mapping[str, str]) -> dict[str, str]:
    """As where the program is installed: what it imports was compiled before, which costs more than a small night."""
    return {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_python(arguments: Sequence[str], **options: Path | float | Mapping[str, str]) -> Used:
    """The same for this Python."""
    return run([sys.executable, *arguments], **options)  # type: ignore[arg-type]  # as `run` has them


class Watcher(threading.Thread):
    """Looks at the tree's processes now and then."""

    def __init__(self, root: int, used: Used) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._used = used
        self._ended = threading.Event()
        self._cpu: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._looks = 0

    def run(self) -> None:
        while not self._ended.wait(POLL_S):
            self._look()

    def end(self) -> None:
        """No more looks; the shares are summed up."""
        self._ended.set()
        self.join()
        for pid, seconds in self._cpu.items():
            name = self._names[pid]
            self._used.by_process[name] = self._used.by_process.get(name, 0.0) + seconds

    def _look(self) -> None:
        resident = 0
        pids = tree_of(self._root)
        for pid in pids:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                name = self._names[pid] = _name_of(pid, self._root)  # a fork takes its name a moment later
            except (OSError, IndexError):
                continue  # it has just ended
            resident += size
            self._cpu[pid] = (int(stat[11]) + int(stat[12])) * _TICK_S
            peaks = self._used.peak_by_process
            peaks[name] = max(peaks.get(name, 0), size)
        self._used.peak_bytes = max(self._used.peak_bytes, resident)
        self._looks += 1
        if self._looks % WALK_EVERY == 0:
            together = sum(map(proportional_bytes, pids))
            self._used.peak_once_bytes = max(self._used.peak_once_bytes, together)


def proportional_bytes(pid: int) -> int:
    """A process's memory, of pages that several share its part; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def tree_of(root: int) -> list[int]:
    """A process and all its descendants, by what each thread lists as its children."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def _name_of(pid: int, root: int) -> str:
    """The name that it gave itself, the last of its module's names, or of its program's; the command is `main`."""
    if pid == root:
        return "main"
    if (called := Path(f"/proc/{pid}/comm").read_text().strip()) == "scribe":
        return called
    words = [one for one in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0") if one]
    named = next((one for one in words[1:] if one.startswith("pipeline.")), words[0])
    return named.rpartition(".")[2] if named.startswith("pipeline.") else Path(named).name


def cpu_s(pid: int) -> float:
    """CPU seconds that a running process has used."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) * _TICK_S
