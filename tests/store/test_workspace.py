"""The workspace: one run at a time, whatever became of the last one; states that survive; nights that are forgotten."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import Exit, LockedError, StorageError
from pipeline.store.workspace import IdCounts, NightState, Workspace

HOLD = """
import os, subprocess, sys
from pathlib import Path
from pipeline.store.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock() as lock:
    if sys.argv[2] == "helper":
        helper = "import sys, time; print('held', flush=True); sys.stdin.read(); time.sleep(1.5)"
        subprocess.Popen([sys.executable, "-c", helper], pass_fds=(lock,))
    else:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(root: Path, kind: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the workspace until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()
        process.stdin.close()
    process.wait()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def save(workspace: Workspace, night: str, state: str) -> None:
    """A night in this state, with an answer in its journal."""
    folder = workspace.night(date.fromisoformat(night)).make()
    folder.save(NightState(night=folder.night, started_at="2026-11-22T00:00:00+00:00", state=state))
    (folder.journal / "chunk-00000.sealed").write_bytes(b"an answer")


def test_two_runs_do_not_meet(workspace: Workspace) -> None:
    """While another process holds the workspace it is refused with exit code 6; afterwards it is free."""
    with holder(workspace.root) as other:
        assert workspace.holder() == other.pid
        with pytest.raises(LockedError, match=f"process {other.pid}") as caught, workspace.lock(0.1):
            pass
        assert caught.value.exit_code is Exit.LOCKED
        assert str(workspace.root) in caught.value.message
        assert caught.value.hint
    with workspace.lock(0):
        assert workspace.holder() == os.getpid()
    assert workspace.holder() is None


def test_the_lock_of_a_killed_run_is_free(workspace: Workspace) -> None:
    """SIGKILL leaves the lock file with its number behind, and no lock."""
    with holder(workspace.root) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert str(other.pid) in (workspace.root / "lock").read_text()
        assert workspace.holder() is None
        with workspace.lock(0):
            pass


def test_a_zombie_does_not_hold_the_lock(workspace: Workspace) -> None:
    """A killed run that its parent has not noticed yet has let go all the same."""
    with holder(workspace.root) as other:
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and stays a zombie
        with workspace.lock(0):
            pass


def test_a_zombies_helper_is_waited_for(workspace: Workspace) -> None:
    """A live holder is refused after a second; the helper of a dead one, which ends, gets longer."""
    with holder(workspace.root, "helper") as other:
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(LockedError), workspace.lock(0.1):
            pass
        assert other.stdin is not None
        other.stdin.close()  # the helper reads the end of its input, and takes a second and a half to end
        with workspace.lock(60):
            assert workspace.holder() == os.getpid()


def test_an_error_inside_lets_go_of_the_lock_and_stays_itself(workspace: Workspace) -> None:
    """What goes wrong while the lock is held is not told as trouble with the lock."""
    with pytest.raises(OSError, match="of the body"), workspace.lock():
        raise OSError("of the body")
    assert workspace.holder() is None


def test_looking_at_the_lock_does_not_take_it(workspace: Workspace) -> None:
    """Nobody holds a workspace that was never used, nor one whose lock file is rubbish."""
    assert workspace.holder() is None
    assert not workspace.root.exists()
    workspace.root.mkdir()
    (workspace.root / "lock").write_text("no JSON")
    assert workspace.holder() is None
    with workspace.lock(0):
        pass


def test_a_holder_without_a_number_is_a_holder(workspace: Workspace) -> None:
    """A run that has not said yet which process it is counts as one."""
    with workspace.lock(0):
        (workspace.root / "lock").write_text("")
        assert workspace.holder() == 0
        with pytest.raises(LockedError, match="process unknown"), workspace.lock(0):
            pass


def test_a_lock_that_cannot_be_is_storage_trouble(workspace: Workspace) -> None:
    """A folder where the lock should be is told with its path and exit code 7."""
    (workspace.root / "lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="Cannot lock the workspace") as caught, workspace.lock():
        pass
    assert caught.value.exit_code is Exit.STORAGE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_while_locking_is_storage_trouble(workspace: Workspace) -> None:
    """No room even for the process number: exit code 7, not a bug."""
    workspace.root.mkdir()
    (workspace.root / "lock").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="Cannot lock the workspace"), workspace.lock(0):
        pass


def test_a_nights_folders_are_private(workspace: Workspace) -> None:
    """Raw answers are for the owner's eyes only, and so is the workspace."""
    with workspace.lock():
        folder = workspace.night(date(2026, 11, 22)).make()
    for path in (workspace.root, folder.root, folder.journal, folder.parts):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert folder.make() == folder


def test_a_state_is_read_back(workspace: Workspace) -> None:
    """What is saved is found again; a night that never began has none."""
    folder = workspace.night(date(2026, 11, 22)).make()
    assert folder.state() is None
    state = NightState(
        night=folder.night, started_at="x", ids=IdCounts(read=3, distinct=2, repeated=1), listed=True
    )
    folder.save(state)
    assert workspace.night(folder.night).state() == state


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\x00", b"[]", b'{"night": "no date"}', b'{"unknown": 1}']
)
def test_a_damaged_state_is_told_with_its_path(workspace: Workspace, content: bytes) -> None:
    """A state that is no state names its file and the way out, in one line."""
    folder = workspace.night(date(2026, 11, 22)).make()
    (folder.root / "state.json").write_bytes(content)
    with pytest.raises(StorageError) as caught:
        folder.state()
    assert str(folder.root / "state.json") in caught.value.message
    assert "Move it away" in caught.value.hint
    assert "\n" not in caught.value.message


def test_only_folders_named_like_nights_are_nights(workspace: Workspace) -> None:
    """Junk is passed over; the oldest night comes first."""
    assert workspace.nights() == []
    for name in (
        "2026-11-23",
        "2026-11-22",
        "2026-13-45",
        "lost+found",
        "2026-11-2x",
        ".forgotten-2026-11-01",
    ):
        (workspace.root / name).mkdir(parents=True)
    (workspace.root / "2026-11-24").write_text("a file")
    assert [folder.night for folder in workspace.nights()] == [date(2026, 11, 22), date(2026, 11, 23)]


def test_old_nights_are_forgotten(workspace: Workspace) -> None:
    """Beyond the newest ones, nights go whose answers are all elsewhere; their raw answers go with them."""
    for night, state in (
        ("2026-11-18", "published"),
        ("2026-11-19", "taken along"),
        ("2026-11-20", "published"),
    ):
        save(workspace, night, state)
    assert workspace.forget_nights(keep=1) == [date(2026, 11, 18), date(2026, 11, 19)]
    assert [path.name for path in workspace.root.iterdir()] == ["2026-11-20"]
    assert workspace.forget_nights(keep=1) == []


@pytest.mark.parametrize("state", ["started", "fetching", "stopped", "held"])
def test_a_night_with_answers_of_its_own_is_kept(workspace: Workspace, state: str) -> None:
    """What may still be published or taken along is not forgotten."""
    save(workspace, "2026-11-18", state)
    save(workspace, "2026-11-20", "published")
    assert workspace.forget_nights(keep=1) == []
    assert (workspace.root / "2026-11-18" / "journal" / "chunk-00000.sealed").exists()


def test_a_damaged_state_of_an_old_night_does_not_stop_the_forgetting(workspace: Workspace) -> None:
    """The night with the damage stays; the others go."""
    for night in ("2026-11-17", "2026-11-18", "2026-11-20"):
        save(workspace, night, "published")
    (workspace.root / "2026-11-17" / "state.json").write_text("{")
    assert workspace.forget_nights(keep=1) == [date(2026, 11, 18)]
    assert (workspace.root / "2026-11-17").exists()


def test_a_death_while_forgetting_leaves_no_half_night(workspace: Workspace) -> None:
    """A night that had lost its name but not its files is no night any more, and goes the next time."""
    save(workspace, "2026-11-18", "published")
    save(workspace, "2026-11-20", "published")
    (workspace.root / "2026-11-18").rename(workspace.root / ".forgotten-2026-11-18")
    assert [folder.night for folder in workspace.nights()] == [date(2026, 11, 20)]
    assert workspace.forget_nights(keep=7) == []
    assert [path.name for path in workspace.root.iterdir()] == ["2026-11-20"]
