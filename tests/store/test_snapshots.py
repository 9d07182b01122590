"""The export folder: what readers see, what deaths leave behind, and what is removed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import Exit, StorageError
from pipeline.store.snapshots import Manifest, Snapshots

NAMES = [f"2026-11-2{day}T051200Z" for day in range(5)]
AT = "2026-11-22T05:12:00+00:00"


def a_manifest(name: str) -> Manifest:
    return Manifest(
        snapshot=name,
        night=date(2026, 11, 22),
        created_at=AT,
        version="1",
        schema_version=1,
        ids={},
        outcomes={},
        calls={},
        tables={},
        checks=[],
        config_sha256="",
    )


def make(snapshots: Snapshots, name: str, *, whole: bool = True) -> Path:
    """A snapshot with one file; without a manifest when it isn't whole."""
    folder = snapshots.begin(name)
    (folder / "customers").mkdir()
    (folder / "customers" / "part-00000.parquet").write_bytes(b"rows")
    if whole:
        snapshots.commit(a_manifest(name))
    return folder


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "export")


def left(snapshots: Snapshots) -> list[str]:
    return sorted(path.name for path in (snapshots.root / "snapshots").iterdir())


def test_before_the_first_snapshot_nothing_is_live(snapshots: Snapshots) -> None:
    """An export folder that is empty or missing has neither a pointer nor snapshots."""
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
    assert snapshots.root / pointer.manifest == snapshots.folder(NAMES[0]) / "manifest.json"
    assert snapshots.manifest(NAMES[0]) == a_manifest(NAMES[0])
    assert pointer.model_dump()["forced_reason"] == "why"


def test_begin_clears_what_a_death_left(snapshots: Snapshots) -> None:
    """A snapshot that is begun again has none of the files of the first try."""
    make(snapshots, NAMES[0], whole=False)
    assert list(snapshots.begin(NAMES[0]).iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"snapshot": 5}', b"\xff"])
def test_a_damaged_pointer_is_told(snapshots: Snapshots, content: bytes) -> None:
    """A pointer that cannot be read is no missing pointer: nothing is built on nothing by mistake."""
    snapshots.root.mkdir()
    (snapshots.root / "current.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"current\.json") as caught:
        snapshots.current()
    assert "rollback" in caught.value.hint
    assert caught.value.exit_code is Exit.STORAGE


def test_a_missing_or_damaged_manifest_is_told(snapshots: Snapshots) -> None:
    """The manifest's path is named."""
    folder = make(snapshots, NAMES[0])
    (folder / "manifest.json").write_text("{")
    for name in (NAMES[0], "unknown"):
        with pytest.raises(StorageError, match=rf"{name}/manifest\.json"):
            snapshots.manifest(name)


def test_retention_keeps_the_newest_and_the_live_one(snapshots: Snapshots) -> None:
    """After a roll back the live one is old: it stays, with the newest ones."""
    for name in NAMES:
        make(snapshots, name)
    snapshots.point(NAMES[1], AT)
    assert snapshots.forget(keep=2) == [NAMES[0], NAMES[2]]
    assert left(snapshots) == [NAMES[1], NAMES[3], NAMES[4]]
    assert snapshots.forget(keep=2) == []


def test_retention_sweeps_what_deaths_left(snapshots: Snapshots) -> None:
    """Unfinished snapshots older than a whole one go; a newer one may be under way; strangers' files stay."""
    for name in (NAMES[0], f"{NAMES[0]}-02", NAMES[4]):
        make(snapshots, name, whole=False)
    make(snapshots, NAMES[1])
    snapshots.point(NAMES[1], AT)
    (snapshots.root / "snapshots" / "2025-backup").mkdir()
    (snapshots.root / "snapshots" / "0-notes.txt").write_text("mine")
    (snapshots.root / ".current.json.4711.tmp").write_text("{")
    assert snapshots.forget(keep=1) == [NAMES[0], f"{NAMES[0]}-02"]
    assert left(snapshots) == ["0-notes.txt", "2025-backup", NAMES[1], NAMES[4]]
    assert sorted(path.name for path in snapshots.root.iterdir()) == ["current.json", "snapshots"]


def test_a_snapshot_half_removed_is_not_whole(snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that stops before the files are gone leaves nothing that looks whole; the next one ends it."""

    def stops(_path: Path) -> None:
        raise OSError("stopped")

    for name in NAMES[:2]:
        make(snapshots, name)
    snapshots.point(NAMES[1], AT)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stops)
        assert snapshots.forget(keep=1) == []
    assert left(snapshots) == NAMES[:2]
    assert snapshots.complete() == [NAMES[1]]
    assert snapshots.forget(keep=1) == [NAMES[0]]
