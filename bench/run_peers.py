"""The peers: each in its own environment, the same work, side by side.

Environments lie in bench/.peers, made when they are missing or their list has changed, with uv where it is, else venv
and pip. A peer whose environment cannot be made, or that fails, stands in the table as such.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from bench import tree
from bench.night import NightRun, measure_night, new_home
from bench.ranges import spread
from bench.server import Server, running_server
from bench.stopwatch import Budget
from bench.tables import BENCH, machine, markdown

PEERS = BENCH / "peers"
ENVIRONMENTS = BENCH / ".peers"
INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 300

Command = Callable[[str, str, str, str], list[str]]
"""Python, URL, CSV of IDs, folder for the tables → what to run."""


def _plain(file: str) -> Command:
    return lambda python, url, ids_csv, folder: [python, str(PEERS / file), url, ids_csv, folder]


def _singer(python: str, url: str, ids_csv: str, folder: str) -> list[str]:
    return ["bash", str(PEERS / "singer.sh"), python, url, ids_csv, folder]


@dataclass(frozen=True)
class Peer:
    """One of them. `requirements` names its list of packages and its environment."""

    name: str
    requirements: str
    command: Command


ALL = (
    Peer("aiohttp + pandas script", "script", _plain("script.py")),
    Peer("the same, tuned", "tuned", _plain("tuned.py")),
    Peer("dlt", "dlt", _plain("dlt_peer.py")),
    Peer("Singer SDK", "singer", _singer),
    Peer("Scrapy", "scrapy", _plain("scrapy_peer.py")),
)


@dataclass
class Standing:
    """What a peer has shown so far. `trouble`: why there is nothing more."""

    peer: Peer
    runs: list[NightRun] = field(default_factory=list)
    rows: int = 0  # of all its tables
    tables: int = 0
    trouble: str = ""

    @property
    def versions(self) -> str:
        """What its list of packages says."""
        lines = (PEERS / f"{self.peer.requirements}.txt").read_text().splitlines()
        return ", ".join(line.replace("==", " ") for line in lines)


def prepare(peer: Peer) -> str:
    """Make the peer's environment where it is missing or out of date; what went wrong, or nothing."""
    wanted = PEERS / f"{peer.requirements}.txt"
    home = ENVIRONMENTS / peer.requirements
    stamp = home / ".made-of"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return ""
    shutil.rmtree(home, ignore_errors=True)
    for command in _install_commands(home, wanted):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
        except subprocess.CalledProcessError as exc:
            return f"its environment cannot be made: {(exc.stderr.strip().splitlines() or ['no reason told'])[-1]}"
        except (OSError, subprocess.TimeoutExpired) as exc:
            return f"its environment cannot be made: {type(exc).__name__}"
    stamp.write_text(digest)
    return ""


def _install_commands(home: Path, wanted: Path) -> list[list[str]]:
    python = str(home / "bin" / "python")
    if uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--quiet", "--python", python, "-r", str(wanted)]
        return [[uv, "venv", "--quiet", "--python", sys.executable, str(home)], install]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)]
    return [[sys.executable, "-m", "venv", str(home)], install]


def run_once(standing: Standing, server: Server, customers: int) -> None:
    """One run; a failure ends the peer's part."""
    python = str(ENVIRONMENTS / standing.peer.requirements / "bin" / "python")
    with new_home(server.url, customers) as home, TemporaryDirectory(prefix="bench-peer-") as folder:
        server.forget()
        command = standing.peer.command(python, server.url, str(home.root / "ids.csv"), folder)
        used = tree.run(command, timeout_s=RUN_TIMEOUT_S)
        calls, _ = server.seen()
        standing.rows, standing.tables, has_all = _written(Path(folder), customers)
    if used.exit_code or calls < customers or not has_all:
        last = (used.output.strip().splitlines() or ["no word"])[-1][:200]
        standing.trouble = f"failed with exit code {used.exit_code} after {calls:,} calls: {last}"
        return
    standing.runs.append(NightRun(customers, used, 0, calls))


def _written(folder: Path, customers: int) -> tuple[int, int, bool]:
    """Rows of all tables, how many tables, and whether one of them has a row for every customer."""
    by_table: dict[str, int] = {}
    for path in folder.rglob("*.parquet"):
        table = path.stem if path.parent == folder or not path.stem.isdigit() else path.parent.name
        table = path.parent.name if path.parent.parent.name == "export" else table
        by_table[table] = by_table.get(table, 0) + pq.read_metadata(path).num_rows
    return sum(by_table.values()), len(by_table), customers in by_table.values()


def side_by_side(
    server: Server, customers: int, rounds: int, budget: Budget
) -> tuple[Standing, list[Standing]]:
    """Our night and each peer, in turn, for as many of the rounds as fit into the budget by what the first took."""
    ours = Standing(Peer("capillary-export", "", _plain("")))
    others = [Standing(peer, trouble=prepare(peer)) for peer in ALL]
    for _ in range(rounds):
        if budget.needs_s("round", 1) >= budget.left_s:
            break
        with budget.taking("round", 1):
            _run_ours(ours, server, customers)
            for one in others:
                _run_in_time(one, server, customers, budget)
    return ours, others


def _run_in_time(one: Standing, server: Server, customers: int, budget: Budget) -> None:
    if one.trouble:
        return
    if budget.left_s < 0:
        one.trouble = "no time was left"
        return
    run_once(one, server, customers)


def _run_ours(ours: Standing, server: Server, customers: int) -> None:
    try:
        ours.runs.append(measure_night(server, customers))
    except RuntimeError as exc:
        ours.trouble = str(exc).splitlines()[0]


HEADS = (
    "",
    "customers/s",
    "times as slow as ours",
    "CPU µs a customer",
    "times our CPU",
    "peak MB",
    "tables",
    "runs",
)


def rows(ours: Standing, others: Sequence[Standing]) -> list[list[str]]:
    """The table: ratios are of medians."""
    return [row_of(one, ours) for one in (ours, *others)]


def row_of(one: Standing, ours: Standing) -> list[str]:
    """A peer in the table, or why it has no figures."""
    if not one.runs or not ours.runs:
        return [one.peer.name, one.trouble or "not run", *[""] * (len(HEADS) - 2)]
    speed, cpu = spread([run.per_second for run in one.runs]), spread([run.cpu_us for run in one.runs])
    our_speed, our_cpu = (
        spread([run.per_second for run in ours.runs]),
        spread([run.cpu_us for run in ours.runs]),
    )
    return [
        one.peer.name,
        str(speed),
        f"{our_speed.median / speed.median:.1f}",
        str(cpu),
        f"{cpu.median / our_cpu.median:.1f}",
        str(spread([run.used.peak_bytes / 1e6 for run in one.runs])),
        str(one.tables) if one.tables else "31 and accounts",
        f"{len(one.runs)}{f' ({one.trouble})' if one.trouble else ''}",
    ]


def main() -> int:
    """Some rounds, in a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.run_peers", description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=900)
    chosen = parser.parse_args()
    with running_server(may_install=True) as server:
        ours, others = side_by_side(server, chosen.customers, chosen.rounds, Budget(chosen.seconds))
    print(f"{machine('aiohttp', 'pyarrow')}\n\n{markdown(HEADS, rows(ours, others))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
