"""What the checks of a large snapshot take: a small one's tables, copied side by side until there are many customers.

Measured in a process of its own. `python -m bench.checks_cost` prints a line.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.nights import FIRST_NIGHT, Export, running
from pipeline import checks
from pipeline.config import ChecksConfig
from pipeline.merge import ROW_GROUP_BYTES, write_files
from pipeline.sandbox import SandboxConfig
from pipeline.store.snapshots import Snapshots

SMALL = 1_000
_APART = 10_000_000
"""Between two copies of one customer."""


def main(arguments: list[str] | None = None) -> int:
    """Make the snapshots, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks_cost", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    copies = parser.parse_args(arguments).customers // SMALL
    with tempfile.TemporaryDirectory() as home, running(SandboxConfig(customers=SMALL)) as sandbox:
        export = Export(Path(home) / "small", sandbox, SMALL).begin()
        export.run()
        rows = {name: _copied(export, name, copies, Path(home)) for name in _tables(export)}
        seconds, peak = _apart(_examine, Path(home), rows, copies)
    total, size = sum(rows.values()), f"{ROW_GROUP_BYTES >> 20} MiB"
    sys.stdout.write(
        f"{rows['customers']:,} customers, {total:,} rows in {len(rows)} tables (row groups of {size}), compared with "
        f"a snapshot of the same size: {seconds:.1f} s, {peak / 1e6:,.0f} MB at the peak.\n"
    )
    return 0


def _tables(export: Export) -> list[str]:
    snapshots = Snapshots(export.root / "export")
    live = snapshots.current()
    assert live is not None
    return list(snapshots.manifest(live.snapshot).tables)


def _copied(export: Export, table: str, copies: int, home: Path) -> int:
    """A table with so many copies of each customer, sorted. Gives its rows."""
    snapshots = Snapshots(export.root / "export")
    live = snapshots.current()
    assert live is not None
    paths = snapshots.paths(snapshots.manifest(live.snapshot), table)
    rows = pa.concat_tables([pq.read_table(path) for path in paths])
    once = table in ("rejects", "rejected_ids", "unknown_fields")
    written = write_files(_moved(rows, 1 if once else copies), rows.schema, home / "large" / table, "zstd")
    return written.rows


def _moved(rows: pa.Table, copies: int) -> Iterator[pa.RecordBatch]:
    for number in range(copies):
        if "customer_id" not in rows.column_names or copies == 1:
            yield from rows.to_batches()
            continue
        ids = rows["customer_id"].to_numpy() + number * _APART
        yield from rows.set_column(0, rows.schema.field(0), pa.array(ids)).to_batches()


def _examine(home: Path, rows: dict[str, int], copies: int) -> tuple[float, float]:
    def files(table: str) -> list[Path]:
        return sorted((home / "large" / table).glob("*.parquet"))

    listed = np.concatenate(
        [np.arange(300_000_000, 300_000_000 + 7 * SMALL, 7) + number * _APART for number in range(copies)]
    )
    outcomes = dict.fromkeys(("partial", "absent", "deleted", "merged", "failed", "deferred"), 0)
    tonight = checks.Tonight(
        night=FIRST_NIGHT,
        snapshot="large",
        asked=listed,
        listed=listed,
        outcomes={"exported": rows["customers"], **outcomes},
        rows=rows,
        files=files,
        files_before=files,
    )
    began = time.monotonic()
    checks.examine(tonight, [], ChecksConfig())
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _apart(work: Any, *arguments: Any) -> tuple[float, float]:
    """Run in a fresh process, so that nobody else's memory counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: tuple[float, float] = pool.apply(work, arguments)
        return found


if __name__ == "__main__":
    raise SystemExit(main())
