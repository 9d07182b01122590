"""The merge at size: a last snapshot of many customers and a night that saw every tenth of them, a few tables.

The rows are real ones, of a small night against the sandbox, many times over under other IDs. Each merge runs in a
process of its own. The chunks of the night span all customers, as those of a list that is out of order.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.nights import Export, running
from bench.stopwatch import Budget
from bench.tables import machine, markdown, write_table
from pipeline.blocks import table
from pipeline.config import SnapshotConfig
from pipeline.merge import (
    Leaving,
    SortedTable,
    TableInputs,
    merge_table,
    sort_table,
    write_files,
)
from pipeline.night.abreast import CheckIn, Merge, side_by_side
from pipeline.outcome import Outcome
from pipeline.processes import peak_bytes
from pipeline.sandbox import SandboxConfig
from pipeline.store.ledger import RECORD, RECORD_BITS, Ledger
from pipeline.store.parts import part_name, part_paths, read_part, write_part
from pipeline.store.snapshots import Snapshots

SMALL = 1_000
"""Customers of the real night."""
APART = 10_000_000
"""Between two copies of one customer."""
SEEN = 10
"""The night saw one in so many."""
CHUNK = 8_192
TABLES = ("customers", "profiles", "loyalty_programs", "segments", "extended_fields")
"""Wide and narrow ones."""
NIGHT = date(2026, 11, 3)
MERGE = "merge"
WAYS = {
    MERGE: SnapshotConfig(),
    "merge, and its changes": SnapshotConfig(changes=True),
    "full: tonight alone": SnapshotConfig(mode="full"),
}


Made = Callable[[pa.Table, int], pa.Table]
"""A copy of the small night's rows, by its number."""


@dataclass(frozen=True)
class Case:
    """A merge to measure."""

    way: str
    customers: int
    snapshot: SnapshotConfig

    @property
    def copies(self) -> int:
        """How often the small night is in it."""
        return self.customers // SMALL


@dataclass(frozen=True)
class Measured:
    """What it took."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    rows: int
    bytes: int
    smallest_group: int  # of the largest table's, but for the last of a file; encoded, not compressed
    usual_group: int
    file_bytes: list[int]  # of the largest table


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write bench/MERGE.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.merge", description=__doc__)
    parser.add_argument("--customers", type=int, default=2_000_000)
    parser.add_argument("--largest", type=int, default=10_000_000, help="merged once, in the usual way")
    parser.add_argument(
        "--seconds", type=float, default=1800, help="what would not end in time is told, not run"
    )
    parser.add_argument(
        "--differing", type=int, default=10_000_000, help="customers of whom no two are alike"
    )
    parser.add_argument(
        "--only-files", action="store_true", help="just the files of these, into bench/FILES.md"
    )
    chosen = parser.parse_args(arguments)
    if chosen.only_files:
        with tempfile.TemporaryDirectory(prefix="bench-merge-") as home:
            _write_files_page(chosen.differing, Path(home))
        return 0
    budget, lines = Budget(chosen.seconds), list[list[str]]()
    with tempfile.TemporaryDirectory(prefix="bench-merge-") as home:
        rows = _real_rows(Path(home) / "small")
        lines.append(
            [
                "nothing, all modules loaded",
                "",
                "",
                "",
                "",
                "",
                f"{_apart(peak_bytes) / 1e6:,.0f}",
                "",
                "",
                "",
            ]
        )
        for customers in sorted({min(200_000, chosen.customers), chosen.customers, chosen.largest}):
            ways = WAYS if customers <= chosen.customers else {MERGE: WAYS[MERGE]}
            if budget.needs_s("size", customers) > budget.left_s:
                lines.append(["not run: too little time was left", f"{customers:,}", *[""] * 8])
                continue
            with budget.taking("size", customers):
                lines += _size(rows, customers, ways, Path(home))
        if budget.left_s > 0:
            _write_files_page(chosen.differing, Path(home))
    write_table("MERGE.md", "The merge, measured", _about(), markdown(HEADS, lines))
    return 0


HEADS = (
    "way", "customers", "rows", "s", "µs a customer", "CPU µs a customer", "peak MB", "MB written",
    "smallest and usual row group, MiB", "files, MB",
)  # fmt: skip


def _about() -> str:
    return (
        f"{machine('pyarrow', 'numpy')}. The tables {', '.join(TABLES)}, a night that saw one customer in {SEEN}. "
        "Seconds and memory are those of the merge's own process. Row groups and files are those of the largest "
        "table; groups encoded, before compression, without the last of each file. Copies of the same rows compress "
        "far better than as many different ones: bytes are fewer than in life."
    )


def _size(
    rows: dict[str, pa.Table], customers: int, ways: dict[str, SnapshotConfig], home: Path
) -> list[list[str]]:
    """Ways of merging, at one size."""
    last, parts = home / f"last-{customers}", home / f"parts-{customers}"
    for name, real in rows.items():
        write_files(_copies(real, customers // SMALL), real.schema, last / name, "zstd")
        _write_parts(real, customers // SMALL, parts / name)
    lines = [_line(Case(way, customers, snapshot), home) for way, snapshot in ways.items()]
    shutil.rmtree(last)
    shutil.rmtree(parts)
    return lines


def _line(case: Case, home: Path) -> list[str]:
    found: Measured = _apart(_measure, case, home)
    return [
        case.way,
        f"{case.customers:,}",
        f"{found.rows:,}",
        f"{found.seconds:.1f}",
        f"{found.seconds / case.customers * 1e6:.1f}",
        f"{found.cpu_s / case.customers * 1e6:.1f}",
        f"{found.peak_bytes / 1e6:,.0f}",
        f"{found.bytes / 1e6:,.0f}",
        f"{found.smallest_group / 2**20:.1f}, {found.usual_group / 2**20:.1f}",
        " ".join(f"{one / 1e6:,.0f}" for one in found.file_bytes),
    ]


# The rows


def _real_rows(home: Path) -> dict[str, pa.Table]:
    """The tables of a small night, each sorted by customer."""
    with running(SandboxConfig(customers=SMALL)) as sandbox:
        export = Export(home, sandbox, SMALL).begin()
        export.run()
    snapshots = Snapshots(export.root / "export")
    live = snapshots.current()
    assert live is not None
    manifest = snapshots.manifest(live.snapshot)
    return {
        name: pa.concat_tables([pq.read_table(path) for path in snapshots.paths(manifest, name)])
        for name in TABLES
    }


def _copies(rows: pa.Table, copies: int, made: Made | None = None) -> Iterator[pa.RecordBatch]:
    """Side by side, so that they stay sorted."""
    for number in range(copies):
        yield from (made or _moved)(rows, number).to_batches()


def _moved(rows: pa.Table, number: int) -> pa.Table:
    ids: Any = rows["customer_id"].to_numpy() + number * APART
    return rows.set_column(0, rows.schema.field(0), pa.array(ids))


def _seen(ids: Any) -> Any:
    """Which customers the night saw: the sandbox's IDs are seven apart."""
    return ids // 7 % SEEN == 0


def _write_parts(rows: pa.Table, copies: int, folder: Path, made: Made | None = None) -> None:
    """The night's chunks: what it saw of every copy, in turn."""
    seen = rows.filter(pa.array(_seen(rows["customer_id"].to_numpy())))
    chunks = max(1, copies * SMALL // SEEN // CHUNK)
    for chunk in range(chunks):
        part = pa.concat_tables([(made or _moved)(seen, number) for number in range(chunk, copies, chunks)])
        numbers = pa.array(np.full(part.num_rows, chunk << RECORD_BITS, np.int64))
        write_part(folder / part_name(chunk), part.append_column(RECORD, numbers))


# Files of the size that warehouses like


DIFFERING = "loyalty_programs"
"""The table; its amounts are made different for each customer, as they are in life."""
FILE_HEADS = (
    "file", "rows", "MB", "row groups", "smallest, usual, largest row group encoded, MiB", "last one",
    "chunks with statistics", "with page index", "pages with checksums", "sorted",
)  # fmt: skip


def _write_files_page(customers: int, home: Path) -> None:
    rows = {DIFFERING: _real_rows(home / "for-files")[DIFFERING]}
    case = Case(MERGE, customers, SnapshotConfig())
    last, parts = home / f"last-{customers}" / DIFFERING, home / f"parts-{customers}" / DIFFERING
    write_files(_copies(rows[DIFFERING], case.copies, _made_different), rows[DIFFERING].schema, last, "zstd")
    _write_parts(rows[DIFFERING], case.copies, parts, _made_different)
    about = (
        f"{machine('pyarrow')}. `make bench-merge`, or alone `python -m bench.merge --only-files`: the merged table "
        f"{DIFFERING} of {customers:,} customers of whom no two are alike, after a night that saw one in {SEEN}. Each "
        "file is read back: sizes and what is there come from its own footer, page checksums and the order of "
        "customers from reading all of it. A file is full at 256 MiB, about (`merge.files.FILE_BYTES`); those of a "
        "table get nearly the same size. Encoded is before compression."
    )
    lines = _apart(_files, case, home)
    write_table("FILES.md", "The files of a large table", about, markdown(FILE_HEADS, lines))


def _made_different(rows: pa.Table, number: int) -> pa.Table:
    """Each column of money in which most rows differ gets an amount of chance added to every row."""
    moved, random = _moved(rows, number), np.random.default_rng(number)
    for at, field in enumerate(rows.schema):
        money = moved.column(at).combine_chunks()
        if pa.types.is_decimal(field.type) and len(money.unique()) > rows.num_rows / 3:
            cents = pa.array(random.integers(0, 2**31, rows.num_rows)).cast(pa.decimal128(19, 0))
            more = pc.multiply(cents, pa.scalar(Decimal("0.01")))
            moved = moved.set_column(
                at, field, pc.add(money.cast(pa.decimal128(28, 9)), more).cast(field.type)
            )
    return moved


def _files(case: Case, home: Path) -> list[list[str]]:
    """The merged files, each told by itself; in a process of its own."""
    into, ledger = home / "differing", _ledger(case, home, DIFFERING)
    leaving = Leaving(ledger, case.snapshot, {}).of(DIFFERING)
    merged = merge_table(_inputs(case, home, DIFFERING), ledger, leaving, into / DIFFERING)
    return [_told_file(into / one.path, one.bytes) for one in merged.table.files]


def _told_file(path: Path, size: int) -> list[str]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        meta = file.metadata
        groups = [meta.row_group(at).total_byte_size / 2**20 for at in range(meta.num_row_groups)]
        chunks = [
            meta.row_group(at).column(column)
            for at in range(meta.num_row_groups)
            for column in range(meta.num_columns)
        ]
        is_sorted, newest = True, -1
        for batch in file.iter_batches(1 << 16):
            ids: Any = batch.column("customer_id").to_numpy()
            is_sorted &= bool(ids[0] >= newest and (np.diff(ids) >= 0).all())
            newest = ids[-1]
    most = sorted(groups[:-1] or groups)
    indexed = sum(one.has_column_index and one.has_offset_index for one in chunks)
    with_statistics = sum(one.is_stats_set for one in chunks)
    return [
        path.name, f"{meta.num_rows:,}", f"{size / 1e6:,.0f}", f"{len(groups)}",
        f"{most[0]:.1f}, {most[len(most) // 2]:.1f}, {most[-1]:.1f}", f"{groups[-1]:.1f}",
        f"{with_statistics} of {len(chunks)}", f"{indexed} of {len(chunks)}", "proved", "yes" if is_sorted else "NO",
    ]  # fmt: skip


# In a process of its own


def _apart(work: Any, *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _measure(case: Case, home: Path) -> Measured:
    into = home / f"{case.way}-{case.customers}"
    began, cpu = time.monotonic(), time.process_time()
    merged = side_by_side(_merges(case, home, into))
    seconds, cpu_s, peak = time.monotonic() - began, time.process_time() - cpu, peak_bytes()
    largest = max(merged.values(), key=lambda one: one.table.rows).table
    groups = sorted(one for file in largest.files for one in _groups(into / file.path))
    shutil.rmtree(into)
    return Measured(
        seconds,
        cpu_s,
        peak,
        sum(one.table.rows for one in merged.values()),
        sum(file.bytes for one in merged.values() for file in one.table.files),
        groups[0],
        groups[len(groups) // 2],
        [file.bytes for file in largest.files],
    )


def _groups(path: Path) -> list[int]:
    """The encoded sizes of a file's row groups, without the last one where there are several: it is what was left."""
    meta = pq.ParquetFile(path).metadata
    sizes = [meta.row_group(at).total_byte_size for at in range(meta.num_row_groups)]
    return sizes[:-1] or sizes


def _merges(case: Case, home: Path, into: Path) -> dict[str, Merge]:
    ledger = _ledger(case, home)
    leaving = Leaving(ledger, case.snapshot, {})

    def merge(name: str) -> Merge:
        inputs = _inputs(case, home, name)

        def sort(check_in: CheckIn) -> SortedTable:
            return sort_table(replace(inputs, check_in=check_in), ledger, leaving.of(name), into / name)

        return Merge(inputs.expected_bytes, sort)

    return {name: merge(name) for name in TABLES}


def _inputs(case: Case, home: Path, name: str) -> TableInputs:
    last = sorted((home / f"last-{case.customers}" / name).glob("*.parquet"))
    is_full = case.snapshot.mode == "full"
    return TableInputs(
        schema=pq.read_schema(last[0]),
        parts=part_paths(home / f"parts-{case.customers}", name),
        previous=() if is_full else last,
        compression="zstd",
        previous_bytes=0 if is_full else sum(path.stat().st_size for path in last),
        previous_rows=0 if is_full else sum(pq.read_metadata(path).num_rows for path in last),
        changes_key=table(name).key if case.snapshot.changes else (),
        night=NIGHT,
    )


def _ledger(case: Case, home: Path, table_name: str = "customers") -> Ledger:
    """All whom the night saw gave a full answer."""
    parts = part_paths(home / f"parts-{case.customers}", table_name)
    found = [rows["customer_id"].to_numpy() for path in parts for rows in read_part(path, ["customer_id"])]
    ids: Any = np.unique(np.concatenate(found))
    return Ledger(
        customer_ids=ids,
        outcomes=np.full(len(ids), int(Outcome.EXPORTED), np.int8),
        fetched_at=np.zeros(len(ids), np.int64),
        verdicts=np.ones(len(ids), np.int32),
        stale_records=np.empty(0, np.int64),
        answered_ids=ids,
        shadowed_records=np.empty(0, np.int64),
        calls=len(ids),
        repeated=0,
        throttled=0,
        records=len(ids),
    )


if __name__ == "__main__":
    raise SystemExit(main())
