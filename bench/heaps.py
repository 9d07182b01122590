"""What was on the heap when it was largest, by memray: for each of a night's two processes, by who allocated it.

memray sees every allocation of Python, Arrow and numpy, but neither the pages of libraries nor what an allocator keeps
of what was freed. It has a thread of its own, so a night under it begins its second process anew instead of forking it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import tree
from bench.night import new_home
from bench.server import Server
from bench.tables import BENCH, markdown

TOP = 12
READER = """
import json, sys
from memray import FileReader

for path in sys.argv[1:]:
    with FileReader(path) as reader:
        records = reader.get_high_watermark_allocation_records(merge_threads=True)
        found = [(one.size, one.stack_trace()) for one in records if one.size > 1 << 12]
        print(json.dumps({"path": path, "peak": reader.metadata.peak_memory, "records": found}))
"""
"""Run by the Python that has memray; a line for each process."""

Stack = list[tuple[str, str, int]]  # function, file, line; the innermost first


@dataclass(frozen=True)
class Heap:
    """A process's heap at its largest."""

    customers: int
    peak_bytes: int
    by_place: Counter[str]


def measure_heaps(server: Server, customers: int, profile: Path) -> dict[str, Heap]:
    """A night under memray, from the environment `profile`: the heap of each process."""
    packages = next((profile / "lib").glob("python*/site-packages"))
    with new_home(server.url, customers) as home, TemporaryDirectory(prefix="bench-heaps-") as folder:
        environ = {"BENCH_HEAPS": folder, "PYTHONPATH": f"{BENCH / 'tracer'}:{packages}"}
        used = tree.run([sys.executable, *home.command("run", "--quiet", "--json")], environ)
        files = sorted(Path(folder).glob("*.bin"))
        if used.exit_code or not files:
            raise RuntimeError(
                f"the night under memray ended with exit code {used.exit_code}:\n{used.output}"
            )
        told = subprocess.run(
            [str(profile / "bin" / "python"), "-c", READER, *map(str, files)], check=True, capture_output=True
        )
    return dict(_heap(line, customers) for line in told.stdout.splitlines())


def _heap(line: bytes, customers: int) -> tuple[str, Heap]:
    read = json.loads(line)
    places = Counter[str]()
    for size, stack in read["records"]:
        places[place_of(stack)] += size
    return Path(read["path"]).name.partition("-")[0], Heap(customers, read["peak"], places)


def place_of(stack: Stack) -> str:
    """Who allocated it: the innermost function of ours, and what it called; of imports the package only."""
    if any("importlib" in file for _, file, _ in stack):
        return f"imported: {_package(stack)}"
    inner = _short(*stack[0][:2]) if stack else "the interpreter"
    ours = next((_short(*frame[:2]) for frame in stack if "/pipeline/" in frame[1]), inner)
    return ours if ours == inner else f"{ours}: {inner}"


def _package(stack: Stack) -> str:
    """The package that a module of ours imported: it has the memory of all that it imports itself."""
    found = "our own modules, the standard library"
    for _, file, _ in stack:
        if "/pipeline/" in file:
            break
        if "site-packages/" in file:
            found = file.rpartition("site-packages/")[2].partition("/")[0].removesuffix(".py")
    return found


def _short(function: str, file: str) -> str:
    return f"{function} ({'/'.join(Path(file).parts[-2:])})"


def table(heaps: Iterable[Heap]) -> str:
    """Who holds how much, at each size; the largest of the largest night first."""
    ordered = sorted(heaps, key=lambda one: one.customers)
    places = [name for name, _ in ordered[-1].by_place.most_common(TOP)]
    rows = [
        ["**all of the heap**", *(f"**{one.peak_bytes / 1e6:,.1f}**" for one in ordered)],
        *([name, *(f"{one.by_place[name] / 1e6:,.1f}" for one in ordered)] for name in places),
    ]
    return markdown(("allocated by, MB", *(f"{one.customers:,} customers" for one in ordered)), rows)
