"""Deaths, other publishers, catalogs that are away: what is live is told right, and whoever comes next finishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import load_catalog

from pipeline.cli import main
from pipeline.errors import StorageError, TakenError, UnclearError
from pipeline.formats import Reached, base, iceberg, open_tables, reaching
from pipeline.formats.delta import DeltaTables, _DeltaTable
from pipeline.formats.files import DataFile, Source
from pipeline.formats.iceberg import IcebergTables, _IcebergTable
from pipeline.night.lakehouse import bring_tables
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.snapshots import open_snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.formats.conftest import ONE, TABLES, THREE, TWO, go
from tests.formats.reading import alike, by_the_library, history, marker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kinds(kind: str) -> tuple[type[Any], type[Any]]:
    """A format's classes: its tables, and one that is about to be committed to."""
    return (DeltaTables, _DeltaTable) if kind == "delta" else (IcebergTables, _IcebergTable)


def parquet_only(home: Home, night: Any) -> None:
    """A night whose snapshot is live, and whose tables are not there yet: as after a death right behind the pointer."""
    kind = home.settings["output"]["format"]
    home.settings["output"]["format"] = "parquet"
    home.save()
    go(home, night)
    home.settings["output"]["format"] = kind
    home.save()


def bring(home: Home) -> Reached:
    config = home.config()
    found = bring_tables(config, open_snapshots(config), datetime.now(UTC))
    assert found is not None
    return found


def names(home: Home) -> list[str]:
    return open_snapshots(home.config()).complete()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["delta", pytest.param("iceberg", marks=pytest.mark.long)], indirect=True)
def test_killed_at_every_commit_and_finished(lakehouse: Home, kind: str, sandbox: Sandbox) -> None:
    """kill -9 after each of a second night's commits, and before some: `run` commits what is missing, nothing twice.

    Every table then has both runs once, and the rows of the snapshot; no call was made for it.
    """
    go(lakehouse, ONE)
    lakehouse.write_ids(known_ids(12))
    parquet_only(lakehouse, TWO)
    calls, quiet = calls_seen(sandbox), lakehouse.root / "quiet"
    shutil.copytree(lakehouse.export, quiet, copy_function=shutil.copy2)
    for number in range(1, len(TABLES) + 1):
        for when in ("before", "after") if number in (1, len(TABLES)) else ("after",):
            words = [sys.executable, "-m", "tests.formats.mortal", str(lakehouse.config_path), "1", when]
            died = subprocess.run(words, cwd=ROOT, check=False)
            assert died.returncode == -signal.SIGKILL
            done = sum(len(history(lakehouse, kind, name)) == 2 for name in TABLES)
            assert done == number - (when == "before")
            assert marker(lakehouse)["snapshot"] == names(lakehouse)[0]
    assert main(["run", str(lakehouse.config_path), "--night", "2026-11-22"]) == 0
    for name in TABLES:
        assert history(lakehouse, kind, name) == names(lakehouse), name
        alike(by_the_library(lakehouse, kind, name), snapshot.table(lakehouse.export, name))
    assert marker(lakehouse)["snapshot"] == names(lakehouse)[1]
    assert calls_seen(sandbox) == calls


@pytest.mark.long
def test_the_next_night_goes_on_where_a_death_left_tables(lakehouse: Home, kind: str) -> None:
    """Tables left between two runs are brought to the live snapshot at the start, then to tonight's at its end."""
    go(lakehouse, ONE)
    parquet_only(lakehouse, TWO)
    words = [sys.executable, "-m", "tests.formats.mortal", str(lakehouse.config_path), "3", "after"]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert go(lakehouse, THREE).live
    assert {name: history(lakehouse, kind, name) for name in TABLES} == {
        name: names(lakehouse) for name in TABLES
    }


def test_what_was_overtaken_commits_nothing(
    lakehouse: Home, kind: str, kinds: tuple[type[Any], type[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's pointer swings while files are brought: the tables are its own to bring, and it is told."""
    go(lakehouse, ONE)
    parquet_only(lakehouse, TWO)
    one, two = names(lakehouse)
    real = Source.bring
    rolled: list[Any] = []

    def bring_and_be_overtaken(self: Any, table: str, shelf: Any) -> Any:
        if table == TABLES[2] and not rolled:
            rolled.append(open_snapshots(lakehouse.config()).point(one, datetime.now(UTC).isoformat()))
        return real(self, table, shelf)

    monkeypatch.setattr(Source, "bring", bring_and_be_overtaken)
    found = bring(lakehouse)
    assert one in found.overtaken
    assert len(found.committed) == 2
    assert not found.failed
    assert marker(lakehouse)["snapshot"] == one
    assert bring(lakehouse).is_whole  # the other one's turn: back to the first
    assert {name: history(lakehouse, kind, name)[-1] for name in TABLES} == dict.fromkeys(TABLES, one)
    assert two not in history(lakehouse, kind, "outcomes")


def test_two_publishers_at_the_same_commit(
    lakehouse: Home, kind: str, kinds: tuple[type[Any], type[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both bring the same run: the second one's commit is refused by the table, it looks, and finds it done."""
    go(lakehouse, ONE)
    parquet_only(lakehouse, TWO)
    real = kinds[1].commit
    others: list[Any] = []

    def commit_second(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        if not others:
            others.append(None)
            others.append(bring(lakehouse))
        return int(real(self, files, run))

    monkeypatch.setattr(kinds[1], "commit", commit_second)
    found = bring(lakehouse)
    assert found.is_whole
    assert found.committed == []
    assert others[1] is not None
    assert others[1].is_whole
    assert {name: history(lakehouse, kind, name) for name in TABLES} == {
        name: names(lakehouse) for name in TABLES
    }


def test_a_first_commit_by_two_makes_one_table(
    lakehouse: Home, kind: str, kinds: tuple[type[Any], type[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no table yet, too: nobody's rows are in it twice."""
    parquet_only(lakehouse, ONE)
    real = kinds[1].commit
    others: list[Any] = []

    def commit_second(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        if not others:
            others.append(None)
            others.append(bring(lakehouse))
        return int(real(self, files, run))

    monkeypatch.setattr(kinds[1], "commit", commit_second)
    assert bring(lakehouse).is_whole
    alike(by_the_library(lakehouse, kind, "customers"), snapshot.table(lakehouse.export, "customers"))
    assert history(lakehouse, kind, "customers") == names(lakehouse)


def test_an_answer_that_was_lost_is_found_out(
    lakehouse: Home, kind: str, kinds: tuple[type[Any], type[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was made and its answer lost: done. It was not made: failed. Nobody can look: unknown, exit code 7."""
    parquet_only(lakehouse, ONE)
    real = kinds[1].commit

    def commit_and_lose(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        real(self, files, run)
        raise UnclearError("no answer")

    def lose(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        raise UnclearError("no answer")

    looks: list[str] = []
    look = kinds[0].look

    def look_once(self: Any, table: str) -> base.Seen:
        looks.append(table)
        if len(looks) > 1:
            raise StorageError("nobody there")
        seen: base.Seen = look(self, table)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(kinds[1], "commit", lose)
        found = bring(lakehouse)
        assert list(found.failed) == ["customers"]
        assert len(found.behind) == len(TABLES) - 1
        patch.setattr(kinds[0], "look", look_once)
        found = bring(lakehouse)
        assert list(found.unknown) == ["customers"]
        assert "Unknown whether customers was committed" in found.unknown["customers"]
    with monkeypatch.context() as patch:
        patch.setattr(kinds[1], "commit", commit_and_lose)
        assert bring(lakehouse).is_whole
    assert history(lakehouse, kind, "customers") == names(lakehouse)


def test_another_engine_may_tidy_a_table(lakehouse: Home, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commit comes in between: the table is looked at again, and our rows replace all; its commit is no run."""
    go(lakehouse, ONE)
    _tidied(lakehouse, kind)
    assert bring(lakehouse).committed == []
    parquet_only(lakehouse, TWO)
    kind_of_table = _DeltaTable if kind == "delta" else _IcebergTable
    real: Any = kind_of_table.commit
    tidied: list[int] = []

    def commit_late(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        if not tidied:
            tidied.append(1)
            _tidied(lakehouse, kind)
        return int(real(self, files, run))

    monkeypatch.setattr(kind_of_table, "commit", commit_late)
    assert bring(lakehouse).is_whole
    alike(by_the_library(lakehouse, kind, "customers"), snapshot.table(lakehouse.export, "customers"))


def _tidied(home: Home, kind: str) -> None:
    """A commit of somebody else's to the table of customers."""
    if kind == "delta":
        from deltalake import DeltaTable

        DeltaTable(home.export / "delta" / "customers").delete("customer_id < 0 OR customer_id % 7 = 0")
    else:
        from tests.formats.reading import catalog_of

        table = catalog_of(home).load_table("capillary.customers")
        rows = table.scan().to_arrow()
        table.overwrite(rows.slice(1))


def test_a_catalog_that_is_away_costs_no_call_and_no_snapshot(
    home: Home, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 7: the snapshot is live, the tables are told as they are; `run` finishes them without a call."""
    away = {"kind": "rest", "uri": "http://127.0.0.1:9"}
    home.settings["output"] = {"url": "export", "format": "iceberg", "tables": ["customers"], "catalog": away}
    home.save()
    words = ["run", str(home.config_path), "--night", "2026-11-21"]
    assert main([*words, "--json"]) == 7
    found = json.loads(capsys.readouterr().out)
    assert found["published"]
    assert found["snapshot"] == names(home)[0]
    assert list(found["lakehouse"]["failed"]) == ["customers"]
    assert not found["lakehouse"]["whole"]
    calls = calls_seen(sandbox)
    assert main(words) == 7
    said = capsys.readouterr().out
    assert "Connection refused" in said
    assert "The Parquet snapshot is live all the same." in said
    page = (home.export / "snapshots" / names(home)[0] / "report.html").read_text()
    assert "No iceberg table is at it yet" in page
    assert main(["status", str(home.config_path)]) == 0
    assert "iceberg: 0 tables at no run; some are on their way" in capsys.readouterr().out
    del home.settings["output"]["catalog"]
    home.save()
    assert main(words) == 0
    assert calls_seen(sandbox) == calls
    assert history(home, "iceberg", "customers") == names(home)


def test_what_a_commit_needs_is_synced(lakehouse: Home, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log, metadata and manifests, and their folders, before `lakehouse.json` says that the tables are there."""
    parquet_only(lakehouse, ONE)
    synced: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert bring(lakehouse).is_whole
    top = lakehouse.export / (
        "delta/customers/_delta_log" if kind == "delta" else "iceberg/capillary/customers/metadata"
    )
    needed = [top, *top.iterdir()]
    assert len(needed) > 1
    marked = next(n for n, path in enumerate(synced) if path.name.startswith(".lakehouse.json"))
    assert set(needed) <= set(synced[:marked])


@pytest.mark.parametrize("secret", [{}, {"credential_env": "CATALOG_CREDENTIAL"}])
def test_a_catalog_that_hangs_does_not_hang_the_night(
    home: Home, secret: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the connection and says nothing: the first call, also that for a token, has its time limit."""
    monkeypatch.setenv("CATALOG_CREDENTIAL", "writer:hidden")
    monkeypatch.setattr(iceberg, "CALL_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        hangs = {"kind": "rest", "uri": f"http://127.0.0.1:{server.getsockname()[1]}", **secret}
        home.settings["output"] = {"format": "iceberg", "tables": ["customers"], "catalog": hangs}
        home.save()
        assert main(["run", str(home.config_path), "--night", "2026-11-21"]) == 7
    said = capsys.readouterr().out
    assert "Read timed out" in said
    assert "hidden" not in said


def test_a_try_in_another_place_leaves_the_catalog_alone(home: Home, tmp_path: Path) -> None:
    """`run --out` with a catalog in the config: the snapshot lies there, and the catalog's tables keep their rows."""
    uri = f"sqlite:///{tmp_path}/shared.db"
    catalog = {"kind": "sql", "uri": uri}
    home.settings["output"] = {
        "url": "export",
        "format": "iceberg",
        "tables": ["customers"],
        "catalog": catalog,
    }
    home.save()
    words = ["run", str(home.config_path), "--night", "2026-11-21"]
    assert main(words) == 0
    (tmp_path / "try").mkdir()
    assert main([*words[:2], "--night", "2026-11-22", "--limit", "3", "--out", str(tmp_path / "try")]) == 0
    assert (tmp_path / "try" / "current.json").exists()
    assert not (tmp_path / "try" / "lakehouse.json").exists()
    root = home.export / "iceberg"
    shared = load_catalog("capillary", type="sql", uri=uri, warehouse=f"file://{root}")
    assert len(shared.load_table("capillary.customers").snapshots()) == 1


def test_a_marker_that_cannot_be_read_is_written_anew(lakehouse: Home) -> None:
    """It is a note for readers; the tables themselves are the truth."""
    go(lakehouse)
    told = marker(lakehouse)
    (lakehouse.export / "lakehouse.json").write_text("{")
    assert bring(lakehouse).committed == []
    assert marker(lakehouse)["tables"] == told["tables"]


def test_a_marker_that_cannot_be_written_is_a_remark(
    lakehouse: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that are there are not called failed."""

    def refuse(*_: object) -> None:
        raise TakenError("another was first")

    monkeypatch.setattr(reaching, "write_marker", refuse)
    found = go(lakehouse)
    assert found.tables is not None
    assert found.tables.is_whole
    assert "another was first" in found.remark


def test_nothing_is_tidied_while_tables_are_behind(lakehouse: Home, kind: str) -> None:
    """Retention of snapshots goes on; the tables keep the files of the run they are at."""
    lakehouse.settings["output"]["keep_snapshots"] = 1
    lakehouse.save()
    go(lakehouse, ONE)
    one = names(lakehouse)[0]
    parquet_only(lakehouse, TWO)
    parquet_only(lakehouse, THREE)
    assert one not in names(lakehouse)
    snapshots = open_snapshots(lakehouse.config())
    tables = open_tables(lakehouse.config(), snapshots)
    assert tables is not None
    reaching.forget(tables, snapshots, grace_s=0, now=datetime.now(UTC))
    assert by_the_library(lakehouse, kind, "customers").num_rows == 30
    assert history(lakehouse, kind, "customers") == [one]
