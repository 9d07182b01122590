"""Tables in an object store: a real S3 server, its own Iceberg REST catalog, and an SQL catalog beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from pipeline.cli import main
from pipeline.doctor import examine
from pipeline.errors import HeldError
from pipeline.formats import Format, Reached, open_tables, reach
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.objects import Bucket
from pipeline.store.snapshots import Snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.formats.conftest import FEW, ONE, TABLES, THREE, TWO, go
from tests.formats.reading import alike, by_duckdb
from tests.publisher import publish_one
from tests.weed import WAREHOUSE, Weed

ROOT = Path(__file__).parents[2]


class Far:
    """A config whose tables lie in the S3 server, and how analysts reach them."""

    def __init__(self, home: Home, kind: str, lake: str, weed: Weed) -> None:
        self.home, self.kind, self.lake, self.weed = home, kind, lake, weed
        self.namespace = "n" + lake.split("/")[3].replace("-", "_")
        home.settings["output"] = {"url": lake, "grace": 0, "tables": FEW, "format": kind.partition("-")[0]}
        if kind == "iceberg-sql":
            uri = f"sqlite:///{home.root}/catalog.db"
            home.settings["output"]["catalog"] = {"kind": "sql", "uri": uri, "namespace": self.namespace}
        if kind == "iceberg-rest":
            who = {"warehouse": f"s3://{WAREHOUSE}", "credential_env": "CATALOG_CREDENTIAL"}
            rest = {"kind": "rest", "uri": weed.catalog, "namespace": self.namespace, **who}
            home.settings["output"]["catalog"] = rest
        home.write_ids(known_ids(30))
        home.save()

    def catalog(self) -> Catalog:
        """The catalog as another program opens it."""
        store = {
            "s3.endpoint": self.weed.endpoint,
            "s3.access-key-id": "writer",
            "s3.secret-access-key": "writers-secret",
            "s3.region": "us-east-1",
        }
        if self.kind == "iceberg-sql":
            return load_catalog(
                "capillary", type="sql", uri=f"sqlite:///{self.home.root}/catalog.db", **store
            )
        who = {"credential": "writer:writers-secret", "warehouse": f"s3://{WAREHOUSE}"}
        who["oauth2-server-uri"] = f"{self.weed.catalog}/v1/oauth/tokens"
        return load_catalog("any", type="rest", uri=self.weed.catalog, **who, **store)

    def query(self, table: str) -> str:
        """How DuckDB reads a table."""
        if self.kind == "delta":
            return f"FROM delta_scan('{self.lake}/delta/{table}')"
        return f"FROM iceberg_scan('{self.catalog().load_table((self.namespace, table)).metadata_location}')"

    def by_polars(self, table: str) -> pa.Table:
        """The newest version."""
        if self.kind == "delta":
            return (
                pl.scan_delta(f"{self.lake}/delta/{table}", storage_options=self.options())
                .collect()
                .to_arrow()
            )
        found = self.catalog().load_table((self.namespace, table))
        return pl.scan_iceberg(found, reader_override="pyiceberg").collect().to_arrow()

    def options(self) -> dict[str, str]:
        """What readers of Delta Lake are told of the store."""
        return {**self.weed.environ(), "AWS_ALLOW_HTTP": "true"}

    def runs(self, table: str) -> list[str]:
        """What was committed, oldest first."""
        if self.kind == "delta":
            from deltalake import DeltaTable

            found = DeltaTable(f"{self.lake}/delta/{table}", storage_options=self.options())
            return [one["capillary-export.snapshot"] for one in reversed(found.history())]
        snapshots = self.catalog().load_table((self.namespace, table)).metadata.snapshots
        ordered = sorted(snapshots, key=lambda one: one.sequence_number or 0)
        return [
            one.summary.additional_properties["capillary-export.snapshot"] for one in ordered if one.summary
        ]

    def pulled(self, into: Path) -> Path:
        """A local copy of the export."""
        return self.weed.pull(self.lake, into)


@pytest.fixture(
    params=["iceberg-rest", *[pytest.param(one, marks=pytest.mark.long) for one in ("delta", "iceberg-sql")]]
)
def far(
    request: pytest.FixtureRequest, home: Home, lake: str, weed: Weed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Far]:
    """Each format, Iceberg by both kinds of catalog."""
    monkeypatch.setenv("CATALOG_CREDENTIAL", "writer:writers-secret")
    yield Far(home, request.param, lake, weed)


def test_nights_in_a_bucket_are_the_snapshot_in_every_reader(far: Far, tmp_path: Path) -> None:
    """Three nights with a retention of two; DuckDB and Polars read rows and types of the live snapshot."""
    far.home.settings["output"]["keep_snapshots"] = 2
    far.home.save()
    for night, ids in ((ONE, 30), (TWO, 12), (THREE, 12)):
        far.home.write_ids(known_ids(ids))
        found = go(far.home, night)
        assert found.tables is not None
        assert found.tables.is_whole, found.tables
        assert not found.remark
    export = far.pulled(tmp_path / "pulled")
    told = json.loads((export / "lakehouse.json").read_text())
    assert len((export / "lakehouse.json").read_bytes()) % 4096 == 0
    assert sorted(told["tables"]) == sorted(TABLES)
    by_duck = by_duckdb({name: far.query(name) for name in TABLES}, tmp_path)
    for name in TABLES:
        wanted = snapshot.table(export, name)
        alike(by_duck[name], wanted)
        alike(far.by_polars(name), wanted)
    top = told["tables"]["customers"]["location"]
    kept = {one.split("/")[1] for one in far.weed.names(top) if one.startswith("data/")}
    assert kept == {told["snapshot"], *told["earlier"]}
    assert len(kept) == 2
    assert not [path for path in (far.home.work / "transit").rglob("*") if path.is_file()]


def test_duckdb_goes_by_the_rest_catalog(
    home: Home, lake: str, weed: Weed, monkeypatch: Any, tmp_path: Path
) -> None:
    """An analyst attaches the catalog and names the table; no path is known to anybody."""
    monkeypatch.setenv("CATALOG_CREDENTIAL", "writer:writers-secret")
    far = Far(home, "iceberg-rest", lake, weed)
    go(home)
    attach = (
        "CREATE SECRET catalog (TYPE iceberg, CLIENT_ID 'writer', CLIENT_SECRET 'writers-secret', "
        f"OAUTH2_SERVER_URI '{weed.catalog}/v1/oauth/tokens'); "
        f"ATTACH 's3://{WAREHOUSE}' AS crm (TYPE iceberg, ENDPOINT '{weed.catalog}', SECRET catalog, "
        "ACCESS_DELEGATION_MODE 'none')"
    )
    found = by_duckdb({"customers": f"FROM crm.{far.namespace}.customers"}, tmp_path, before=attach)
    alike(found["customers"], snapshot.table(far.pulled(tmp_path / "pulled"), "customers"))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.long
def test_a_death_in_a_bucket_is_finished(far: Far, sandbox: Sandbox) -> None:
    """kill -9 before and after each commit of a first night, one after the other; `run` finishes, nothing is twice."""
    kind = far.home.settings["output"]["format"]
    catalog = far.home.settings["output"].pop("catalog", None)
    far.home.settings["output"]["format"] = "parquet"
    far.home.save()
    go(far.home, ONE)
    far.home.settings["output"]["format"] = kind
    if catalog:
        far.home.settings["output"]["catalog"] = catalog
    far.home.save()
    calls = calls_seen(sandbox)
    for number in range(1, len(TABLES), 2):
        for when in ("before", "after"):
            words = [sys.executable, "-m", "tests.formats.mortal", str(far.home.config_path), "1", when]
            assert subprocess.run(words, cwd=ROOT, check=False).returncode == -9, number
    assert main(["run", str(far.home.config_path), "--night", "2026-11-21"]) == 0
    assert all(len(far.runs(name)) == 1 for name in TABLES)
    assert calls_seen(sandbox) == calls


def test_a_store_that_goes_away_leaves_tables_behind(
    far: Far, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It dies between two commits: exit code 7 with what is done; `run` goes on when it is back."""
    from pipeline.formats import delta
    from pipeline.formats.files import Source
    from pipeline.store import objects

    monkeypatch.setattr(objects, "RETRIES", 1)
    monkeypatch.setattr(delta, "OPTIONS", {**delta.OPTIONS, "max_retries": "1", "retry_timeout": "2s"})
    real = Source.bring

    def bring_and_die(self: Any, table: str, shelf: Any) -> Any:
        if table == TABLES[1]:
            far.weed.kill()
        return real(self, table, shelf)

    words = ["run", str(far.home.config_path), "--night", "2026-11-21"]
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Source, "bring", bring_and_die)
            assert main(words) == 7
    finally:
        far.weed.start()
    said = capsys.readouterr().out
    assert "1 tables are at" in said
    assert "secret" not in said
    assert main(words) == 0
    assert all(len(far.runs(name)) == 1 for name in TABLES)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_racing_publishers_end_at_the_live_snapshot(far: Far, lake: str, tmp_path: Path) -> None:
    """Three machines publish and bring at once: who is overtaken commits nothing over a newer run, and in the end all
    tables are at the live snapshot, each run in each table at most once.
    """
    config, trouble = far.home.config(), list[Reached]()

    def machine(number: int) -> tuple[Format, Snapshots]:
        snapshots = Snapshots(Bucket(lake, tmp_path / str(number), allow_http=True))
        tables = open_tables(config, snapshots)
        assert tables is not None
        return tables, snapshots

    def run(number: int) -> None:
        tables, snapshots = machine(number)
        for turn in range(3):
            with suppress(HeldError):
                publish_one(snapshots, number * 10 + turn)
                found = reach(tables, snapshots, scratch=tmp_path / str(number), now=datetime.now(UTC))
                if found is not None and (found.failed or found.unknown):
                    trouble.append(found)

    machine(9)[0].look("customers")  # an SQL catalog makes its own tables at the first look
    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables, snapshots = machine(9)
    found = reach(tables, snapshots, scratch=tmp_path / "9", now=datetime.now(UTC))
    live = snapshots.current()
    assert found is not None
    assert live is not None
    assert found.is_whole, (found, trouble)
    for name in ("customers", "loyalty", "outcomes"):
        assert tables.look(name).run == live.snapshot
        assert max(Counter(far.runs(name)).values()) == 1, name


def test_doctor_asks_the_catalog(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells where the tables are; a wrong secret is told, and is not shown."""
    found = {one.what: one for one in examine(far.home.config(), datetime.now(UTC))}
    assert found["tables"].ok, found["tables"]
    if far.kind == "iceberg-rest":
        monkeypatch.setenv("CATALOG_CREDENTIAL", "writer:wrong-one")
        found = {one.what: one for one in examine(far.home.config(), datetime.now(UTC))}
        assert not found["tables"].ok
        assert "wrong-one" not in found["tables"].detail
