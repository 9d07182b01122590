"""How much of the quota is used, and whether the server ever saw one call too many: `make bench-quota`.

Each case is a process of its own that fetches for a while with everything a night has (pool, quota, client, the
second process that writes the journal) from a server in another process, which notes when each call arrived. What is
counted is counted from those arrivals. Everything is on loopback, bounded in time, and leaves nothing but its table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipeline.blocks import TABLES
from pipeline.config import Config
from pipeline.errors import StoppedError
from pipeline.fetch import FetchJob, fetch
from pipeline.fetch.client import Question
from pipeline.normalize.helper import standing_by, start
from pipeline.normalize.scribe import Job
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from pipeline.sandbox.judge import busiest
from pipeline.stats import Tally

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "bench" / "QUOTA.md"
LONG_S = 122.0
FAST_S = 12.0
FASTEST_S = 20.0
ROUNDS = 3
"""Longer, because a night's first second, in which hundreds of connections are made, is not what its pace is."""
SHORT_S = 9.0
PATIENCE_S = LONG_S + 240.0
CUSTOMERS = 1000
MAX_IN_FLIGHT = 256
SETTLING_S = 0.25
"""Calls that had their turn before the calendar's switch arrive at most so much after it."""


@dataclass(frozen=True)
class Case:
    """A night's quota, for how long, and the server to meet it. A limit is (calls, seconds)."""

    name: str
    limits: Sequence[tuple[int, float]]
    seconds: float
    faults: str = "latency=20ms±2ms"
    is_tiny: bool = False  # a server that does nothing but note and answer
    admits: tuple[int, float] | None = None  # what the server lets through, where less than we are told
    later: Sequence[tuple[int, float]] = ()  # the calendar's limits in the middle third


def all_cases() -> tuple[list[Case], list[Case]]:
    """Those slow enough to run beside each other, and those that need the machine."""
    beside = [
        Case("1/s", [(1, 1.0)], LONG_S),
        Case("10/s", [(10, 1.0)], LONG_S),
        Case("100/60s", [(100, 60.0)], LONG_S),
        Case("1000/60s", [(1000, 60.0)], LONG_S),
        Case("20/s & 600/60s", [(20, 1.0), (600, 60.0)], LONG_S),
        Case("20/s & 600/60s & 900/2h", [(20, 1.0), (600, 60.0), (900, 7200.0)], LONG_S),
        Case("40/s, server admits 25/s", [(40, 1.0)], LONG_S, admits=(25, 1.0)),
        Case("40/2s, 10/2s by calendar, 40/2s", [(40, 2.0)], 60.0, later=[(10, 2.0)]),
    ]
    alone = [
        Case("50/s", [(50, 1.0)], FAST_S),
        Case("200/s", [(200, 1.0)], FAST_S),
        Case("500/s", [(500, 1.0)], FAST_S),
        Case("1000/s", [(1000, 1.0)], FASTEST_S, faults="", is_tiny=True),
        Case("3000/s", [(3000, 1.0)], FASTEST_S, faults="", is_tiny=True),
    ]
    return beside, alone


def short_cases() -> tuple[list[Case], list[Case]]:
    """A few seconds' worth, for the test suite."""
    return [
        Case("60/4s & 30/1s", [(60, 4.0), (30, 1.0)], SHORT_S, faults=""),
        Case("800/4s", [(800, 4.0)], SHORT_S, faults="", is_tiny=True),
    ], []


# The server


class TinyServer(asyncio.Protocol):
    """Notes when a request arrived and answers with a customer of nothing but an ID."""

    arrivals = array("d")
    path = re.compile(rb"GET /v2/customers/(\d+)")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A whole request: the client sends one in one piece, and the next after the answer."""
        self.arrivals.append(time.monotonic())
        found = self.path.match(data)
        body = b'{"id":%b}' % (found[1] if found else b"0")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def serve(case: Case, report: Path) -> None:
    """Until told to stop; then writes what it saw. Its first line on stdout is its URL."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if case.is_tiny:
        server = await asyncio.get_running_loop().create_server(TinyServer, "127.0.0.1", 0, backlog=1024)
        _announce(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
        arrivals, admitted, statuses, most = TinyServer.arrivals, TinyServer.arrivals, Counter[str](), 0
    else:
        calls, window_s = case.admits or (0, 1.0)
        config = SandboxConfig(
            customers=CUSTOMERS, faults=case.faults, calls_per_minute=calls, window_s=window_s
        )
        async with Sandbox(config) as sandbox:
            _announce(sandbox.url)
            await stop.wait()
        judge = sandbox.judge
        arrivals, admitted, statuses, most = (
            judge.arrivals,
            judge.admitted,
            judge.statuses,
            judge.most_in_flight,
        )
    found = {
        "arrivals": list(arrivals),
        "admitted": list(admitted),
        "statuses": statuses,
        "most_in_flight": most,
    }
    report.write_text(json.dumps(found))  # noqa: ASYNC240 - nobody is served any more


def _announce(url: str) -> None:
    print(url, flush=True)


@contextmanager
def server_of(case: Case, report: Path) -> Iterator[str]:
    """The case's server in a process of its own; its report is there when the block has ended."""
    process = subprocess.Popen(_command("serve", case, str(report)), stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


# The client


def fetch_for_a_while(case: Case, url: str, home: Path) -> tuple[float, Tally]:
    """A night's fetch that is stopped after a while. Gives when its calendar began (monotonic), and its counts."""
    config, began = _config(case, url)
    tally = Tally()
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT)
    journal, parts = home / "journal", home / "parts"
    journal.mkdir()
    parts.mkdir()
    job = Job(
        night=date(2026, 11, 22),
        journal=journal,
        parts=parts,
        first_chunk=0,
        tables=[one.name for one in TABLES],
    )
    with standing_by():  # as `run` does
        process, sock = start(job, lock)
    try:
        fetch(
            FetchJob(config, SecretStr("sandbox"), ["points"], sock, tally, stop_in_s=case.seconds),
            map(Question, cycle(known_ids(CUSTOMERS))),
        )
    except StoppedError:
        pass  # the while is over
    finally:
        sock.close()
        process.wait()
        os.close(lock)
    return began, tally


def _config(case: Case, url: str) -> tuple[Config, float]:
    now, began = datetime.now(UTC), time.monotonic()
    third = timedelta(seconds=round(case.seconds / 3))
    hours = {
        "from": f"{now + third:%H:%M:%S}",
        "to": f"{now + 2 * third:%H:%M:%S}",
        "limits": _limits(case.later),
    }
    quota: dict[str, Any] = {"limits": _limits(case.limits), "max_in_flight": MAX_IN_FLIGHT}
    if case.later:
        quota["calendar"] = [hours]
        began -= now.microsecond / 1e6  # hours begin at whole seconds
    auth = {"kind": "basic", "till": "till.01", "password_env": "X"}
    settings = {
        "api": {"host": url, "auth": auth},
        "ids": {"paths": ["ids.csv"]},
        "quota": quota,
        "window": {"timezone": "UTC"},
    }
    return Config.model_validate(settings), began


def _limits(limits: Sequence[tuple[int, float]]) -> list[dict[str, float]]:
    return [{"calls": calls, "per_s": per_s} for calls, per_s in limits]


# Counting


@dataclass(frozen=True)
class Row:
    """What came of one limit in one case."""

    name: str
    limit: str
    allowed: int  # in whole windows from the first arrival
    used: int
    share: float
    busiest: int  # in any sliding window, as the server saw it
    calls: int  # that such a window may hold
    throttled: int
    most_in_flight: int
    shares: tuple[float, ...] = ()  # of every round, where there were several

    @property
    def holds(self) -> bool:
        """Whether no window held one call too many."""
        return self.busiest <= self.calls


@dataclass(frozen=True)
class Seen:
    """What the server saw."""

    arrivals: list[float]
    admitted: list[float]
    statuses: dict[str, int] = field(default_factory=dict)
    most_in_flight: int = 0


def run_case(case: Case) -> list[Row]:
    """Server, client, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "seen.json"
        with server_of(case, report) as url:
            began, _ = fetch_for_a_while(case, url, Path(folder))
        seen = Seen(**json.loads(report.read_text()))
    if case.later:
        return _rows_by_calendar(case, seen, began)
    if case.admits:
        return [_row(case, case.admits, seen, seen.admitted)]
    return [_row(case, limit, seen, seen.arrivals) for limit in _binding(case)]


def _binding(case: Case) -> list[tuple[int, float]]:
    """Limits in the order of what they leave to a case as long as this: the first is the one to be used up."""
    return sorted(case.limits, key=lambda limit: limit[0] * max(1.0, case.seconds / limit[1]))


def _row(case: Case, limit: tuple[int, float], seen: Seen, moments: list[float]) -> Row:
    calls, per_s = limit
    allowed, used, share = used_share(moments, calls, per_s)
    label = f"{calls} per {per_s:g} s"
    throttled = seen.statuses.get("429", 0)
    most = busiest(moments, per_s) if moments else 0
    return Row(case.name, label, allowed, used, share, most, calls, throttled, seen.most_in_flight)


def used_share(moments: Sequence[float], calls: int, per_s: float) -> tuple[int, int, float]:
    """Allowed and used in the whole windows from the first moment on, and the share of the pace.

    The share is the lower of two: used by allowed, and the pace between the first and the last of those calls. The
    second is stricter where a window holds few calls, the first where they do not come evenly.
    """
    first = moments[0]
    windows = max(1, int((moments[-1] - first) / per_s))
    used = [one for one in moments if one - first < windows * per_s]
    share = len(used) / (windows * calls)
    if len(used) > 1:
        share = min(share, (len(used) - 1) / (used[-1] - first) * per_s / calls)
    return windows * calls, len(used), share


def _rows_by_calendar(case: Case, seen: Seen, began: float) -> list[Row]:
    """Before the switch, after it, and after the switch back; a window counts for the limit that holds at its end."""
    third = round(case.seconds / 3)
    edges = [began, began + third, began + 2 * third, began + 3 * third]
    found = []
    for number, (calls, per_s) in enumerate([case.limits[0], case.later[0], case.limits[0]]):
        start_at, end = edges[number] + SETTLING_S * (number > 0), edges[number + 1]
        inside = [one for one in seen.arrivals if start_at <= one < end]
        most = max(sum(1 for one in seen.arrivals if last - per_s < one <= last) for last in inside)
        allowed, used, share = used_share(inside, calls, per_s)
        label = f"{calls} per {per_s:g} s, {('before', 'then', 'after')[number]}"
        found.append(Row(case.name, label, allowed, used, share, most, calls, 0, seen.most_in_flight))
    return found


# Running them all


def run_all(beside: Sequence[Case], alone: Sequence[Case], rounds: int = 1) -> list[Row]:
    """First all that may run beside each other, then the others by themselves, each `rounds` times in turn."""
    running = [_started(case) for case in beside]
    rows = [row for process in running for row in _rows_of(process)]
    found = [[row for case in alone for row in _rows_of(_started(case))] for _ in range(rounds)]
    return rows + [together(of_one) for of_one in zip(*found, strict=True)]


def together(rows: Sequence[Row]) -> Row:
    """One row of several rounds: the round of the median share, but the fullest window and the 429s of all of them."""
    ordered = sorted(rows, key=lambda row: row.share)
    return replace(
        ordered[len(ordered) // 2],
        busiest=max(row.busiest for row in rows),
        throttled=sum(row.throttled for row in rows),
        shares=tuple(row.share for row in ordered) if len(rows) > 1 else (),
    )


def _started(case: Case) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_command("case", case), stdout=subprocess.PIPE, cwd=ROOT)


def _rows_of(process: subprocess.Popen[bytes]) -> list[Row]:
    output, _ = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise SystemExit(f"A case ended with exit code {process.returncode}.")
    return [Row(**row) for row in json.loads(output)]


def _command(what: str, case: Case, *words: str) -> list[str]:
    return [sys.executable, "-m", "bench.quota", what, json.dumps(asdict(case)), *words]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| case | limit | allowed | used | share used | busiest window / allowed | 429s | most in flight |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        most = row.most_in_flight or "–"
        lines.append(
            f"| {row.name} | {row.limit} | {row.allowed} | {row.used} | {100 * row.share:.2f} %{_range(row)} "
            f"| {row.busiest} / {row.calls}{'' if row.holds else ' **too many**'} | {row.throttled} | {most} |"
        )
    return "\n".join(lines)


def _range(row: Row) -> str:
    return f" ({100 * row.shares[0]:.2f}–{100 * row.shares[-1]:.2f})" if row.shares else ""


def page(rows: Sequence[Row], load: Sequence[float]) -> str:
    """The table with what it was measured on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "aiolimiter"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}"
    return f"""# The quota, used and kept

Made by `make bench-quota` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; not written by hand.
Machine: {machine}; Python {platform.python_version()}, {packages}. Loopback, client and server on the same cores.

Load average before and after: {load[0]:.1f} and {os.getloadavg()[0]:.1f}. Where it is above the number of cores, others
were at work, and a share below 99 % at the higher paces says as much of them as of the pace.

From 50/s on each case ran {ROUNDS} times, in turn: the share is the median (least–most), the window the fullest of all.
Allowed and used are counted in whole windows from the first arrival. Busiest is the fullest sliding window, wherever it
starts, by the server's own clock; of the calendar's, the fullest that ends while the limit holds. The server is the
sandbox with 18 to 22 ms of latency (a wider spread costs limits by the second more, see `fetch.window`); from 1000/s on
it is one that only notes and answers, which leaves the cores to the client. Of several limits the tighter ones keep the
others from being used; where the server admits less than it says, the pace is halved and creeps back.

{table(rows)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every limit held."""
    parser = argparse.ArgumentParser(prog="python -m bench.quota", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "case", "serve"), default="all")
    parser.add_argument("case", nargs="?")
    parser.add_argument("report", nargs="?", type=Path)
    parser.add_argument("--short", action="store_true", help="a few seconds; writes no file")
    given = parser.parse_args(arguments)
    if given.what == "serve":
        asyncio.run(serve(Case(**json.loads(given.case)), given.report))
        return 0
    if given.what == "case":
        print(json.dumps([asdict(row) for row in run_case(Case(**json.loads(given.case)))]))
        return 0
    load = os.getloadavg()
    rows = run_all(*short_cases()) if given.short else run_all(*all_cases(), ROUNDS)
    print(table(rows))
    if not given.short:
        TABLE.write_text(page(rows, load))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
