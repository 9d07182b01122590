"""What good nights leave for the checks of later ones."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from pipeline.store.history import History, Measurements, write_measured
from pipeline.store.workspace import NightFolder, Workspace

FIRST = date(2026, 11, 1)


def published(root: Path, day: int, *, forced: str = "", keep: int = 400) -> NightFolder:
    """A night that measured something and was published."""
    night = FIRST + timedelta(days=day)
    folder = Workspace(root).night(night).make()
    snapshot = f"{night}T010000Z"
    write_measured(folder, Measurements(night=night, snapshot=snapshot, customers=day))
    History(root).add(folder, snapshot, forced, keep=keep)
    return folder


def customers(root: Path, before: int = 100) -> list[int]:
    """Which days the history has, newest first."""
    return [one.customers for one in History(root).nights_before(FIRST + timedelta(days=before), 60)]


def test_published_nights_are_read_newest_first_and_only_earlier_ones(tmp_path: Path) -> None:
    """Tonight is not its own past."""
    for day in (2, 0, 1, 3):
        published(tmp_path, day)
    assert customers(tmp_path) == [3, 2, 1, 0]
    assert customers(tmp_path, before=2) == [1, 0]


def test_a_night_that_was_not_published_leaves_nothing(tmp_path: Path) -> None:
    """What it measured waits in its folder; another snapshot's measurements are not taken for it."""
    folder = Workspace(tmp_path).night(FIRST).make()
    write_measured(folder, Measurements(night=FIRST, snapshot="held"))
    assert customers(tmp_path) == []
    History(tmp_path).add(folder, "another", keep=400)
    assert customers(tmp_path) == []
    History(tmp_path).add(folder, "held", "it is meant so", keep=400)
    (one,) = History(tmp_path).nights_before(FIRST + timedelta(days=1), 60)
    assert one.forced_reason == "it is meant so"


def test_a_night_that_was_taken_back_counts_no_longer(tmp_path: Path) -> None:
    """`rollback` withdraws all that is newer than the snapshot it went back to."""
    for day in range(4):
        published(tmp_path, day)
    History(tmp_path).withdraw(after="2026-11-02T010000Z")
    assert customers(tmp_path) == [1, 0]


def test_only_so_many_nights_are_kept_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    """The oldest go; one bad file does not stop a night."""
    for day in range(5):
        published(tmp_path, day, keep=3)
    (tmp_path / "history" / "2026-11-04.json.gz").write_text("{")
    assert customers(tmp_path) == [4, 2]


def test_the_workspaces_nights_do_not_include_the_history(tmp_path: Path) -> None:
    """Retention of nights leaves it alone."""
    published(tmp_path, 0)
    assert [one.night for one in Workspace(tmp_path).nights()] == [FIRST]
