"""`make profile`: where a whole night's CPU goes, by py-spy, function by function, for each of its two processes.

py-spy lives in an environment of its own (bench/.profile), for it is needed by nothing else. Shares of samples say
which function was running; µs a customer are those shares of the CPU that the kernel counted in an undisturbed night.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import tree
from bench.night import NightRun, measure_night, new_home
from bench.server import Server, running_server
from bench.tables import BENCH, machine, markdown

PY_SPY = BENCH / ".profile" / "bin" / "py-spy"
VERSION = "py-spy==0.4.3"
RATE_HZ = 250
TOP = 40
_FRAME = re.compile(r"([^ ]+) \((.+?)(?::(\d+))?\)$")
WRAPPERS = ("asyncio/", "typer/", "_click/", "<frozen ", "<string>", "__main__", "pipeline/cli/")
"""Whoever only calls the rest says nothing about where the time goes."""


@dataclass
class Samples:
    """The samples of one process."""

    total: int = 0
    own: Counter[str] = field(default_factory=Counter)  # the function itself was running
    lines: Counter[str] = field(default_factory=Counter)  # the same, line by line
    within: Counter[str] = field(default_factory=Counter)  # it or what it called

    def add(self, frames: Sequence[str], count: int) -> None:
        """A stack, outermost first, seen `count` times."""
        self.total += count
        self.own[short(frames[-1])] += count
        self.lines[short(frames[-1], line=True)] += count
        for frame in {short(one) for one in frames}:
            if not any(wrapper in frame for wrapper in WRAPPERS):
                self.within[frame] += count


def install() -> None:
    """py-spy into its own environment, where it is not there."""
    if not PY_SPY.exists():
        home = PY_SPY.parent.parent
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", VERSION], check=True)


def record(server: Server, customers: int) -> dict[str, Samples]:
    """A night under py-spy: the samples of each process."""
    with new_home(server.url, customers) as home:
        out = home.root / "stacks.txt"
        command = [str(PY_SPY), "record", "--subprocesses", "--rate", str(RATE_HZ), "--format", "raw"]
        night = [sys.executable, *home.command("run", "--quiet", "--json")]
        used = tree.run([*command, "--output", str(out), "--", *night])
        if not out.exists():
            raise RuntimeError(f"py-spy wrote nothing:\n{used.output}")
        return read_stacks(out.read_text())


_SCRIBES = ("pipeline.normalize.scribe", "take_orders (pipeline/normalize/helper.py")
"""What the second process's stacks have, started anew or forked."""


def read_stacks(text: str) -> dict[str, Samples]:
    """What py-spy's raw format says: a line for each stack, `frame;frame;… count`."""
    found: dict[str, Samples] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        name = "scribe" if any(mark in stack for mark in _SCRIBES) else "main"
        frames = [one for one in stack.split(";") if _FRAME.match(one)]
        if frames:
            found.setdefault(name, Samples()).add(frames, int(count))
    return found


def short(frame: str, *, line: bool = False) -> str:
    """`function (package/file.py)`, with the line number where it is wanted."""
    match = _FRAME.match(frame)
    assert match is not None
    where = "/".join(Path(match[2].rpartition("site-packages/")[2]).parts[-2:])
    return f"{match[1]} ({where}{f':{match[3]}' if line else ''})"


def tables(found: dict[str, Samples], night: NightRun) -> str:
    """Three tables for each process: functions by own time and with what they call, and lines."""
    written = []
    for name, samples in sorted(found.items()):
        cpu_us = night.used.by_process.get(name, 0.0) / night.customers * 1e6
        written.append(f"## {name}: {cpu_us:,.0f} µs of CPU a customer, {samples.total:,} samples\n")
        views = {
            "own time": samples.own,
            "with what it calls": samples.within,
            "line, own time": samples.lines,
        }
        for title, counts in views.items():
            rows = [
                [function, f"{count / samples.total:.1%}", f"{count / samples.total * cpu_us:,.1f}"]
                for function, count in counts.most_common(TOP)
            ]
            written.append(markdown((f"function, {title}", "share", "µs a customer"), rows))
    return "\n".join(written)


def main() -> int:
    """Measure a night, profile another, write bench/PROFILE.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    chosen = parser.parse_args()
    install()
    with running_server(may_install=True) as server:
        night = measure_night(server, chosen.customers)
        found = record(server, chosen.customers)
    about = (
        f"`make profile`: {machine('aiohttp', 'pyarrow', 'msgspec')}, {VERSION} at {RATE_HZ} Hz; a night of "
        f"{chosen.customers:,} customers, {night.cpu_us:,.0f} µs of CPU each."
    )
    text = f"# Where a night's CPU goes\n\n{about}\n\n{tables(found, night)}"
    (BENCH / "PROFILE.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
