"""The export, on a disk and in an object store: what readers see, what deaths leave behind, and what is removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import Exit, HeldError, StorageError, TakenError, UnclearError
from pipeline.store.folder import LocalFolder
from pipeline.store.place import Content, Place
from pipeline.store.remote import open_remote
from pipeline.store.snapshots import Manifest, ManifestFile, ManifestTable, Retention, Snapshots

NAMES = [f"2026-11-2{day}T051200Z" for day in range(5)]
AT = "2026-11-22T05:12:00+00:00"
LATER = datetime(2027, 1, 1, tzinfo=UTC)
PLACES = [
    pytest.param("disk"),
    "bucket",
    "azure",
    "google",
]


def a_manifest(name: str, **more: object) -> Manifest:
    return Manifest.model_validate(
        {
            "snapshot": name,
            "night": date(2026, 11, 22),
            "created_at": AT,
            "version": "1",
            "schema_version": 1,
            "ids": {},
            "outcomes": {},
            "calls": {},
            "tables": {},
            "checks": [],
            "config_sha256": "",
            **more,
        }
    )


def make(snapshots: Snapshots, name: str, *, whole: bool = True) -> None:
    """A snapshot with one file; without a manifest when it isn't whole."""
    draft = snapshots.begin(name)
    file = draft.folder / "customers" / "part-00000.parquet"
    file.parent.mkdir()
    file.write_bytes(b"rows")
    draft.deliver(file)
    if whole:
        snapshots.commit(a_manifest(name))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The same suite for every place."""
    if request.param == "disk":
        return LocalFolder(tmp_path / "export")
    fixture = {"bucket": "lake"}.get(request.param, request.param)
    return open_remote(request.getfixturevalue(fixture), tmp_path / "transit", allow_http=True)


@pytest.fixture
def snapshots(place: Place) -> Snapshots:
    return Snapshots(place)


def left(place: Place) -> list[str]:
    """Folders that hold something; some stores go on listing an empty one."""
    return sorted(name for name in place.folders("snapshots") if place.entries(f"snapshots/{name}"))


def test_before_the_first_snapshot_nothing_is_live(snapshots: Snapshots) -> None:
    """An export that is empty or missing has neither a pointer nor snapshots."""
    assert snapshots.current() is None
    assert snapshots.complete() == []


def test_a_snapshot_is_whole_with_its_manifest_and_live_with_the_pointer(snapshots: Snapshots) -> None:
    """Files first, then the manifest, then the pointer: each step is seen only after it is done."""
    make(snapshots, NAMES[0], whole=False)
    assert (snapshots.complete(), snapshots.current()) == ([], None)
    snapshots.commit(a_manifest(NAMES[0]))
    assert (snapshots.complete(), snapshots.current()) == ([NAMES[0]], None)
    pointer = snapshots.point(NAMES[0], AT, forced_reason="why")
    assert snapshots.current() == pointer
    assert pointer.manifest == f"snapshots/{NAMES[0]}/manifest.json"
    assert snapshots.manifest(NAMES[0]) == a_manifest(NAMES[0])
    assert pointer.model_dump()["forced_reason"] == "why"


def test_begin_clears_what_a_death_left(tmp_path: Path) -> None:
    """On a disk, a snapshot that is begun again has none of the files of the first try."""
    snapshots = Snapshots(tmp_path)
    make(snapshots, NAMES[0], whole=False)
    assert list(snapshots.begin(NAMES[0]).folder.iterdir()) == []


def test_a_name_is_begun_once(lake: str, tmp_path: Path) -> None:
    """Of two machines that begin within the same second, one has to take another name."""
    one, other = (Snapshots(open_remote(lake, tmp_path / name, allow_http=True)) for name in "ab")
    one.begin(NAMES[0])
    with pytest.raises(TakenError):
        other.begin(NAMES[0])


def test_no_manifest_is_written_of_files_that_are_not_there(snapshots: Snapshots) -> None:
    """A file that something removed or cut since it was written holds the snapshot back."""
    make(snapshots, NAMES[0], whole=False)
    for path, size in (("customers/part-00000.parquet", 5), ("customers/part-00001.parquet", 4)):
        file = ManifestFile(path=path, rows=1, bytes=size, sha256="")
        table = ManifestTable(rows=1, files=[file], schema_fingerprint="")
        with pytest.raises(StorageError, match=path):
            snapshots.commit(a_manifest(NAMES[0], tables={"customers": table}))
    assert snapshots.complete() == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"snapshot": 5}', b"\xff"])
def test_a_damaged_pointer_is_told(snapshots: Snapshots, place: Place, content: bytes) -> None:
    """A pointer that cannot be read is no missing pointer: nothing is built on nothing by mistake."""
    place.write("current.json", content)
    with pytest.raises(StorageError, match=r"current\.json") as caught:
        snapshots.current()
    assert "rollback" in caught.value.hint
    assert caught.value.exit_code is Exit.STORAGE


def test_a_missing_or_damaged_manifest_is_told(snapshots: Snapshots, place: Place) -> None:
    """The manifest's path is named."""
    make(snapshots, NAMES[0])
    place.write(f"snapshots/{NAMES[0]}/manifest.json", b"{")
    for name in (NAMES[0], "unknown"):
        with pytest.raises(StorageError, match=rf"{name}/manifest\.json"):
            snapshots.manifest(name)


# The commit point


def test_a_pointer_that_another_moved_is_left_alone(snapshots: Snapshots) -> None:
    """A snapshot made upon one that is no longer live would lose the rows of the one between."""
    for name in NAMES[:3]:
        make(snapshots, name)
    snapshots.point(NAMES[0], AT, instead_of=None)
    snapshots.point(NAMES[1], AT, instead_of=NAMES[0])
    with pytest.raises(HeldError, match=rf"{NAMES[1]} is live now"):
        snapshots.point(NAMES[2], AT, instead_of=NAMES[0])
    with pytest.raises(HeldError):
        snapshots.point(NAMES[2], AT, instead_of=None)
    live = snapshots.current()
    assert live is not None
    assert live.snapshot == NAMES[1]


class Faulty:
    """A place whose pointer misbehaves as told: what happens before and after the real act."""

    def __init__(
        self, place: Place, *, act: bool, error: type[StorageError], blind: bool = False, times: int = 1
    ) -> None:
        self._place, self._act, self._error, self._blind, self._times = place, act, error, blind, times
        self.asked = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self._place, name)
        return found

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """The pointer, with a fault."""
        self.asked += 1
        if self.asked > self._times or self._act:
            self._place.replace(path, data, seen)
        if self.asked <= self._times:
            raise self._error("no answer")

    def read(self, path: str) -> Content | None:
        """Looking may fail too."""
        if self.asked and self._blind:
            raise StorageError("the store is away")
        return self._place.read(path)


def live_after(place: Place, faulty: Faulty) -> str:
    """The snapshot that is live after a swing from the first to the second through a faulty place."""
    snapshots = Snapshots(place)
    for name in NAMES[:2]:
        make(snapshots, name)
    snapshots.point(NAMES[0], AT)
    Snapshots(faulty).point(NAMES[1], AT, instead_of=NAMES[0])  # type: ignore[arg-type] # all but two pass through
    live = snapshots.current()
    assert live is not None
    return live.snapshot


@pytest.mark.parametrize("error", [UnclearError, TakenError])
@pytest.mark.parametrize("act", [True, False])
def test_after_an_unclear_answer_the_pointer_is_looked_at(
    place: Place, act: bool, error: type[StorageError]
) -> None:
    """Done is done although nobody said so, even where a second try met our own first; not done is tried again."""
    faulty = Faulty(place, act=act, error=error)
    assert live_after(place, faulty) == NAMES[1]
    assert faulty.asked == (1 if act else 2)


def test_a_pointer_that_does_not_move_is_a_failure(place: Place) -> None:
    """Where looking works, nothing is unknown."""
    with pytest.raises(StorageError, match="was not moved") as caught:
        live_after(place, Faulty(place, act=False, error=UnclearError, times=9))
    assert not isinstance(caught.value, UnclearError)


@pytest.mark.parametrize("act", [True, False])
def test_what_nobody_can_say_is_told_as_unknown(place: Place, act: bool) -> None:
    """Neither published nor failed: exit code 7, and how to find out."""
    with pytest.raises(UnclearError, match="Unknown whether") as caught:
        live_after(place, Faulty(place, act=act, error=UnclearError, blind=True))
    assert caught.value.exit_code is Exit.STORAGE
    assert "`status`" in caught.value.hint


# Retention


def test_retention_keeps_the_newest_and_the_live_one(snapshots: Snapshots, place: Place) -> None:
    """After a roll back the live one is old: it stays, with the newest ones."""
    for name in NAMES:
        make(snapshots, name)
    snapshots.point(NAMES[1], AT)
    assert snapshots.forget(Retention(2), LATER) == [NAMES[0], NAMES[2]]
    assert left(place) == [NAMES[1], NAMES[3], NAMES[4]]
    assert snapshots.forget(Retention(2), LATER) == []


def test_retention_by_days_keeps_the_young_beyond_the_number(snapshots: Snapshots, place: Place) -> None:
    """A snapshot stays while one of both rules wants it."""
    for name in NAMES:
        make(snapshots, name)
    snapshots.point(NAMES[4], AT)
    now = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
    snapshots.forget(Retention(1, days=2.5), now)
    assert left(place) == NAMES[2:]
    snapshots.forget(Retention(4, days=1), now)
    assert left(place) == NAMES[2:]


def test_what_was_live_a_moment_ago_stays_for_its_readers(snapshots: Snapshots, place: Place) -> None:
    """Who read the pointer before it swung has the grace time to finish, over several swings."""
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    for hours, name in enumerate(NAMES):
        make(snapshots, name)
        snapshots.point(name, (moment + timedelta(hours=hours)).isoformat())
    hour = Retention(1, grace_s=3600)
    snapshots.forget(hour, moment + timedelta(hours=4, minutes=59))
    assert left(place) == NAMES[3:]
    snapshots.forget(hour, moment + timedelta(hours=5))
    assert left(place) == NAMES[4:]


def test_the_pointer_forgets_what_ceased_long_ago(snapshots: Snapshots) -> None:
    """The list of former live snapshots does not grow, and never holds the live one."""
    for name in NAMES:
        make(snapshots, name)
    for day, name in enumerate([*NAMES, NAMES[3]]):
        pointer = snapshots.point(name, (LATER + timedelta(days=4 * day)).isoformat())
    assert sorted(pointer.was_live_until) == [NAMES[4]]


def test_the_pointer_forgets_what_was_removed(snapshots: Snapshots) -> None:
    """Nobody reads what is gone."""
    for hour, name in enumerate(NAMES[:3]):
        make(snapshots, name)
        snapshots.point(name, (LATER + timedelta(hours=hour)).isoformat())
    assert snapshots.forget(Retention(1), LATER + timedelta(days=30)) == NAMES[:2]
    make(snapshots, NAMES[3])
    pointer = snapshots.point(NAMES[3], (LATER + timedelta(days=1)).isoformat())
    assert sorted(pointer.was_live_until) == [NAMES[2]]


def test_the_pointer_keeps_its_length(tmp_path: Path) -> None:
    """However many snapshots went live within the days that it remembers: the oldest of them are left out first."""

    class Padded(LocalFolder):
        padded_to = 4096

    snapshots = Snapshots(Padded(tmp_path))
    names = [f"2026-11-20T{second:06d}Z" for second in range(120)]
    for minute, name in enumerate(names):
        make(snapshots, name)
        pointer = snapshots.point(name, (LATER + timedelta(minutes=minute)).isoformat())
        assert (tmp_path / "current.json").stat().st_size == 4096
    assert snapshots.current() == pointer
    kept = sorted(pointer.was_live_until)
    assert kept == names[-1 - len(kept) : -1]
    assert len(kept) > 40


def test_retention_sweeps_what_deaths_left(snapshots: Snapshots, place: Place) -> None:
    """Unfinished snapshots older than a whole one go; a newer one may be under way; strangers' folders stay."""
    for name in (NAMES[0], f"{NAMES[0]}-02", NAMES[4]):
        make(snapshots, name, whole=False)
    make(snapshots, NAMES[1])
    snapshots.point(NAMES[1], AT)
    place.write("snapshots/2025-backup/notes.txt", b"mine")
    place.write(".probe-4711", b"x")
    now = datetime.now(UTC)  # what deaths left is as old as its files, and the store dates these
    assert snapshots.forget(Retention(1, grace_s=3600), now + timedelta(minutes=50)) == []
    gone = snapshots.forget(Retention(1, grace_s=3600), now + timedelta(minutes=70))
    assert gone == [NAMES[0], f"{NAMES[0]}-02"]
    assert left(place) == ["2025-backup", NAMES[1], NAMES[4]]
    assert not place.has(".probe-4711")


def test_a_snapshot_half_removed_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that stops before the files are gone leaves nothing that looks whole; the next one ends it."""

    def stops(_path: Path) -> None:
        raise OSError(5, "stopped")

    place = LocalFolder(tmp_path)
    snapshots = Snapshots(place)
    for name in NAMES[:2]:
        make(snapshots, name)
    snapshots.point(NAMES[1], AT)
    later = datetime.now(UTC) + timedelta(days=30)  # than what is half removed was written
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stops)
        with pytest.raises(StorageError, match=NAMES[0]):
            snapshots.forget(Retention(1), later)
    assert left(place) == NAMES[:2]
    assert snapshots.complete() == [NAMES[1]]
    assert snapshots.forget(Retention(1), later) == [NAMES[0]]
