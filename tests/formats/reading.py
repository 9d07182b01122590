"""The tables of a format, read by what analysts use: Polars, DuckDB, and the format's own library."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import Catalog, load_catalog

from tests.conftest import Home

os.environ["POLARS_ICEBERG_PLANNER"] = "pyiceberg"  # the planner that is quicker is a package of its own
READERS = Path(__file__).parents[1] / ".readers" / "bin" / "python"


def marker(home: Home) -> dict[str, Any]:
    """What lakehouse.json tells."""
    found: dict[str, Any] = json.loads((home.export / "lakehouse.json").read_text())
    return found


def catalog_of(home: Home) -> Catalog:
    """The catalog on the disk, as another program opens it."""
    root = home.export / "iceberg"
    return load_catalog(
        "capillary", type="sql", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}"
    )


def metadata_of(home: Home, table: str) -> str:
    """The path of an Iceberg table's newest metadata."""
    return catalog_of(home).load_table(f"capillary.{table}").metadata_location.removeprefix("file://")


def history(home: Home, kind: str, table: str) -> list[str]:
    """The runs that were committed to a table, oldest first."""
    if kind == "delta":
        commits = DeltaTable(home.export / "delta" / table).history()
        return [one["capillary-export.snapshot"] for one in reversed(commits)]
    snapshots = catalog_of(home).load_table(f"capillary.{table}").metadata.snapshots
    ordered = sorted(snapshots, key=lambda one: one.sequence_number or 0)
    return [one.summary.additional_properties["capillary-export.snapshot"] for one in ordered if one.summary]


def data_files(home: Home, kind: str, table: str) -> int:
    """How many files the newest version has."""
    if kind == "delta":
        return len(DeltaTable(home.export / "delta" / table).file_uris())
    return catalog_of(home).load_table(f"capillary.{table}").inspect.data_files().num_rows


def by_polars(home: Home, kind: str, table: str) -> pa.Table:
    """The newest version."""
    if kind == "delta":
        return pl.scan_delta(str(home.export / "delta" / table)).collect().to_arrow()
    return pl.scan_iceberg(metadata_of(home, table), reader_override="native").collect().to_arrow()


def by_the_library(home: Home, kind: str, table: str, version: int | None = None) -> pa.Table:
    """The newest version, or one that is named."""
    if kind == "delta":
        return DeltaTable(home.export / "delta" / table, version=version).to_pyarrow_table()
    return catalog_of(home).load_table(f"capillary.{table}").scan(snapshot_id=version).to_arrow()


def duck_query(home: Home, kind: str, table: str, version: int | None = None) -> str:
    """How DuckDB reads a table."""
    if kind == "delta":
        wanted = "" if version is None else f", version => {version}"
        return f"FROM delta_scan('{home.export / 'delta' / table}'{wanted})"
    wanted = "" if version is None else f", snapshot_from_id => {version}::UBIGINT"
    return f"FROM iceberg_scan('{metadata_of(home, table)}'{wanted})"


def by_duckdb(queries: dict[str, str], tmp_path: Path, *, before: str = "") -> dict[str, pa.Table]:
    """The answers of queries, each by its name."""
    if not READERS.exists():
        pytest.skip("`make readers` sets DuckDB with its extensions up")
    words = ["-", before] if before else []
    for name, query in queries.items():
        words += [str(tmp_path / f"{name}.parquet"), query]
    script = Path(__file__).with_name("duck.py")
    done = subprocess.run(
        [READERS, script, *words], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: pq.read_table(tmp_path / f"{name}.parquet") for name in queries}


def alike(found: pa.Table, wanted: pa.Table) -> None:
    """The same columns, of the same types but for how long a text may be, and the same rows in any order."""
    assert sorted(found.column_names) == sorted(wanted.column_names)
    found = found.select(wanted.column_names)
    for have, want in zip(found.schema, wanted.schema, strict=True):
        is_text = pa.types.is_large_string(have.type) or pa.types.is_string_view(have.type)
        assert (pa.string() if is_text else have.type) == want.type, want.name
    assert rows_of(found) == rows_of(wanted)


def rows_of(table: pa.Table) -> list[str]:
    """The rows as sorted texts; instants without the name of their zone."""
    instants = [pa.types.is_timestamp(one.type) and one.type.tz is not None for one in table.schema]
    columns = [
        table.column(number).cast(pa.int64()) if instants[number] else table.column(number)
        for number in range(table.num_columns)
    ]
    return sorted(map(repr, zip(*[column.to_pylist() for column in columns], strict=True)))
