"""Reading a live snapshot back, as an analyst would: through the pointer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

VOLATILE = ("_fetched_at", "attempts", "calls", "latency_ms", "request_id", "_night")
"""Columns that differ between two runs over the same customers."""


def manifest(export: Path) -> dict[str, Any]:
    """The live snapshot's manifest, with the folder it lies in as `folder`."""
    pointer = json.loads((export / "current.json").read_text())
    path = export / pointer["manifest"]
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["snapshot"] == pointer["snapshot"]
    return {**found, "folder": path.parent}


def files(export: Path, table: str) -> list[Path]:
    """A table's files, each proved against its checksum."""
    found = manifest(export)
    paths = []
    for file in found["tables"][table]["files"]:
        path = found["folder"] / file["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert path.stat().st_size == file["bytes"]
        paths.append(path)
    return paths


def table(export: Path, name: str) -> pa.Table:
    """All rows of a table of the live snapshot."""
    return pa.concat_tables([pq.read_table(path) for path in files(export, name)])


def rows(export: Path, name: str, *, stable: bool = False) -> list[dict[str, Any]]:
    """The rows as dictionaries. `stable`: without what differs between two runs."""
    found = table(export, name)
    if stable:
        found = found.drop_columns([column for column in VOLATILE if column in found.column_names])
    listed: list[dict[str, Any]] = found.to_pylist()
    return listed


def all_rows(export: Path) -> dict[str, list[str]]:
    """Every table's stable rows, as sorted texts: to compare whole snapshots."""
    names = manifest(export)["tables"]
    return {name: sorted(repr(row) for row in rows(export, name, stable=True)) for name in names}
