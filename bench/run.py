"""`make bench`: everything against its own server, into bench/RESULTS.md. Nothing there is typed by hand.

Absolute figures vary between machines, and by the minute on one that others use: so the ratios stand first, and what
is compared was run in turn.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import growth, resume, run_peers, tree
from bench.night import NightRun, measure_night, measure_raw
from bench.ranges import Spread, spread
from bench.server import Server, requests_per_second, running_server
from bench.stopwatch import Budget
from bench.synthetic import fetched_template
from bench.tables import BENCH, machine, markdown

PACKAGES = ("aiohttp", "pyarrow", "msgspec", "numpy")
QUOTA_TIMEOUT_S = 180


@dataclass(frozen=True)
class Extent:
    """How much is run. Seconds bound a part once its first round is done."""

    customers: int
    rounds: int
    night_s: float
    peer_customers: int
    peer_rounds: int
    peers_s: float
    growth_s: float  # bounds what is begun, by what the smaller size took
    most: growth.Size
    resumed: growth.Size
    quota_too: bool


FULL = Extent(20_000, 5, 120, 20_000, 3, 240, 660, growth.LARGE, growth.LARGE, quota_too=True)
QUICK = Extent(5_000, 2, 30, 1_000, 1, 60, 60, growth.SMALL, growth.LARGE, quota_too=False)


@dataclass
class Pairs:
    """Raw loops and nights, in turn."""

    raw: list[NightRun] = field(default_factory=list)
    nights: list[NightRun] = field(default_factory=list)

    @property
    def cpu_ratio(self) -> Spread:
        """CPU of a customer in a night to CPU of a request in a raw loop, pair by pair."""
        pairs = zip(self.nights, self.raw, strict=True)
        return spread([night.cpu_us / raw.cpu_us for night, raw in pairs], 2)

    @property
    def speed_ratio(self) -> Spread:
        """Customers/s of the night to requests/s of the raw loop, pair by pair."""
        pairs = zip(self.nights, self.raw, strict=True)
        return spread([night.per_second / raw.per_second for night, raw in pairs], 2)


def measure_pairs(server: Server, customers: int, rounds: int, seconds: float) -> Pairs:
    """At least one pair; the others while there is time."""
    pairs, ends = Pairs(), time.monotonic() + seconds
    while len(pairs.raw) < rounds and (not pairs.raw or time.monotonic() < ends):
        pairs.raw.append(measure_raw(server, customers))
        pairs.nights.append(measure_night(server, customers))
    return pairs


PAIR_HEADS = (
    "",
    "customers/s",
    "CPU µs a customer",
    "of it first process",
    "of it second",
    "peak MB",
    "shared pages once",
)


def pair_table(pairs: Pairs) -> str:
    """The night and its floor."""
    rows = [_pair_row("aiohttp alone: GET, read", pairs.raw), _pair_row("whole night", pairs.nights)]
    return markdown(PAIR_HEADS, rows)


def _pair_row(name: str, runs: Sequence[NightRun]) -> list[str]:
    columns = [
        [run.per_second for run in runs],
        [run.cpu_us for run in runs],
        [run.process_us("main") for run in runs],
        [run.process_us("scribe") for run in runs],
        [run.used.peak_bytes / 1e6 for run in runs],
        [run.used.peak_once_bytes / 1e6 for run in runs],
    ]
    return [name, *(str(spread(column)) for column in columns)]


TARGET_HEADS = ("what", "to reach", "here")


def target_table(extent: Extent, found: Measured) -> str:
    """The issue's figures beside these."""
    nights, used = found.pairs.nights, [(one, one.used) for one in found.grown if one.used]
    rebuilt = [one.customers / run.wall_s for one, run in used if one.way.startswith("rebuild")]
    peaks = [run.peak_bytes / 1e6 for _, run in used]
    rows = [
        ("whole night, customers/s", "≥ 5,000", spread([run.per_second for run in nights])),
        ("CPU µs a customer, all processes", "≤ 280", spread([run.cpu_us for run in nights])),
        ("peak MB of all processes, any size", "≤ 250", f"{max(peaks):,.0f}" if peaks else "not run"),
        ("rebuild, customers/s", "≥ 18,000", f"{max(rebuilt):,.0f}" if rebuilt else "not run"),
        (f"s to the first call, {extent.resumed.customers:,} done", "< 5", f"{found.first_call_s:.1f}"),
    ]
    return markdown(TARGET_HEADS, rows)


def quota_table() -> str:
    """The short form of `make bench-quota`, as it prints it."""
    if not (BENCH / "quota.py").exists():
        return "There is no bench.quota here.\n"
    command = [sys.executable, "-m", "bench.quota", "--short"]
    try:
        told = subprocess.run(
            command, cwd=BENCH.parent, capture_output=True, text=True, timeout=QUOTA_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"It did not end within {QUOTA_TIMEOUT_S} s.\n"
    last = (told.stderr.strip().splitlines() or [""])[-1]
    return told.stdout if told.stdout else f"It failed: {last}\n"


@dataclass(frozen=True)
class Measured:
    """All that a run has found."""

    about: str
    pairs: Pairs
    grown: list[growth.Grown]
    resumed: list[resume.Resumed]
    first_call_s: float
    ours: run_peers.Standing
    others: list[run_peers.Standing]
    quota: str


def measure(extent: Extent, server: Server) -> Measured:
    """Run it all; each part's table is shown when it is done, so that a run that is stopped was not in vain."""
    began, load = time.monotonic(), os.getloadavg()[0]
    rate = requests_per_second(server)
    pairs = measure_pairs(server, extent.customers, extent.rounds, extent.night_s)
    _show("the night and its floor", pair_table(pairs))
    with fetched_template(server) as template:
        first_call_s = resume.measure_first_call(server, template, extent.resumed.chunks)
        grown, resumed = growth.measure_growth(server, template, Budget(extent.growth_s), extent.most)
    _show("growth", markdown(growth.HEADS, growth.rows(grown)))
    budget = Budget(extent.peers_s)
    ours, others = run_peers.side_by_side(server, extent.peer_customers, extent.peer_rounds, budget)
    _show("peers", markdown(run_peers.HEADS, run_peers.rows(ours, others)))
    quota = quota_table() if extent.quota_too else "Not part of `make bench-quick`.\n"
    about = about_run(server, rate, load, time.monotonic() - began)
    return Measured(about, pairs, grown, resumed, first_call_s, ours, others, quota)


def about_run(server: Server, rate: float | None, load: float, took_s: float) -> str:
    """Machine, versions, server, and how to read the figures."""
    told = f"{rate:,.0f}" if rate else "an unknown number of"
    return (
        f"{machine(*PACKAGES)}; load {load:.1f} when it began, {os.getloadavg()[0]:.1f} when it ended; took "
        f"{took_s / 60:.0f} minutes. Server: {server.kind}, {told} requests/s with wrk on the same cores. Medians "
        f"(least–most). Memory is the sum of the resident sets of all processes, looked at every "
        f"{tree.POLL_S * 1000:.0f} ms; beside it what they take with each shared page counted once."
    )


def page(extent: Extent, found: Measured) -> str:
    """What is written."""
    return PAGE.format(
        about=found.about,
        cpu_ratio=found.pairs.cpu_ratio,
        speed_ratio=found.pairs.speed_ratio,
        pairs=pair_table(found.pairs),
        peers=markdown(run_peers.HEADS, run_peers.rows(found.ours, found.others)),
        peer_customers=f"{extent.peer_customers:,}",
        customers=f"{extent.customers:,}",
        versions="\n".join(f"* {one.peer.name}: {one.versions}" for one in found.others),
        targets=target_table(extent, found),
        growth=markdown(growth.HEADS, growth.rows(found.grown)),
        resumed=markdown(resume.HEADS, [resume.row_of(one) for one in found.resumed]),
        quota=found.quota,
    )


PAGE = """# Measured

{about}

## Against its own floor

A whole night (`run`: list, fetch, journal, normalize, merge, check, publish, report; every table) takes
**{cpu_ratio} times the CPU** of a loop that only asks and reads with aiohttp, and reaches **{speed_ratio} of its
speed**. {customers} customers, in turn.

{pairs}
## Against its peers

The same {peer_customers} IDs from the same server into Parquet, in turn, start-up included. Each peer as its own
documentation advises (bench/peers); none of them has a journal, exact decimals or a publish step. Of few thousand
customers start-up is the larger part of every row.

{peers}
{versions}

## What is to be reached

{targets}
## How it grows

{growth}
## Resume

{resumed}
## The quota at speed

{quota}"""


def _show(what: str, table: str) -> None:
    print(f"bench: {what}\n{table}", file=sys.stderr, flush=True)


def main() -> int:
    """Run and write bench/RESULTS.md; a quick run only prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than 3 minutes; prints, writes nothing")
    parser.add_argument("--out", type=Path, help="instead of bench/RESULTS.md")
    chosen = parser.parse_args()
    with running_server(may_install=True) as server:
        extent = QUICK if chosen.quick else FULL
        written = page(extent, measure(extent, server))
    sys.stdout.write(written)
    target = chosen.out or (None if chosen.quick else BENCH / "RESULTS.md")
    if target is not None:
        target.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
