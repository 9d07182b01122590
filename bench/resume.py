"""A night that was stopped with millions done: seconds to its first call, as the server sees it, and to its end."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass

from bench import tree
from bench.server import Server, running_server
from bench.synthetic import CHUNK, Template, fetched_template, synthetic_night
from bench.tables import machine, markdown
from pipeline.store.ledger import CALLS

LEFT = 1_000
"""So many customers are still to be asked for."""
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Resumed:
    """A resume that was measured, to the published snapshot."""

    done: int  # customers answered before
    first_call_s: float  # from the start of the program
    calls_seen: int  # by the server
    used: tree.Used


def measure_resume(server: Server, template: Template, chunks: int) -> Resumed:
    """Go on with a synthetic night. Raises RuntimeError where it does not end well, or asks for whom it need not."""
    with synthetic_night(server, template, chunks, LEFT, with_bodies=False) as home:
        server.forget()
        used = tree.run_python(home.command("run", "--quiet"))
        calls, first_at = server.seen()
    if used.exit_code or calls != LEFT:
        told = f"exit code {used.exit_code}, {calls:,} calls instead of {LEFT:,}"
        raise RuntimeError(f"the resume ended with {told}:\n{used.output}")
    return Resumed(chunks * CHUNK, first_at - used.began_at, calls, used)


def measure_first_call(server: Server, template: Template, chunks: int) -> float:
    """Seconds from the start of the program to its first call; it is killed then. Raises RuntimeError without a call.

    The lists of calls are all that such a night needs to begin: so millions are prepared in seconds.
    """
    with synthetic_night(server, template, chunks, LEFT, with_bodies=False, tables=CALLS) as home:
        server.forget()
        began, command = time.time(), [sys.executable, *home.command("run", "--quiet")]
        with subprocess.Popen(command, cwd=tree.ROOT, stdin=subprocess.DEVNULL) as process:
            try:
                return _first_call_at(server, process) - began
            finally:
                process.kill()


def _first_call_at(server: Server, process: subprocess.Popen[bytes]) -> float:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        _, first_at = server.seen()
        if first_at:
            return first_at
        time.sleep(0.1)
    raise RuntimeError(f"no call within {PATIENCE_S:.0f} s, exit code {process.poll()}")


HEADS = (
    "done before",
    "first call after s",
    "whole, with merge and publish, s",
    "CPU µs a customer",
    "peak MB",
)


def row_of(one: Resumed) -> list[str]:
    """A run in the table."""
    cpu_us = one.used.cpu_s / (one.done + LEFT) * 1e6
    return [
        f"{one.done:,}",
        f"{one.first_call_s:.1f}",
        f"{one.used.wall_s:,.1f}",
        f"{cpu_us:,.1f}",
        f"{one.used.peak_bytes / 1e6:,.0f}",
    ]


def main() -> int:
    """One resume, in a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.resume", description=__doc__)
    parser.add_argument("--chunks", type=int, default=245, help=f"of {CHUNK:,} customers")
    parser.add_argument("--first-call", action="store_true", help="only the seconds to the first call")
    chosen = parser.parse_args()
    with running_server() as server, fetched_template(server) as template:
        if chosen.first_call:
            first_s = measure_first_call(server, template, chosen.chunks)
            print(f"{chosen.chunks * CHUNK:,} done: the first call came after {first_s:.1f} s")
            return 0
        rows = [row_of(measure_resume(server, template, chosen.chunks))]
    print(f"{machine('pyarrow', 'numpy')}\n\n{markdown(HEADS, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
