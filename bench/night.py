"""A whole night as a user runs it: every table, no limits; beside it, in the same minutes, aiohttp alone."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from bench import bodies, raw_loop, tree
from bench.server import Server, requests_per_second, running_server
from bench.tables import machine, markdown

NIGHT = "2026-11-22"
MAX_IN_FLIGHT = 64


@dataclass(frozen=True)
class Home:
    """A folder as a user has it: config, IDs, workspace, export."""

    root: Path
    config: Path

    @property
    def work(self) -> Path:
        """The night's folder."""
        return self.root / "work" / NIGHT

    def command(self, *words: str) -> list[str]:
        """Arguments for Python: `run`, `rebuild` …, on this config."""
        verb, *more = words
        return ["-m", "pipeline", verb, str(self.config), "--night", NIGHT, *more]

    def journal_bytes(self) -> int:
        """What the journal takes on disk."""
        return sum(path.stat().st_size for path in (self.work / "journal").iterdir())


@contextmanager
def new_home(url: str, customers: int, *, in_order: bool = False) -> Iterator[Home]:
    """A config against the server at `url`, with `customers` IDs in a CSV, out of order if not told otherwise."""
    listed = range(bodies.FIRST_ID, bodies.FIRST_ID + customers) if in_order else bodies.ids(customers)
    with TemporaryDirectory(prefix="bench-night-") as folder:
        root = Path(folder)
        settings = {
            "api": {
                "host": url,
                "auth": {"kind": "basic", "till": "till.01", "password_file": "password"},
                "params": {"gapToUpgrade": 0, "gapToRenew": 0, "includedFraudDetails": True},
            },
            "ids": {"paths": ["ids.csv"]},
            "quota": {"limits": [], "max_in_flight": MAX_IN_FLIGHT},
        }
        (root / "password").write_text("bench")
        (root / "nightly.yaml").write_text(yaml.safe_dump(settings))
        with (root / "ids.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["customer_id"])
            writer.writerows([one] for one in listed)
        yield Home(root, root / "nightly.yaml")


@dataclass(frozen=True)
class NightRun:
    """A night that was measured."""

    customers: int
    used: tree.Used
    journal_bytes: int
    calls_seen: int  # by the server

    @property
    def per_second(self) -> float:
        """Customers a second, start-up and publishing included."""
        return self.customers / self.used.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU of all processes for a customer, in µs."""
        return self.used.cpu_s / self.customers * 1e6

    def process_us(self, name: str) -> float:
        """CPU of one of them for a customer, in µs; to 50 ms in all."""
        return self.used.by_process.get(name, 0.0) / self.customers * 1e6


def measure_night(server: Server, customers: int) -> NightRun:
    """Run a night against the server. Raises RuntimeError where it does not end well."""
    with new_home(server.url, customers) as home:
        server.forget()
        used = tree.run_python(home.command("run", "--quiet", "--json"))
        calls, _ = server.seen()
        if used.exit_code:
            raise RuntimeError(f"the night ended with exit code {used.exit_code}:\n{used.output}")
        return NightRun(customers, used, home.journal_bytes(), calls)


def measure_raw(server: Server, requests: int) -> NightRun:
    """aiohttp alone, in a process of its own. Raises RuntimeError where it does not end well."""
    used = tree.run_python(["-m", raw_loop.__name__, server.url, str(requests)])
    if used.exit_code:
        raise RuntimeError(f"the raw loop ended with exit code {used.exit_code}:\n{used.output}")
    return NightRun(requests, used, 0, requests)


HEADS = (
    "what", "customers/s", "CPU µs a customer", "of it main", "of it scribe", "peak MB", "shared pages once",
    "journal bytes a customer", "calls",
)  # fmt: skip


def row_of(name: str, one: NightRun) -> list[str]:
    """A run in the table."""
    return [
        name,
        f"{one.per_second:,.0f}",
        f"{one.cpu_us:,.0f}",
        *(f"{one.process_us(process):,.0f}" for process in ("main", "scribe")),
        f"{one.used.peak_bytes / 1e6:,.0f}",
        f"{one.used.peak_once_bytes / 1e6:,.0f}",
        f"{one.journal_bytes / one.customers:,.0f}",
        f"{one.calls_seen:,}",
    ]


def main() -> int:
    """Some nights and raw loops in turn, in a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.night", description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rows, ratios = [], []
    with running_server(may_install=True) as server:
        rate = requests_per_second(server)
        for _ in range(chosen.rounds):
            raw, night = measure_raw(server, chosen.customers), measure_night(server, chosen.customers)
            rows += [row_of("raw loop", raw), row_of("night", night)]
            ratios.append(night.cpu_us / raw.cpu_us)
        print(
            f"{machine('aiohttp', 'pyarrow', 'msgspec')}; {server.kind}, wrk: {rate or 0:,.0f} requests/s\n"
        )
    print(markdown(HEADS, rows))
    print(f"CPU of a night to a raw loop's: {', '.join(f'{one:.2f}' for one in sorted(ratios))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
