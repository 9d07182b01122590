"""Whole nights into an object store: a real S3 server, real readers, real deaths."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.doctor import examine
from pipeline.errors import ExportError, HeldError, StorageError, UnclearError
from pipeline.night import Options, Result, Screen, publish_night, rebuild_night, run_night
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store import objects
from pipeline.store.ledger import read_ledger
from pipeline.store.objects import Bucket
from pipeline.store.snapshots import Retention, Snapshots, open_snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.killing import Watcher, all_changes, kill_nights, kill_publishers
from tests.publisher import publish_one
from tests.weed import READER, Weed

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)
KILLS, KILLED_NIGHTS = 20, 2
"""`make crash-s3` has more of both."""


@pytest.fixture
def far(home: Home, lake: str) -> Home:
    """A config whose tables go to the S3 server."""
    home.settings["output"] = {"url": lake, "grace": 0, "tables": ["customers", "loyalty"]}
    home.write_ids(known_ids(40))
    home.save()
    return home


def go(home: Home, night: date = ONE, **options: Any) -> Result:
    return run_night(home.config(), Options(night=night, **options), Screen())


def live(home: Home) -> str:
    pointer = open_snapshots(home.config()).current()
    assert pointer is not None
    return pointer.snapshot


# Nights


def test_two_nights_in_a_bucket_are_what_two_nights_on_a_disk_are(
    far: Home, weed: Weed, lake: str, tmp_path: Path
) -> None:
    """The same tables, row by row, the second merged from the first as it is read back; nothing stays on the way."""
    far.settings["output"]["tables"] = "all"
    far.save()
    near = {"url": str(tmp_path / "near")}
    for night, ids in ((ONE, 40), (TWO, 10)):
        far.write_ids(known_ids(ids))
        go(far, night)
    shown = snapshot.all_rows(weed.pull(lake, tmp_path / "far"))
    far.settings |= {"output": near, "work": {"path": "elsewhere"}}
    far.save()
    for night, ids in ((ONE, 40), (TWO, 10)):
        far.write_ids(known_ids(ids))
        go(far, night)
    assert shown == snapshot.all_rows(tmp_path / "near")
    nights = Counter(row["_night"] for row in snapshot.rows(tmp_path / "far", "customers"))
    assert nights[ONE] > nights[TWO] > 0
    assert not [path for path in (far.work / "transit").rglob("*") if path.is_file()]


@pytest.mark.parametrize("store", ["google", "azure"])
def test_two_nights_in_the_other_stores(home: Home, request: pytest.FixtureRequest, store: str) -> None:
    """GCS and Azure: the second night is merged from the first as it is read back, and goes live in its place."""
    home.settings["output"] = {"url": request.getfixturevalue(store), "tables": ["customers"], "grace": 0}
    for night, ids in ((ONE, 40), (TWO, 10)):
        home.write_ids(known_ids(ids))
        home.save()
        assert go(home, night).live
    snapshots = open_snapshots(home.config())
    manifest = snapshots.manifest(live(home))
    rows = [pq.read_table(path).to_pylist() for path in snapshots.paths(manifest, "customers")]
    nights = Counter(row["_night"] for part in rows for row in part)
    assert nights[ONE] > nights[TWO] > 0
    assert sum(nights.values()) == manifest.tables["customers"].rows


def test_every_command_knows_the_bucket(far: Home, weed: Weed, lake: str) -> None:
    """status, report, rollback, publish, rebuild and retention, as on a disk."""
    path = str(far.config_path)
    names = []
    for night in (ONE, TWO):
        go(far, night)
        names.append(live(far))
    assert main(["status", path]) == 0
    assert main(["rollback", path]) == 0
    assert live(far) == names[0]
    assert go(far, TWO).unchanged
    publish_night(far.config(), TWO, None, datetime.now(UTC))
    assert live(far) == names[1]
    weed.files().delete_file(f"{lake.removeprefix('s3://')}/snapshots/{names[1]}/report.html")
    assert main(["report", path]) == 0
    assert f"snapshots/{names[1]}/report.html" in weed.names(lake)
    rebuilt = rebuild_night(far.config(), Options(night=TWO, only=frozenset({"loyalty"})), Screen())
    assert rebuilt.live
    assert rebuilt.folder == f"{lake}/snapshots/{live(far)}"
    far.settings["output"]["keep_snapshots"] = 1
    far.save()
    go(far, date(2026, 11, 23))
    assert {name.split("/")[1] for name in weed.names(f"{lake}/snapshots")} >= {"manifest.json"}
    assert open_snapshots(far.config()).complete() == [live(far)]


def test_analysts_read_the_bucket_without_us(far: Home, weed: Weed, lake: str) -> None:
    """pyarrow through its own S3 client, Polars and DuckDB on the bytes: every file, its checksum, its rows."""
    go(far)
    pointer = json.loads(weed.read(f"{lake}/current.json"))
    folder = f"{lake}/{pointer['manifest']}".rpartition("/")[0]
    manifest = json.loads(weed.read(f"{folder}/manifest.json"))
    for about in manifest["tables"].values():
        found = [weed.read(f"{folder}/{file['path']}") for file in about["files"]]
        assert [hashlib.sha256(one).hexdigest() for one in found] == [one["sha256"] for one in about["files"]]
        rows = [
            pq.read_table(f"{folder.removeprefix('s3://')}/{one['path']}", filesystem=weed.files())
            for one in about["files"]
        ]
        assert sum(one.num_rows for one in rows) == about["rows"]
        assert sum(pl.read_parquet(BytesIO(one)).height for one in found) == about["rows"]
        arrow = rows[0]  # noqa: F841 - DuckDB finds it by its name
        counted = duckdb.execute("SELECT count(*) FROM arrow").fetchall()
        assert counted == [(rows[0].num_rows,)]


# Trouble


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One retry, so that a store that is away is told at once."""
    monkeypatch.setattr(objects, "RETRIES", 1)


def told(home: Home, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that ends with exit code 7."""
    capsys.readouterr()
    assert main([words[0], str(home.config_path), *words[1:]]) == 7
    out, err = capsys.readouterr()
    said = out + err
    assert "Traceback" not in said
    assert "secret" not in said
    return said


@pytest.mark.usefixtures("impatient")
def test_storage_trouble_is_told_with_url_and_remedy(
    far: Home,
    lake: str,
    weed: Weed,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No bucket, no right, a wrong key, no server: exit code 7 before the first call, without a secret."""
    far.settings["output"]["url"] = "s3://no-such-bucket/x"
    far.save()
    assert "s3://no-such-bucket/x" in (said := told(far, capsys, "run"))
    assert "there is no such bucket" in said
    far.settings["output"]["url"] = lake
    far.save()
    for name, value in weed.environ(READER).items():
        monkeypatch.setenv(name, value)
    assert "403 Forbidden, AccessDenied" in told(far, capsys, "run")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    assert "Check the credentials in the environment" in told(far, capsys, "status")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "Connection refused" in (said := told(far, capsys, "run"))
    assert "`run` goes on when it answers" in said
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    assert "AWS_ALLOW_HTTP" in told(far, capsys, "run")
    assert calls_seen(sandbox) == 0


@pytest.mark.usefixtures("impatient")
def test_doctor_tries_the_bucket(far: Home, weed: Weed, lake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output check is the real thing, leaves nothing behind, and says what is wrong."""
    found = {one.what: one for one in examine(far.config(), datetime.now(UTC))}
    assert found["output"].ok, found["output"]
    assert found["disk"].ok
    assert weed.names(lake) == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = {one.what: one for one in examine(far.config(), datetime.now(UTC))}
    assert not found["output"].ok
    assert isinstance(found["output"].error, StorageError)


def test_a_store_without_conditions_is_refused(lake: str, tmp_path: Path) -> None:
    """One that ignores If-Match would let two publishers overwrite each other unseen."""

    class Careless(Bucket):
        def replace(self, path: str, data: bytes, seen: object) -> None:
            self.write(path, data)

    with pytest.raises(StorageError, match="does not keep to conditions"):
        Careless(lake, tmp_path, allow_http=True).check()
    Bucket(lake, tmp_path, allow_http=True).check()


def test_a_file_that_changed_in_the_bucket_is_not_merged(far: Home, weed: Weed, lake: str) -> None:
    """What is read back for the next night is proved against the manifest's checksums."""
    go(far, ONE)
    path = f"{lake}/snapshots/{live(far)}/customers/part-00000.parquet"
    data = weed.read(path)
    with weed.files().open_output_stream(path.removeprefix("s3://")) as stream:
        stream.write(data[:-9] + b"x" + data[-8:])
    with pytest.raises(StorageError, match="not the file that its manifest tells of"):
        go(far, TWO)


def test_a_large_file_goes_and_comes_in_pieces(
    weed: Weed, lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a piece's length it is one object all the same, whole or not there, and the local copy is gone."""
    monkeypatch.setattr(Bucket, "piece_bytes", 5 << 20)
    bucket, data = Bucket(lake, tmp_path / "transit", allow_http=True), random.Random(3).randbytes(12 << 20)
    file = bucket.begin("snapshots/2026-11-22T051207Z") / "large"
    file.write_bytes(data)
    bucket.deliver(file, "large")
    assert not file.exists()
    assert weed.read(f"{lake}/large") == data
    with bucket.reading("large", hashlib.sha256(data).hexdigest()) as local:
        assert local.read_bytes() == data
    assert not local.exists()
    file.write_bytes(data)
    weed.kill()
    monkeypatch.setattr(objects, "RETRIES", 0)
    try:
        with pytest.raises(StorageError):
            Bucket(lake, tmp_path / "transit", allow_http=True).deliver(file, "later")
    finally:
        weed.start()
    assert weed.names(lake) == ["large", "snapshots/2026-11-22T051207Z/_begun"]


class KillingAt(Screen):
    """Kills the server when a step begins."""

    def __init__(self, weed: Weed, step: str) -> None:
        self.weed, self.fatal = weed, step

    def step(self, text: str) -> None:
        if text == self.fatal:
            self.weed.kill()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_dies_under_a_night_costs_no_call(far: Home, weed: Weed, sandbox: Sandbox) -> None:
    """Exit code 7, readers keep the last snapshot; `run` goes on when the server is back, from the journal."""
    go(far, ONE)
    before = live(far)
    try:
        with pytest.raises(StorageError):
            run_night(far.config(), Options(night=TWO), KillingAt(weed, "building the snapshot"))
    finally:
        weed.start()
    assert live(far) == before
    calls = calls_seen(sandbox)
    assert go(far, TWO).live
    assert calls_seen(sandbox) == calls


def test_a_server_that_is_back_soon_is_not_noticed(far: Home, weed: Weed) -> None:
    """Retries bridge a restart in the middle of the publishing."""

    class Restarting(KillingAt):
        def step(self, text: str) -> None:
            super().step(text)
            if text == self.fatal:
                threading.Thread(target=self.weed.start).start()

    assert run_night(far.config(), Options(night=ONE), Restarting(weed, "building the snapshot")).live


def test_of_two_publishers_one_is_told(far: Home, lake: str, tmp_path: Path) -> None:
    """A night whose base was replaced while it was built is held, and made anew upon the new one by `run`."""
    go(far, ONE)

    other = Snapshots(Bucket(lake, tmp_path / "other", allow_http=True))
    config, begin = far.config(), Snapshots.begin

    def begin_and_be_overtaken(self: Snapshots, name: str) -> Any:
        draft = begin(self, name)
        if self is not other:
            other.point(before, datetime.now(UTC).isoformat(), rolled_back=True)
        return draft

    before = live(far)
    go(far, TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshots, "begin", begin_and_be_overtaken)
        far.write_ids(known_ids(45))
        held = run_night(config, Options(night=date(2026, 11, 23)), Screen())
    assert isinstance(held.held, HeldError)
    assert f"{before} is live now" in held.held.message
    assert go(far, date(2026, 11, 23)).live


def test_racing_publishers_lose_nothing(lake: str, tmp_path: Path) -> None:
    """Of many at once, each either published upon the one before, or was told that another was first."""
    published: list[str] = []
    refused: list[ExportError] = []

    def run(number: int) -> None:
        snapshots = Snapshots(Bucket(lake, tmp_path / str(number), allow_http=True))
        for _ in range(4):
            try:
                published.append(publish_one(snapshots, number).snapshot)
            except HeldError as exc:
                refused.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(published) + len(refused) == 16
    snapshots = Snapshots(Bucket(lake, tmp_path / "reader", allow_http=True))
    pointer = snapshots.current()
    assert pointer is not None
    chain = [pointer.snapshot]
    while (previous := snapshots.manifest(chain[-1]).previous) is not None:
        chain.append(previous)
    assert sorted(chain) == sorted(published)


@pytest.mark.usefixtures("impatient")
def test_a_pointer_whose_fate_is_unknown_is_found_out_by_the_next_run(
    far: Home, weed: Weed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the swing is lost and the store is away: unknown. The next run sees that it is live."""
    replace = Bucket.replace

    def replace_and_die(self: Bucket, path: str, data: bytes, seen: Any) -> None:
        replace(self, path, data, seen)
        if path == "current.json":
            weed.kill()
            raise UnclearError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "replace", replace_and_die)
        with pytest.raises(StorageError, match="Unknown whether the pointer"):
            go(far)
    weed.start()
    again = go(far)
    assert (again.unchanged, again.live) == (True, True)


# Deaths


@pytest.mark.timeout(60 + 10 * KILLS)
def test_readers_never_see_half_a_snapshot_of_a_killed_publisher(
    weed: Weed, lake: str, tmp_path: Path
) -> None:
    """kill -9 within each change to the store; whoever reads meanwhile sees the old one or the new one, whole."""
    watcher = Watcher(weed, lake)
    snapshots = Snapshots(Bucket(lake, tmp_path / "scratch", allow_http=True))
    publish_one(snapshots, 98)
    with watcher.watching():
        kill_publishers(weed, lake, tmp_path / "scratch", all_changes(KILLS))
    assert watcher.wrong == []
    assert len(watcher.seen) > KILLS / 4
    left = publish_one(snapshots, 99)
    snapshots.forget(Retention(1), datetime.now(UTC) + timedelta(days=1))
    assert {name.split("/")[0] for name in weed.names(f"{lake}/snapshots")} == {left.snapshot}


@pytest.mark.timeout(120 + 10 * KILLED_NIGHTS)
def test_a_night_killed_while_it_publishes_ends_like_a_quiet_one(
    far: Home, weed: Weed, lake: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    """kill -9 of the whole run at random moments; each resumed, no call is made twice, readers see whole nights."""
    go(far, ONE)
    watcher = Watcher(weed, lake)
    with watcher.watching():
        fell = kill_nights(weed, lake, far, TWO.isoformat(), KILLED_NIGHTS)
    assert fell.total() > KILLED_NIGHTS / 2
    assert watcher.wrong == []
    export = weed.pull(lake, tmp_path / "pulled")
    assert snapshot.manifest(export)["ids"]["distinct"] == 40 + KILLED_NIGHTS
    parts = (far.work / night.isoformat() / "parts" for night in (ONE, TWO))
    assert calls_seen(sandbox) == sum(read_ledger(path).calls for path in parts)
