"""All tables again from the journal, no API call: how fast, and in how much memory."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from bench import tree
from bench.server import Server, running_server
from bench.synthetic import CHUNK, Template, fetched_template, synthetic_night
from bench.tables import machine, markdown


@dataclass(frozen=True)
class Rebuilt:
    """A rebuild that was measured."""

    customers: int
    used: tree.Used

    @property
    def per_second(self) -> float:
        """Customers a second, start-up included."""
        return self.customers / self.used.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU of all processes for a customer, in µs."""
        return self.used.cpu_s / self.customers * 1e6


def measure_rebuild(server: Server, template: Template, chunks: int) -> Rebuilt:
    """Rebuild a synthetic night. Raises RuntimeError where it does not end well."""
    with synthetic_night(server, template, chunks, 0, with_bodies=True) as home:
        used = tree.run_python(home.command("rebuild"))
    if used.exit_code:
        raise RuntimeError(f"the rebuild ended with exit code {used.exit_code}:\n{used.output}")
    return Rebuilt(chunks * CHUNK, used)


HEADS = ("customers", "customers/s", "CPU µs a customer", "peak MB", "shared pages once")


def row_of(one: Rebuilt) -> list[str]:
    """A run in the table."""
    peaks = [f"{size / 1e6:,.0f}" for size in (one.used.peak_bytes, one.used.peak_once_bytes)]
    return [f"{one.customers:,}", f"{one.per_second:,.0f}", f"{one.cpu_us:,.0f}", *peaks]


def main() -> int:
    """One rebuild, in a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.rebuild", description=__doc__)
    parser.add_argument("--chunks", type=int, default=12, help=f"of {CHUNK:,} customers")
    chosen = parser.parse_args()
    with running_server() as server, fetched_template(server) as template:
        rows = [row_of(measure_rebuild(server, template, chosen.chunks))]
    print(f"{machine('pyarrow', 'msgspec')}\n\n{markdown(HEADS, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
