"""How cost and memory grow with the base: what a customer costs must stay, and so must the peak.

A fetch at 20,000 and 200,000 is real. At two million the journal, or the parts, are synthetic: a rebuild reads and
normalizes every answer again, a resume lists, plans, merges and publishes them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from bench import tree
from bench.night import measure_night
from bench.rebuild import measure_rebuild
from bench.resume import Resumed, measure_resume
from bench.server import Server, running_server
from bench.stopwatch import Budget
from bench.synthetic import CHUNK, Template, fetched_template
from bench.tables import machine, markdown, write_table


@dataclass(frozen=True)
class Size:
    """A base's size: a number of whole chunks near a round number."""

    chunks: int

    @property
    def customers(self) -> int:
        """How many they are."""
        return self.chunks * CHUNK


SMALL, MIDDLE, LARGE = Size(3), Size(25), Size(245)
"""24,576, 204,800 and 2,007,040 customers."""


@dataclass(frozen=True)
class Grown:
    """One way of work at one size, or why it was not measured."""

    way: str
    customers: int
    used: tree.Used | None
    why_not: str = ""


def measure_growth(
    server: Server, template: Template, budget: Budget, most: Size = LARGE
) -> tuple[list[Grown], list[Resumed]]:
    """All ways at all sizes, the small ones first; what does not fit into the budget is told, not run."""
    resumed: list[Resumed] = []

    def night(size: Size) -> tree.Used:
        return measure_night(server, size.customers).used

    def resume(size: Size) -> tree.Used:
        resumed.append(measure_resume(server, template, size.chunks))
        return resumed[-1].used

    def rebuild(size: Size) -> tree.Used:
        return measure_rebuild(server, template, size.chunks).used

    ways: list[tuple[str, Callable[[Size], tree.Used], Size]] = [
        ("resume, merge, publish", resume, LARGE),
        ("whole night, fetched", night, MIDDLE),
        ("rebuild from the journal", rebuild, LARGE),
    ]
    found = [
        _measured(way, measure, size, budget)
        for size in (SMALL, MIDDLE, LARGE)
        for way, measure, largest in ways
        if size.chunks <= min(largest.chunks, most.chunks)
    ]
    return found, resumed


def _measured(way: str, measure: Callable[[Size], tree.Used], size: Size, budget: Budget) -> Grown:
    """Measured, where it will end in time by what the smaller size took."""
    needs_s, left_s = budget.needs_s(way, size.customers), max(0.0, budget.left_s)
    if needs_s >= left_s:
        would = f"about {needs_s:,.0f} s by the smaller size, and " if needs_s else ""
        why = f"not run: {would}{left_s:,.0f} s were left"
        return Grown(way, size.customers, None, why)
    try:
        with budget.taking(way, size.customers):
            return Grown(way, size.customers, measure(size))
    except RuntimeError as exc:
        return Grown(way, size.customers, None, str(exc).splitlines()[0])


HEADS = (
    "way",
    "customers",
    "customers/s",
    "CPU µs a customer",
    "peak MB",
    "× the smallest",
    "shared pages once",
    "first process",
    "largest other",
)


def rows(found: list[Grown]) -> list[list[str]]:
    """The table."""
    smallest = {one.way: one.used.peak_bytes for one in reversed(found) if one.used}
    ordered = sorted(found, key=lambda one: one.way)
    return [_row_of(one, smallest.get(one.way, 1)) for one in ordered]


def _row_of(one: Grown, smallest: int) -> list[str]:
    if one.used is None:
        return [one.way, f"{one.customers:,}", one.why_not, *[""] * (len(HEADS) - 3)]
    return [
        one.way,
        f"{one.customers:,}",
        f"{one.customers / one.used.wall_s:,.0f}",
        f"{one.used.cpu_s / one.customers * 1e6:,.0f}",
        f"{one.used.peak_bytes / 1e6:,.0f}",
        f"{one.used.peak_bytes / smallest:.2f}",
        f"{one.used.peak_once_bytes / 1e6:,.0f}",
        *_by_process(one.used),
    ]


def _by_process(used: tree.Used) -> list[str]:
    """The peak of the process that was started, and of the largest of those that it started."""
    others = [size for name, size in used.peak_by_process.items() if name != "main"]
    return [f"{size / 1e6:,.0f}" for size in (used.peak_by_process.get("main", 0), max(others, default=0))]


ABOUT = """\
`make bench-growth`: {machine}. Bodies of 5.4 KB on average, every table. Memory is the sum of the resident
sets of all processes, looked at every {poll_ms:.0f} ms: a page that several share counts for each of them.
Beside it stand what they take with each page counted once, and the largest resident set of the first process
and of one that it began.\
"""


def main() -> int:
    """All that fits into the time given, into bench/GROWTH.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    chosen = parser.parse_args()
    with running_server(may_install=True) as server, fetched_template(server) as template:
        found, _ = measure_growth(server, template, Budget(chosen.seconds))
    about = ABOUT.format(machine=machine("pyarrow", "numpy"), poll_ms=tree.POLL_S * 1000)
    write_table("GROWTH.md", "How cost and memory grow with the base", about, markdown(HEADS, rows(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
