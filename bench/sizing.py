"""How much disk, memory and time an export takes, by the size of the base and the quota. `make sizing`.

A whole night against the sandbox is run and measured; the program's own plan (`pipeline.plan`) then does the arithmetic
for other sizes. Writes bench/SIZING.md, whose tables stand in docs/operations.md, too.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.tables import BENCH, machine, markdown
from pipeline.config import LimitConfig, OutputConfig, QuotaConfig, WorkConfig
from pipeline.night.learned import learn
from pipeline.plan import (
    MEMORY_BYTES_PER_ID,
    ROW_GROUP_BYTES_PER_ID,
    ROW_GROUPS_BYTES,
    Learned,
    Plan,
    make_plan,
)
from pipeline.plan.allowance import Allowance
from pipeline.sandbox import known_ids
from pipeline.store.ledger import calls_parts
from pipeline.store.parts import read_part
from pipeline.store.workspace import Workspace

IDS = int(os.environ.get("SIZING_IDS", 25_000))
FEWER = IDS // 5
CUSTOMERS = (100_000, 1_000_000, 10_000_000)
CALLS_A_MINUTE = (100, 1_000, 3_000)
WINDOW_H = 5
KNOWN_FILES = 3
"""work/known keeps so many (pipeline/night/known.py)."""
TABLE_BEGINS, TABLE_ENDS = "<!-- sizing -->", "<!-- /sizing -->"


@dataclass(frozen=True)
class Measured:
    """What the night of the measurement took."""

    learned: Learned
    known_bytes_per_id: float
    seconds_after_per_id: float  # from the last call to the end, for each customer in the snapshot
    body_bytes: float


@contextmanager
def sandbox(ids: int) -> Iterator[str]:
    """The API's stand-in in a process of its own; gives its URL."""
    words = [sys.executable, "-m", "pipeline", "sandbox", "--port", "0", "--customers", str(ids)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def night(root: Path, ids: int) -> list[dict[str, Any]]:
    """Run a night of everybody; gives its events."""
    root.mkdir()
    with sandbox(ids) as url:
        (root / "ids.csv").write_text("customer_id\n" + "\n".join(map(str, known_ids(ids))) + "\n")
        settings = {
            "api": {
                "host": url,
                "auth": {"kind": "basic", "till": "till.01", "password_env": "SIZING_PASSWORD"},
            },
            "ids": {"paths": ["ids.csv"]},
            "quota": {"limits": [{"calls": 100_000, "per_s": 1}]},
        }
        (root / "nightly.yaml").write_text(yaml.safe_dump(settings))
        words = [sys.executable, "-m", "pipeline", "run", str(root / "nightly.yaml"), "--log-format", "json"]
        environ = {**os.environ, "SIZING_PASSWORD": "sandbox"}
        done = subprocess.run(words, check=True, capture_output=True, text=True, env=environ)
    return [json.loads(line) for line in done.stderr.splitlines()]


def measure(root: Path) -> Measured:
    """Run two nights, and look at what the larger one left; two, because starting takes its time, too."""
    after = {
        ids: _seconds(night(root / str(ids), ids), "fetch.ended", "snapshot.followed") for ids in (FEWER, IDS)
    }
    work = root / str(IDS) / "work"
    (known,) = (work / "known").glob("*.known")
    return Measured(
        learned=learn(Workspace(work)),
        known_bytes_per_id=known.stat().st_size / IDS,
        seconds_after_per_id=max(0.0, after[IDS] - after[FEWER]) / (IDS - FEWER),
        body_bytes=_mean_body_bytes(work),
    )


def _seconds(events: list[dict[str, Any]], first: str, last: str) -> float:
    times = {one["event"]: datetime.fromisoformat(one["timestamp"]) for one in events}
    return (times[last] - times[first]).total_seconds()


def _mean_body_bytes(work: Path) -> float:
    paths = [path for parts in work.glob("*/parts") for path in calls_parts(parts)]
    sizes = [batch.column(0).to_numpy() for path in paths for batch in read_part(path, ["body_bytes"])]
    return float(np.concatenate(sizes).mean())


def plan_of(customers: int, calls_a_minute: int, learned: Learned) -> Plan:
    """A night of `WINDOW_H` hours, everybody due."""
    quota = QuotaConfig(limits=[LimitConfig(calls=calls_a_minute, per_s=60)])
    start = datetime(2026, 11, 24, tzinfo=UTC)
    return make_plan(
        ids=customers,
        due=customers,
        limit=None,
        allowance=Allowance(quota, None, start),
        window_ends=start + timedelta(hours=WINDOW_H),
        learned=learned,
    )


def row(customers: int, calls_a_minute: int, found: Measured) -> list[str]:
    """One line of the table."""
    plan, learned = plan_of(customers, calls_a_minute, found.learned), found.learned
    assert plan.fits is not None
    round_h = customers * learned.calls_per_id / calls_a_minute / 60
    nights, snapshots = WorkConfig().keep_nights + 1, OutputConfig().keep_snapshots + 1
    work = (
        nights * plan.asked * learned.night_bytes_per_id + KNOWN_FILES * customers * found.known_bytes_per_id
    )
    output = snapshots * customers * learned.snapshot_bytes_per_id
    return [
        f"{customers:,}",
        f"{calls_a_minute:,}",
        f"{round_h:,.1f}",
        f"{plan.asked:,}",
        f"{math.ceil(customers / plan.fits):,}",
        _gb(work),
        _gb(output),
        f"{plan.memory_bytes / 1e6:,.0f}",
        f"{customers * found.seconds_after_per_id / 60:,.1f}",
    ]


def _gb(count: float) -> str:
    return f"{count / 1e9:,.1f}" if count < 1e11 else f"{count / 1e9:,.0f}"


def tables(found: Measured) -> str:
    """Both tables, as they stand in the docs."""
    learned = found.learned
    heads = [
        "customers",
        "calls a minute",
        "a round of all, hours",
        f"asked in a night of {WINDOW_H} h",
        "nights for a round",
        "`work`, GB",
        "`export`, GB",
        "memory, MB",
        "after the calls, minutes",
    ]
    rows = [row(customers, pace, found) for customers in CUSTOMERS for pace in CALLS_A_MINUTE]
    per_id = [
        ["an answer, as it comes", f"{found.body_bytes:,.0f}"],
        ["journal and parts, of an ID asked", f"{learned.night_bytes_per_id:,.0f}"],
        ["tables, of a customer in a snapshot", f"{learned.snapshot_bytes_per_id:,.0f}"],
        [
            f"`work/known`, of an ID ever asked, each of {KNOWN_FILES} files",
            f"{found.known_bytes_per_id:,.0f}",
        ],
    ]
    return f"{markdown(heads, rows)}\n{markdown(['what', 'bytes'], per_id)}"


ABOUT = """Nights of {fewer:,} and {ids:,} customers against the sandbox, all tables, measured; then the arithmetic of
`plan` for other sizes: {calls:.3f} calls an ID, {nights} nights of `work` and {snapshots} snapshots kept beside
tonight's; of memory, {each:,.0f} bytes for each ID and {memory:,.0f} MB for both processes of the fetch, or
{merge:,.0f} MB for the merge and {few:,.0f} bytes more for each ID until that is {most:,.0f} MB, whichever is more.
Your own answers may be larger or smaller: after the first nights `plan` and `doctor` go by what those took.
"""


def main() -> None:
    """Measure, compute, write."""
    with tempfile.TemporaryDirectory(prefix="sizing-") as folder:
        found = measure(Path(folder))
    about = ABOUT.format(
        ids=IDS,
        fewer=FEWER,
        calls=found.learned.calls_per_id,
        nights=WorkConfig().keep_nights,
        snapshots=OutputConfig().keep_snapshots,
        memory=found.learned.memory_bytes / 1e6,
        merge=found.learned.merge_bytes / 1e6,
        few=ROW_GROUP_BYTES_PER_ID,
        most=ROW_GROUPS_BYTES / 1e6,
        each=MEMORY_BYTES_PER_ID,
    )
    made = tables(found)
    sys.stdout.write(f"{about}\n{made}")
    (BENCH / "SIZING.md").write_text(f"# Sizing\n\n{machine('pyarrow')}, `make sizing`.\n\n{about}\n{made}")
    page = BENCH.parent / "docs" / "operations.md"
    before, _, rest = page.read_text().partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    page.write_text(f"{before}{TABLE_BEGINS}\n\n{about}\n{made}\n{TABLE_ENDS}{after}")


if __name__ == "__main__":
    main()
