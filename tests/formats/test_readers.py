"""Who reads while tables are committed: by `lakehouse.json` all of one run, without it each table whole."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from pipeline.config import OutputConfig
from pipeline.formats import Format, forget, reach
from pipeline.formats.delta import DeltaTables
from pipeline.formats.iceberg import IcebergTables
from pipeline.store.lakehouse import read_marker
from pipeline.store.snapshots import Snapshots
from tests.publisher import ROWS, TABLES, publish_one

NIGHTS = 6


def tables_of(kind: str, export: Path) -> tuple[Format, Snapshots]:
    """As one process has them."""
    snapshots = Snapshots(export)
    if kind == "delta":
        return DeltaTables(snapshots), snapshots
    return IcebergTables(OutputConfig(format="iceberg"), snapshots, export / "scratch"), snapshots


class Reader:
    """Reads all tables over and over, and notes the numbers found in them."""

    def __init__(self, kind: str, export: Path, *, pinned: bool) -> None:
        self.kind, self.export, self.pinned = kind, export, pinned
        self.seen: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            marker = read_marker(Snapshots(self.export).place)
            if marker is None:
                continue
            try:
                versions = {name: marker.tables[name].version if self.pinned else None for name in TABLES}
                self._check({name: self._numbers(name, version) for name, version in versions.items()})
            except Exception as exc:
                self.wrong.append(repr(exc))

    def _check(self, found: dict[str, list[int]]) -> None:
        if any(len(numbers) != ROWS or len(set(numbers)) != 1 for numbers in found.values()):
            self.wrong.append("a table with rows of two runs, or not all of one")
        runs = {numbers[0] for numbers in found.values()}
        if self.pinned and len(runs) != 1:
            self.wrong.append(f"tables of the runs {runs}")
        self.seen.update(runs)

    def _numbers(self, name: str, version: int | None) -> list[int]:
        if self.kind == "delta":
            rows: Any = DeltaTable(self.export / "delta" / name, version=version).to_pyarrow_table()
        else:
            root = self.export / "iceberg"
            catalog = load_catalog(
                "capillary", type="sql", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}"
            )
            rows = catalog.load_table(f"capillary.{name}").scan(snapshot_id=version).to_arrow()
        numbers: list[int] = rows["number"].to_pylist()
        return numbers


@pytest.mark.parametrize("pinned", [True, False])
def test_a_reader_never_sees_half_of_anything(kind: str, pinned: bool, tmp_path: Path) -> None:
    """Six runs come, old versions go behind the grace; a pinned reader sees one run in all tables, always."""
    reader = Reader(kind, tmp_path / "export", pinned=pinned)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        for number in range(NIGHTS):
            tables, snapshots = tables_of(kind, tmp_path / "export")
            publish_one(snapshots, number)
            found = reach(tables, snapshots, scratch=tmp_path, now=datetime.now(UTC))
            assert found is not None
            assert found.is_whole, found
            forget(tables, snapshots, grace_s=10, now=datetime.now(UTC))
    finally:
        reader.stop.set()
        thread.join()
    assert reader.wrong == []
    assert len(reader.seen) > 1
