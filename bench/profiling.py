"""`make profile`: where a night's CPU goes, by py-spy, and its memory, by memray, for each of its two processes.

Both live in an environment of their own (bench/.profile), for they are needed by nothing else. Shares of samples say
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
from bench.heaps import Heap, measure_heaps
from bench.heaps import table as heap_table
from bench.night import NightRun, measure_night, new_home
from bench.server import Server, running_server
from bench.tables import BENCH, machine, markdown

PROFILE = BENCH / ".profile"
PY_SPY, VERSION = PROFILE / "bin" / "py-spy", "py-spy==0.4.3"
MEMRAY, MEMRAY_VERSION = PROFILE / "bin" / "memray", "memray==1.20.0"
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
    """Both into their environment, where they are not there."""
    if not (PY_SPY.exists() and MEMRAY.exists()):
        subprocess.run([sys.executable, "-m", "venv", str(PROFILE)], check=True)
        pip = [str(PROFILE / "bin" / "pip"), "install", "--quiet", VERSION, MEMRAY_VERSION]
        subprocess.run(pip, check=True)


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


HEAPS = """# Where its memory goes

{version}: what was allocated when the heap was largest, by who allocated it, in nights of different size. Beside
the heap the largest resident set, in the night of {customers:,} customers without memray, has libraries, shared with
the other process, and what the allocator keeps: {peaks}.

"""


def _heap_tables(heaps: Sequence[dict[str, Heap]], night: NightRun) -> str:
    """For each process its heap at each size."""
    names = sorted({name for one in heaps for name in one})
    peaks = ", ".join(f"{name} {night.used.peak_by_process.get(name, 0) / 1e6:,.0f} MB" for name in names)
    written = [HEAPS.format(version=MEMRAY_VERSION, customers=night.customers, peaks=peaks)]
    written += [f"## {name}\n\n{heap_table([one[name] for one in heaps if name in one])}\n" for name in names]
    return "".join(written) if heaps else ""


def main() -> int:
    """Measure a night, profile others, write bench/PROFILE.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000, help="in the night of which CPU is told")
    parser.add_argument("--heaps", type=int, nargs="*", default=[20_000, 200_000], help="nights under memray")
    chosen = parser.parse_args()
    install()
    with running_server(may_install=True) as server:
        night = measure_night(server, chosen.customers)
        found = record(server, chosen.customers)
        heaps = [measure_heaps(server, customers, PROFILE) for customers in chosen.heaps]
    about = (
        f"`make profile`: {machine('aiohttp', 'pyarrow', 'msgspec')}, {VERSION} at {RATE_HZ} Hz; a night of "
        f"{chosen.customers:,} customers, {night.cpu_us:,.0f} µs of CPU each."
    )
    text = f"# Where a night's CPU and memory go\n\n{about}\n\n{tables(found, night)}\n{_heap_tables(heaps, night)}"
    (BENCH / "PROFILE.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
