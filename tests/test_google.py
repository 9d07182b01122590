"""Google's store against fake-gcs-server: conditions, races, deaths, trouble. Whole nights are in test_objects."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.errors import StorageError, TakenError, UnclearError
from pipeline.store import google as door
from pipeline.store.google import GoogleBucket
from pipeline.store.snapshots import Snapshots
from tests.conftest import Home
from tests.gcs import Gcs
from tests.killing import Watcher, kill_publishers
from tests.publisher import publish_one

TABLE, MANIFEST, POINTER = 3, 5, 6
"""Changes to the store within which a publisher dies."""


@pytest.fixture
def bucket(google: str, tmp_path: Path) -> GoogleBucket:
    """The door, in this test's own prefix."""
    return GoogleBucket(google, tmp_path / "transit", allow_http=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second try, so that a store that is away is told at once."""
    monkeypatch.setattr(door, "RETRY_FOR_S", 0.01)


def test_a_file_is_replaced_as_it_was_seen_or_not_at_all(bucket: GoogleBucket) -> None:
    """By generations: what is new must be new, what is replaced must be what was read, also when it holds the same."""
    bucket.check()
    bucket.create("pointer", b"one")
    with pytest.raises(TakenError):
        bucket.create("pointer", b"two")
    seen = bucket.read("pointer")
    assert seen is not None
    bucket.replace("pointer", b"one", seen)
    with pytest.raises(TakenError):
        bucket.replace("pointer", b"three", seen)
    bucket.drop("pointer")
    bucket.drop("pointer")
    with pytest.raises(TakenError):
        bucket.replace("pointer", b"four", seen)
    assert bucket.read("pointer") is None


def test_of_many_who_replace_at_once_one_does(bucket: GoogleBucket) -> None:
    """The server's own condition decides, ten times in a row."""
    bucket.create("pointer", b"0")
    for _ in range(10):
        seen = bucket.read("pointer")
        done: list[int] = []

        def swing(number: int, seen: object = seen, done: list[int] = done) -> None:
            try:
                bucket.replace("pointer", b"%d" % number, seen)  # type: ignore[arg-type]
                done.append(number)
            except TakenError:
                pass

        threads = [threading.Thread(target=swing, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now = bucket.read("pointer")
        assert now is not None
        assert [now.data] == [b"%d" % number for number in done]


@pytest.mark.usefixtures("impatient")
def test_a_large_file_goes_and_comes_in_pieces(
    bucket: GoogleBucket, gcs_server: Gcs, google: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumable upload is one object in the end, read by ranges; one that breaks off leaves none."""
    monkeypatch.setattr(GoogleBucket, "piece_bytes", 1 << 20)
    monkeypatch.setattr("google.cloud.storage.blob._MAX_MULTIPART_SIZE", 1 << 20)
    data = random.Random(3).randbytes((3 << 20) + 5)
    file = bucket.begin("snapshots/2026-11-22T051207Z") / "large"
    file.write_bytes(data)
    bucket.deliver(file, "large")
    assert not file.exists()
    assert gcs_server.read(f"{google}/large") == data
    with bucket.reading("large", hashlib.sha256(data).hexdigest()) as local:
        assert local.read_bytes() == data
    with bucket.open("large") as stream:
        stream.seek(-9, 2)
        assert stream.read() == data[-9:]
    file.write_bytes(data)
    pieces = bucket._bucket.client._http.request

    def break_off(method: str, url: str, *words: object, **more: object) -> object:
        if method == "PUT" and "bytes 1048576-" in str(more.get("headers")):
            gcs_server.kill()
        return pieces(method, url, *words, **more)

    monkeypatch.setattr(bucket._bucket.client._http, "request", break_off)
    try:
        with pytest.raises(StorageError, match=r"Cannot write .*/later"):
            bucket.deliver(file, "later")
    finally:
        gcs_server.start()
    assert file.exists()
    assert gcs_server.names(google) == ["large", "snapshots/2026-11-22T051207Z/_begun"]


@pytest.mark.timeout(120)
def test_readers_never_see_half_a_snapshot_of_a_killed_publisher(
    gcs_server: Gcs, google: str, tmp_path: Path
) -> None:
    """kill -9 within changes to the store; whoever reads meanwhile sees the old one or the new one, whole."""
    watcher = Watcher(gcs_server, google)
    snapshots = Snapshots(GoogleBucket(google, tmp_path / "scratch", allow_http=True))
    publish_one(snapshots, 98)
    with watcher.watching():
        fell = kill_publishers(gcs_server, google, tmp_path / "scratch", (TABLE, MANIFEST, POINTER))
    assert fell.total() == 3
    assert watcher.wrong == []
    assert watcher.seen
    left = publish_one(snapshots, 99)
    live = snapshots.current()
    assert live is not None
    assert live.snapshot == left.snapshot


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_told_and_a_swing_without_answer_is_unclear(
    bucket: GoogleBucket, gcs_server: Gcs
) -> None:
    """A plain change failed, as nothing hangs on it; of one on a condition nobody knows."""
    gcs_server.kill()
    try:
        with pytest.raises(UnclearError, match="Connection refused"):
            bucket.create("pointer", b"1")
        with pytest.raises(StorageError, match=r"Cannot read gs://.*Connection refused") as found:
            bucket.read("pointer")
        assert "`run` goes on when it answers" in str(found.value.hint)
    finally:
        gcs_server.start()


def test_a_server_that_is_back_soon_is_not_noticed(bucket: GoogleBucket, gcs_server: Gcs) -> None:
    """Retries bridge a restart, also of a change on a condition."""
    gcs_server.kill()
    thread = threading.Thread(target=gcs_server.start)
    thread.start()
    try:
        bucket.create("pointer", b"1")
    finally:
        thread.join()
    assert bucket.has("pointer")


@pytest.mark.usefixtures("google", "impatient")
def test_mistakes_are_told_with_remedy(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No bucket, plain http elsewhere, no credentials, a key that is none, no library: before the first call."""

    def told(code: int) -> str:
        capsys.readouterr()
        assert main(["run", str(home.config_path)]) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return " ".join((out + err).split())

    home.settings["output"] = {"url": "gs://no-such-bucket/x"}
    home.save()
    assert "there is no such bucket" in told(7)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://store.example")
    assert "GOOGLE_ALLOW_HTTP" in told(7)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(home.root))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(home.root / "none.json"))
    assert "Set GOOGLE_APPLICATION_CREDENTIALS" in told(7)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", "{secret")
    assert "is no JSON" in (said := told(7))
    assert "secret" not in said
    monkeypatch.setattr(door, "find_spec", lambda _: None)
    assert "capillary-export[gcs]" in told(2)


def test_what_is_refused_is_told_as_done_by_nobody(bucket: GoogleBucket) -> None:
    """403 and 401 change nothing, so not even a swing is unclear; the texts of the library stay inside."""
    from google.api_core import exceptions

    def failing(exc: Exception) -> StorageError:
        with pytest.raises(StorageError) as found, door._told("write", "gs://b/p", conditional=True):
            raise exc
        assert "signed" not in found.value.message
        return found.value

    forbidden: Any = exceptions.Forbidden
    away: Any = exceptions.ServiceUnavailable
    refused = failing(forbidden("https://signed.example/?token=signed"))
    assert not isinstance(refused, UnclearError)
    assert "refused (403)" in refused.message
    assert isinstance(failing(away("signed")), UnclearError)
