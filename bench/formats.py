"""A night's commit to a table of Delta Lake or Iceberg: the snapshot's files adopted, all rows written anew, or the
night's changes merged in.

The rows are real ones of a small night, many times over under other IDs; the night saw every tenth customer, spread
over all files. Each commit runs in a process of its own, upon a table that has the last snapshot.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from bench.merge import SEEN, SMALL, _copies, _real_rows, _seen
from bench.tables import machine, markdown, write_table
from pipeline import publish
from pipeline.config import OutputConfig
from pipeline.formats import Format, reach
from pipeline.formats.delta import DeltaTables
from pipeline.formats.iceberg import IcebergTables
from pipeline.merge import write_files
from pipeline.processes import peak_bytes
from pipeline.store.snapshots import Snapshots

TABLE = "loyalty_programs"
BEGAN = datetime(2026, 11, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Measured:
    """What a commit took, in its own process."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    written: int


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write bench/FORMATS.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.formats", description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    chosen = parser.parse_args(arguments)
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench-formats-") as top:
        home = Path(top)
        rows = _make_snapshots(home, chosen.customers // SMALL)
        for (format_, way), work in WAYS.items():
            found = _apart(work, home)
            lines.append([format_, way, *_told(found, chosen.customers)])
    about = (
        f"{machine('deltalake', 'pyiceberg', 'pyarrow')}. One table, {TABLE}: {chosen.customers:,} customers, "
        f"{rows:,} rows; one customer in {SEEN} was seen tonight. On a local disk, where adopting a file is a link; "
        "in an object store it is a copy made by the store. Seconds and memory are those of the commit's own "
        "process, libraries loaded."
    )
    write_table("FORMATS.md", "A night's commit to a table, measured", about, markdown(HEADS, lines))
    return 0


HEADS = ("format", "way", "s", "CPU µs a customer", "peak MB", "MB written")


def _told(found: Measured | None, customers: int) -> list[str]:
    if found is None:
        return ["not ended within a minute", "", "", ""]
    cpu = f"{found.cpu_s / customers * 1e6:.2f}"
    return [f"{found.seconds:.2f}", cpu, f"{found.peak_bytes / 1e6:,.0f}", f"{found.written / 1e6:,.1f}"]


def _make_snapshots(home: Path, copies: int) -> int:
    """Two snapshots, the second with other points for the customers seen; and the rows that changed."""
    real = _real_rows(home / "small")[TABLE]
    export = Snapshots(home / "export")
    for number in range(2):
        draft = publish.begin(export, BEGAN + timedelta(days=number))
        batches = _copies(_night(real, number), copies)
        table = write_files(batches, real.schema, draft.folder / TABLE, "zstd", draft.deliver)
        export.commit(
            publish.make_manifest(
                name=draft.name,
                night=date(2026, 11, 3 + number),
                now=BEGAN,
                previous=None,
                ids={},
                outcomes={},
                calls={},
                tables={TABLE: table},
                checks=[],
                config_sha256="",
            )
        )
    return table.rows


def _night(rows: pa.Table, number: int) -> pa.Table:
    """The rows of a night: on the second, whoever was seen has another time at which it was fetched."""
    if not number:
        return rows
    seen = pa.array(_seen(rows["customer_id"].to_numpy()))
    at = rows.schema.get_field_index("_fetched_at")
    later = pc.add(rows["_fetched_at"], pa.scalar(timedelta(days=1), pa.duration("us")))
    return rows.set_column(at, rows.schema.field(at), pc.if_else(seen, later, rows["_fetched_at"]))


# In a process of its own


def _apart(work: Callable[[Path], Measured], home: Path) -> Measured | None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(work, (home,)).get(timeout=60)
        except multiprocessing.TimeoutError:
            return None


def _measured(folder: Path, work: Callable[[], object]) -> Measured:
    """Time and memory of the work, and the bytes that are under the folder for the first time."""
    before, began, cpu = _files(folder), time.monotonic(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()
    seconds, cpu_s, peak = time.monotonic() - began, time.process_time() - cpu, peak_bytes()
    known = {
        **before,
        **_files(folder.parent / "snapshots"),
    }  # where the folder is in the export: its files are links
    written = sum(size for inode, size in _files(folder).items() if inode not in known)
    return Measured(seconds, cpu_s, peak, written)


def _files(folder: Path) -> dict[int, int]:
    """Each file's inode and size."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {one.st_ino: one.st_size for one in found}


def _names(home: Path) -> list[str]:
    return Snapshots(home / "export").complete()


def _rows_of(home: Path, number: int) -> ds.Dataset:
    return ds.dataset(home / "export" / "snapshots" / _names(home)[number] / TABLE, format="parquet")


def _changed(home: Path) -> pa.Table:
    """Tonight's rows of the customers seen: what `changes/` would tell."""
    rows = _rows_of(home, 1).to_table()
    return rows.filter(pa.array(_seen(rows["customer_id"].to_numpy())))


def _adopt(home: Path, tables: Callable[[Snapshots], Format], folder: str) -> Measured:
    """What a night does: once for the last snapshot, and, measured, for tonight's."""
    export = Snapshots(home / "export")
    names = export.complete()
    export.point(names[0], BEGAN.isoformat())
    reach(tables(export), export, scratch=home, now=BEGAN)
    export.point(names[1], BEGAN.isoformat())
    format_ = tables(export)
    format_.look(TABLE)
    return _measured(home / "export" / folder, lambda: reach(format_, export, scratch=home, now=BEGAN))


def delta_adopts(home: Path) -> Measured:
    """Ours."""
    return _adopt(home, DeltaTables, "delta")


def iceberg_adopts(home: Path) -> Measured:
    """Ours."""
    return _adopt(home, lambda export: IcebergTables(OutputConfig(format="iceberg"), export, home), "iceberg")


def delta_overwrites(home: Path) -> Measured:
    """All rows through the library, in a stream."""
    write_deltalake(home / "delta-overwrite", _batches(home, 0))
    return _measured(
        home / "delta-overwrite",
        lambda: write_deltalake(home / "delta-overwrite", _batches(home, 1), mode="overwrite"),
    )


def _batches(home: Path, number: int) -> pa.RecordBatchReader:
    rows = _rows_of(home, number)

    def read() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()

    return pa.RecordBatchReader.from_batches(rows.schema, read())


def delta_merges(home: Path) -> Measured:
    """Customers seen leave, their rows of tonight come: two commits, for a customer may have fewer rows than before."""
    write_deltalake(home / "delta-merge", _batches(home, 0))

    def merge() -> None:
        changed = _changed(home)
        ids = pa.table({"customer_id": changed["customer_id"].unique()})
        DeltaTable(home / "delta-merge").merge(
            ids, "t.customer_id = s.customer_id", source_alias="s", target_alias="t"
        ).when_matched_delete().execute()
        write_deltalake(home / "delta-merge", changed, mode="append")

    return _measured(home / "delta-merge", merge)


def _iceberg_table(home: Path, name: str) -> Table:
    root = home / name
    root.mkdir()
    catalog = load_catalog("x", type="sql", uri=f"sqlite:///{root}/c.db", warehouse=f"file://{root}")
    catalog.create_namespace("n")
    rows = _rows_of(home, 0).to_table()
    table = catalog.create_table("n.t", rows.schema)
    table.append(rows)
    return table


def iceberg_overwrites(home: Path) -> Measured:
    """All rows through the library."""
    table = _iceberg_table(home, "iceberg-overwrite")
    return _measured(home / "iceberg-overwrite", lambda: table.overwrite(_rows_of(home, 1).to_table()))


def iceberg_merges(home: Path) -> Measured:
    """Customers seen leave, their rows of tonight come, in one transaction."""
    from pyiceberg.expressions import In

    table = _iceberg_table(home, "iceberg-merge")

    def merge() -> None:
        changed = _changed(home)
        among: Any = In  # its stub does not know its two arguments
        wanted = among("customer_id", changed["customer_id"].unique().to_pylist())
        with table.transaction() as transaction:
            transaction.delete(wanted)
            transaction.append(changed)

    return _measured(home / "iceberg-merge", merge)


WAYS = {
    ("Delta Lake", "the snapshot's files adopted"): delta_adopts,
    ("Delta Lake", "all rows written anew"): delta_overwrites,
    ("Delta Lake", "changes merged in"): delta_merges,
    ("Iceberg", "the snapshot's files adopted"): iceberg_adopts,
    ("Iceberg", "all rows written anew"): iceberg_overwrites,
    ("Iceberg", "changes merged in"): iceberg_merges,
}

if __name__ == "__main__":
    raise SystemExit(main())
