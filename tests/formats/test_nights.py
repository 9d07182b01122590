"""Nights on a disk, read back by Polars, DuckDB and the format's own library."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline import formats
from pipeline.cli import main
from pipeline.doctor import examine
from pipeline.formats import reaching
from pipeline.night import Options, Screen, rebuild_night
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.snapshots import open_snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.formats.conftest import ONE, TABLES, THREE, TWO, go
from tests.formats.reading import (
    alike,
    by_duckdb,
    by_polars,
    by_the_library,
    catalog_of,
    data_files,
    duck_query,
    history,
    marker,
)


def live(home: Home) -> str:
    pointer = open_snapshots(home.config()).current()
    assert pointer is not None
    return pointer.snapshot


def test_every_table_is_the_snapshot_in_every_reader(home: Home, kind: str, tmp_path: Path) -> None:
    """All tables, rows and types, of a second night merged upon a first; DuckDB, Polars, the library; the first by its
    version.
    """
    home.settings["output"] = {"url": "export", "format": kind}
    home.save()
    go(home, ONE)
    first = {name: snapshot.table(home.export, name) for name in snapshot.manifest(home.export)["tables"]}
    home.write_ids(known_ids(20))
    go(home, TWO)
    told = marker(home)
    assert told["snapshot"] == live(home)
    assert set(told["tables"]) == set(first)
    (before,) = told["earlier"].values()
    queries = {name: duck_query(home, kind, name) for name in first}
    queries |= {f"{name}__before": duck_query(home, kind, name, before[name]) for name in first}
    by_duck = by_duckdb(queries, tmp_path)
    for name in first:
        now = snapshot.table(home.export, name)
        alike(by_duck[name], now)
        alike(by_polars(home, kind, name), now)
        assert data_files(home, kind, name) == len(snapshot.files(home.export, name))  # empty ones, too
        alike(by_the_library(home, kind, name), now)
        alike(by_duck[f"{name}__before"], first[name])
        alike(by_the_library(home, kind, name, before[name]), first[name])


def test_a_table_tells_its_run_and_what_its_columns_mean(lakehouse: Home, kind: str) -> None:
    """Snapshot, night and records in the commit; a column's description as the format's own comment; Delta's txn."""
    go(lakehouse)
    wanted = {"snapshot": live(lakehouse), "night": "2026-11-21", "records": "30"}
    if kind == "delta":
        table = DeltaTable(lakehouse.export / "delta" / "customers")
        (commit,) = table.history()
        assert table.transaction_version("capillary-export") == int(
            live(lakehouse).translate({ord(one): None for one in "-TZ"}) + "00"
        )
        assert json.loads(commit["userMetadata"])["capillary-export.snapshot"] == live(lakehouse)
        comments = [field.metadata["comment"] for field in table.schema().fields]
    else:
        found = catalog_of(lakehouse).load_table("capillary.customers")
        (only,) = found.metadata.snapshots
        assert only.summary is not None
        commit = only.summary.additional_properties
        comments = [field.doc for field in found.schema().fields]
    assert {name: commit[f"capillary-export.{name}"] for name in wanted} == wanted
    assert all(comments)


def test_nothing_is_written_twice_on_a_disk(lakehouse: Home, kind: str) -> None:
    """A table's files are the snapshot's own, under a second name."""
    go(lakehouse)
    top = lakehouse.export / ("delta/customers" if kind == "delta" else "iceberg/capillary/customers")
    (ours,) = (top / "data" / live(lakehouse)).iterdir()
    (theirs,) = snapshot.files(lakehouse.export, "customers")
    assert ours.samefile(theirs)


def test_a_finished_night_commits_once(
    lakehouse: Home, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` again commits nothing; `publish` of the live snapshot neither; --json and status tell the versions."""
    path = str(lakehouse.config_path)
    assert main(["run", path, "--night", "2026-11-21", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["lakehouse"]
    assert first["whole"]
    assert sorted(first["committed"]) == sorted(first["versions"]) == sorted(TABLES)
    assert main(["run", path, "--night", "2026-11-21", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["lakehouse"]
    assert again == {**first, "committed": []}
    assert main(["publish", path, "--night", "2026-11-21"]) == 0
    assert "6 tables are at" in capsys.readouterr().out
    assert main(["status", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["lakehouse"]
    assert (told["versions"], told["whole"]) == (first["versions"], True)
    page = (lakehouse.export / "snapshots" / live(lakehouse) / "report.html").read_text()
    assert f"6 {first['format']} tables are at it, too." in page
    assert f">{first['versions']['customers']}</td>" in page
    assert {name: history(lakehouse, kind, name) for name in TABLES} == {
        name: [live(lakehouse)] for name in TABLES
    }


def test_a_rollback_rolls_the_tables_back(lakehouse: Home, kind: str) -> None:
    """A commit with the older snapshot's files; there and back again."""
    go(lakehouse, ONE)
    one, first = live(lakehouse), snapshot.table(lakehouse.export, "customers")
    lakehouse.write_ids(known_ids(12))
    go(lakehouse, TWO)
    two, second = live(lakehouse), snapshot.table(lakehouse.export, "customers")
    assert main(["rollback", str(lakehouse.config_path)]) == 0
    alike(by_the_library(lakehouse, kind, "customers"), first)
    assert main(["publish", str(lakehouse.config_path), "--night", "2026-11-22"]) == 0
    alike(by_the_library(lakehouse, kind, "customers"), second)
    assert history(lakehouse, kind, "customers") == [one, two, one, two]
    assert marker(lakehouse)["snapshot"] == two


def test_a_rebuild_is_committed_too(lakehouse: Home, kind: str) -> None:
    """It makes a new snapshot, so each table gets a commit, with the same rows."""
    go(lakehouse)
    before = by_the_library(lakehouse, kind, "loyalty_programs")
    result = rebuild_night(lakehouse.config(), Options(night=ONE), Screen())
    assert result.tables is not None
    assert result.tables.is_whole
    assert len(history(lakehouse, kind, "loyalty_programs")) == 2
    alike(by_the_library(lakehouse, kind, "loyalty_programs"), before.drop_columns([]))


def test_a_held_night_commits_nothing(
    lakehouse: Home, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does --no-publish; `publish --force` then commits."""
    go(lakehouse, ONE)
    told = marker(lakehouse)
    go(lakehouse, TWO, no_publish=True)
    lakehouse.write_ids(known_ids(12))
    with monkeypatch.context() as patch:
        from pipeline import checks
        from pipeline.store.snapshots import ManifestCheck

        failed = ManifestCheck(name="made up", passed=False, detail="for the test")
        patch.setattr(checks, "reading_balances", lambda *_: failed)
        assert main(["run", str(lakehouse.config_path), "--night", "2026-11-23"]) == 4
    assert marker(lakehouse) == told
    assert len(history(lakehouse, kind, "customers")) == 1
    words = ["--force", "--reason", "a test"]
    assert main(["publish", str(lakehouse.config_path), "--night", "2026-11-23", *words]) == 0
    assert len(history(lakehouse, kind, "customers")) == 2
    assert marker(lakehouse)["snapshot"] == live(lakehouse)
    capsys.readouterr()


@pytest.mark.long
def test_versions_go_with_their_snapshots(lakehouse: Home, kind: str) -> None:
    """As many stay as snapshots do, their files too; what ceased to be live within the grace stays besides."""
    lakehouse.settings["output"] |= {"keep_snapshots": 2}
    lakehouse.save()
    names = []
    for number in range(4):
        go(lakehouse, date(2026, 11, 21 + number))
        names.append(live(lakehouse))
    top = lakehouse.export / ("delta/customers" if kind == "delta" else "iceberg/capillary/customers")
    assert sorted(one.name for one in (top / "data").iterdir()) == names[2:]
    assert list(marker(lakehouse)["earlier"]) == [names[2]]
    version = marker(lakehouse)["earlier"][names[2]]["customers"]
    assert by_the_library(lakehouse, kind, "customers", version).num_rows == 30
    if kind == "iceberg":
        assert history(lakehouse, kind, "customers") == names[2:]
    lakehouse.settings["output"] |= {"keep_snapshots": 1, "grace": "1h"}
    lakehouse.save()
    go(lakehouse, date(2026, 11, 25))
    assert sorted(one.name for one in (top / "data").iterdir()) == [*names[2:], live(lakehouse)]


@pytest.mark.long
def test_manifests_that_nothing_refers_to_are_swept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Iceberg's own files of versions that are gone, and of commits that never came, but none that is young."""
    home.settings["output"] = {"url": "export", "format": "iceberg", "tables": ["customers"], "grace": 0}
    home.settings["output"]["keep_snapshots"] = 1
    home.save()
    go(home, ONE)
    metadata = home.export / "iceberg/capillary/customers/metadata"
    (metadata / "orphan-m0.avro").write_bytes(b"x")
    go(home, TWO)
    assert (metadata / "orphan-m0.avro").exists()
    before = len(list(metadata.glob("*.avro")))
    monkeypatch.setattr(reaching, "ORPHANS_STAY", timedelta(seconds=-5))
    go(home, THREE)
    assert not (metadata / "orphan-m0.avro").exists()
    assert len(list(metadata.glob("*.avro"))) < before
    assert by_the_library(home, "iceberg", "customers").num_rows == 50


# Columns


def test_a_new_column_is_added_and_stays(lakehouse: Home, kind: str, tmp_path: Path) -> None:
    """With `keep_offsets` date-times get a second column; older rows have none; a rollback keeps the column, empty."""
    go(lakehouse, ONE)
    few = set(by_the_library(lakehouse, kind, "loyalty_programs").column_names)
    lakehouse.settings["output"]["keep_offsets"] = True
    lakehouse.save()
    go(lakehouse, TWO)
    now = by_duckdb({"now": duck_query(lakehouse, kind, "loyalty_programs")}, tmp_path)["now"]
    alike(now, snapshot.table(lakehouse.export, "loyalty_programs"))
    added = set(now.column_names) - few
    assert added
    assert all(name.endswith("_offset") for name in added)
    assert any(now[name].null_count < now.num_rows for name in added)
    assert main(["rollback", str(lakehouse.config_path)]) == 0
    back = by_the_library(lakehouse, kind, "loyalty_programs")
    assert set(back.column_names) == few | added
    assert all(back[name].null_count == back.num_rows for name in added)
    alike(back.drop_columns(sorted(added)), snapshot.table(lakehouse.export, "loyalty_programs"))


def test_a_column_of_another_type_is_refused_for_its_table_alone(
    lakehouse: Home, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 7, the column and the remedy; the other tables are brought; once the table is dropped, all are."""
    lakehouse.settings["output"]["format"] = "parquet"
    lakehouse.save()
    go(lakehouse, ONE)
    lakehouse.settings["output"]["format"] = kind
    lakehouse.save()
    other = pa.table({"customer_id": pa.array(["a text"]), "extra": pa.array(["{}"])})
    top = lakehouse.export / kind
    if kind == "delta":
        from deltalake import write_deltalake

        write_deltalake(top / "customers", other)
    else:
        top.mkdir(parents=True)
        catalog = catalog_of(lakehouse)
        catalog.create_namespace("capillary")
        catalog.create_table("capillary.customers", other.schema)
    assert main(["run", str(lakehouse.config_path), "--night", "2026-11-21"]) == 7
    said = capsys.readouterr().out
    assert "The column customer_id of the table customers is" in said
    assert "5 tables are at" in said
    assert "Drop or rename that table" in said
    if kind == "delta":
        import shutil

        shutil.rmtree(top / "customers")
    else:
        catalog.drop_table("capillary.customers")
    assert main(["run", str(lakehouse.config_path), "--night", "2026-11-21"]) == 0
    alike(by_the_library(lakehouse, kind, "customers"), snapshot.table(lakehouse.export, "customers"))


# Use


@pytest.mark.parametrize("command", ["run", "rollback", "publish"])
def test_a_missing_library_is_told_before_anything(
    lakehouse: Home,
    kind: str,
    command: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 with the line that installs it; no call was made."""
    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    words = ["--night", "2026-11-21"] if command != "rollback" else []
    assert main([command, str(lakehouse.config_path), *words]) == 2
    assert f"pip install 'capillary-export[{kind}]'" in capsys.readouterr().err
    assert calls_seen(sandbox) == 0


def test_doctor_looks_at_the_tables(lakehouse: Home, kind: str) -> None:
    """Where they lie, or what is wrong."""
    found = {one.what: one for one in examine(lakehouse.config(), datetime.now(UTC))}
    assert found["tables"].ok, found["tables"]
    assert kind in found["tables"].detail
