"""What analysts use reads every file: DuckDB and Polars, with the types the dictionary promises."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests import snapshot
from tests.conftest import Home, running_sandbox


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One published night of 300 customers with every block."""
    with running_sandbox(SandboxConfig(customers=300)) as sandbox:
        home = _home(tmp_path_factory, sandbox)
        run_night(home.config(), Options(), Screen())
        yield home


def _home(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Home:
    home = Home(tmp_path_factory.mktemp("readers"), sandbox.url)
    home.write_ids(known_ids(300))
    return home


def query(sql: str) -> tuple[Any, ...]:
    """The one row that a query gives."""
    (row,) = duckdb.connect().execute(sql).fetchall()
    found: tuple[Any, ...] = row
    return found


def test_duckdb_reads_every_table(night: Home) -> None:
    """Row counts through DuckDB are the manifest's."""
    for name, about in snapshot.manifest(night.export)["tables"].items():
        paths = [str(path) for path in snapshot.files(night.export, name)]
        counted = query(f"SELECT count(*) FROM read_parquet({paths})")
        assert counted == (about["rows"],), name


def test_polars_reads_every_table(night: Home) -> None:
    """Row counts through Polars are the manifest's."""
    for name, about in snapshot.manifest(night.export)["tables"].items():
        frame = pl.read_parquet(snapshot.files(night.export, name))
        assert frame.height == about["rows"], name


def test_money_is_exact_in_every_reader(night: Home) -> None:
    """The sum of points is the same exact decimal everywhere."""
    paths = snapshot.files(night.export, "loyalty_programs")
    rows = snapshot.rows(night.export, "loyalty_programs")
    ours = sum((row["loyalty_points"] or Decimal(0) for row in rows), Decimal(0))
    theirs = query(f"SELECT sum(loyalty_points) FROM read_parquet({[str(path) for path in paths]})")
    assert theirs == (ours,)
    assert pl.read_parquet(paths)["loyalty_points"].sum() == ours
    assert ours != 0


def test_columns_tell_what_they_mean(night: Home) -> None:
    """Each column of each file carries its description in the Arrow metadata."""
    for name in snapshot.manifest(night.export)["tables"]:
        for path in snapshot.files(night.export, name):
            for field in pq.read_schema(path):
                assert (field.metadata or {}).get(b"description"), f"{name}.{field.name}"


def test_files_have_statistics_and_a_page_index(night: Home) -> None:
    """Readers can skip row groups and pages by customer_id."""
    (path,) = snapshot.files(night.export, "identifiers")
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    assert column.is_stats_set
    assert column.has_column_index
    assert column.compression == "ZSTD"
