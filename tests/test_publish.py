"""Publishing: one commit point, held snapshots that stay held, and the way back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline import publish
from pipeline.errors import Exit, HeldError, UsageError
from pipeline.store.snapshots import Manifest, ManifestCheck, Snapshots

NOW = datetime(2026, 11, 22, 5, 12, 7, tzinfo=UTC)


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "export")


def commit(snapshots: Snapshots, day: int, *, passed: bool = True) -> Manifest:
    """A whole snapshot of that day, its check passed or not."""
    now = NOW + timedelta(days=day)
    manifest = publish.make_manifest(
        name=publish.begin(snapshots, now).name,
        night=date(2026, 11, 22) + timedelta(days=day),
        now=now,
        previous=None,
        ids={"read": 1},
        outcomes={"exported": 1},
        calls={"made": 1},
        tables={},
        checks=[
            ManifestCheck(name="first", passed=True, detail=""),
            ManifestCheck(name="rows add up", passed=passed, detail="1 + 1, 3"),
        ],
        config_sha256="0",
    )
    snapshots.commit(manifest)
    return manifest


def live(snapshots: Snapshots) -> str | None:
    pointer = snapshots.current()
    return pointer.snapshot if pointer else None


def test_names_are_in_utc_and_sort_by_time(snapshots: Snapshots) -> None:
    """The same moment has one name in every zone; several within a second sort in the order they were made."""
    assert publish.snapshot_name(NOW) == "2026-11-22T051207Z"
    assert (
        publish.snapshot_name(NOW.astimezone(timezone(timedelta(hours=5, minutes=30))))
        == "2026-11-22T051207Z"
    )
    made = [commit(snapshots, 0).snapshot for _ in range(12)]
    assert made[:2] == ["2026-11-22T051207Z", "2026-11-22T051207Z-02"]
    assert made == sorted(made) == snapshots.complete()
    assert made[-1] < publish.snapshot_name(NOW + timedelta(seconds=1))


def test_a_name_that_a_death_left_is_taken_again(snapshots: Snapshots) -> None:
    """A folder without a manifest is nobody's."""
    snapshots.begin("2026-11-22T051207Z")
    assert publish.begin(snapshots, NOW).name == "2026-11-22T051207Z"


def test_a_sound_snapshot_goes_live(snapshots: Snapshots) -> None:
    """The pointer names the snapshot and its manifest, and says when."""
    manifest = commit(snapshots, 0)
    pointer = publish.swing(snapshots, manifest, NOW)
    assert snapshots.current() == pointer
    assert (pointer.snapshot, pointer.published_at) == (manifest.snapshot, "2026-11-22T05:12:07+00:00")
    assert "forced_reason" not in pointer.model_dump()
    assert snapshots.manifest(pointer.snapshot) == manifest


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_failed_check_holds_the_snapshot(snapshots: Snapshots, reason: str | None) -> None:
    """Without a reason the last one stays live; the message has the check, the numbers and the way out."""
    publish.swing(snapshots, commit(snapshots, 0), NOW)
    before = live(snapshots)
    held = commit(snapshots, 1, passed=False)
    with pytest.raises(HeldError, match=r"rows add up failed \(1 \+ 1, 3\)") as caught:
        publish.swing(snapshots, held, NOW, reason)
    assert caught.value.exit_code is Exit.HELD
    assert "--night 2026-11-23 --force --reason" in caught.value.hint
    assert live(snapshots) == before


def test_a_forced_snapshot_keeps_its_reason(snapshots: Snapshots) -> None:
    """The reason stands in the pointer, and stays in the manifest after the pointer has moved on."""
    held = commit(snapshots, 0, passed=False)
    pointer = publish.swing(snapshots, held, NOW, "new tier")
    assert pointer.model_dump()["forced_reason"] == "new tier"
    publish.swing(snapshots, commit(snapshots, 1), NOW)
    assert snapshots.manifest(held.snapshot).forced_reason == "new tier"
    assert not publish.is_held(snapshots.manifest(held.snapshot))


def test_rolling_back_goes_to_the_one_before(snapshots: Snapshots) -> None:
    """Without a name it is the last before the live one, and again the one before that."""
    made = [commit(snapshots, day) for day in range(3)]
    publish.swing(snapshots, made[2], NOW)
    pointer = publish.roll_back(snapshots, None, NOW)
    assert (pointer.snapshot, pointer.model_dump()["rolled_back"]) == (made[1].snapshot, True)
    publish.roll_back(snapshots, None, NOW)
    assert live(snapshots) == made[0].snapshot
    with pytest.raises(UsageError, match="no snapshot before the live one"):
        publish.roll_back(snapshots, None, NOW)
    assert live(snapshots) == made[0].snapshot
    publish.roll_back(snapshots, made[2].snapshot, NOW)
    assert live(snapshots) == made[2].snapshot


def test_rolling_back_passes_over_held_snapshots(snapshots: Snapshots) -> None:
    """A snapshot that was held is not what readers saw before; not even by name, but after a reason."""
    sound, held, newest = commit(snapshots, 0), commit(snapshots, 1, passed=False), commit(snapshots, 2)
    publish.swing(snapshots, newest, NOW)
    assert publish.roll_back(snapshots, None, NOW).snapshot == sound.snapshot
    with pytest.raises(HeldError):
        publish.roll_back(snapshots, held.snapshot, NOW)
    assert live(snapshots) == sound.snapshot
    publish.swing(snapshots, held, NOW, "it was right after all")
    publish.swing(snapshots, newest, NOW)
    assert publish.roll_back(snapshots, None, NOW).snapshot == held.snapshot


def test_rolling_back_to_an_unknown_or_unfinished_snapshot_is_refused(snapshots: Snapshots) -> None:
    """The whole snapshots are named; the pointer stays."""
    manifest = commit(snapshots, 0)
    publish.swing(snapshots, manifest, NOW)
    snapshots.begin("2026-11-30T000000Z")
    for name in ("2026-11-30T000000Z", "nonsense", "../elsewhere"):
        with pytest.raises(UsageError, match="There is no snapshot") as caught:
            publish.roll_back(snapshots, name, NOW)
        assert manifest.snapshot in caught.value.hint
    assert live(snapshots) == manifest.snapshot


def test_rolling_back_by_name_heals_a_damaged_pointer(snapshots: Snapshots) -> None:
    """What the pointer's error message advises works."""
    manifest = commit(snapshots, 0)
    (Path(snapshots.url) / "current.json").write_text("{")
    publish.roll_back(snapshots, manifest.snapshot, NOW)
    assert live(snapshots) == manifest.snapshot
