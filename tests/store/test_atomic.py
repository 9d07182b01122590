"""The one door to the disk: files appear whole or not at all, and every failure says what to do."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import Exit, StorageError
from pipeline.store.atomic import make_folder, replacing, storage_errors, write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Folders are made, the newest content counts, and nothing else is left in the folder."""
    path = tmp_path / "a" / "b" / "state.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    """Whatever goes wrong before the rename, readers keep what they had, and the temporary file is gone."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_a_remedy(tmp_path: Path) -> None:
    """A device without room gives a StorageError that names the file; the old content stays."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="No space left") as caught, replacing(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"new")
    assert str(path) in caught.value.message
    assert "Free some space" in caught.value.hint
    assert caught.value.exit_code is Exit.STORAGE
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_in_the_way_of_a_file_is_told(tmp_path: Path) -> None:
    """The path is a folder: it stays, and the message says so."""
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError, match="directory") as caught:
        write_atomically(tmp_path / "file", b"x")
    assert "A folder is where a file should be" in caught.value.hint
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path, below: str) -> None:
    """A part of the path is a file: named, with what to do."""
    (tmp_path / "work").write_text("mine")
    with pytest.raises(StorageError, match="Cannot make the folder") as caught:
        make_folder(tmp_path / "work" / below)
    assert caught.value.hint
    assert (tmp_path / "work").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_missing_right_is_told(tmp_path: Path) -> None:
    """A folder that may not be written to is named, with what to do."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied") as caught:
            write_atomically(tmp_path / "file", b"x")
    finally:
        tmp_path.chmod(0o700)
    assert "right to write" in caught.value.hint


def test_a_private_folder_is_private(tmp_path: Path) -> None:
    """The folder itself has the mode asked for, whatever its parents have; making it again changes nothing."""
    folder = make_folder(tmp_path / "parent" / "private", 0o700)
    make_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_death_while_writing_leaves_the_old_file_and_a_hidden_rest(tmp_path: Path) -> None:
    """SIGKILL between writing and renaming: readers see the old file, and the next write is not in the way."""
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(b"old")
    program = (
        "import os, signal, sys; from pathlib import Path; from pipeline.store.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert list(tmp_path.glob("[!.]*")) == [path]
    assert list(tmp_path.glob("*.parquet")) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_rest_with_our_own_name_is_overwritten(tmp_path: Path) -> None:
    """Process numbers come again: what a dead namesake left is no part of the new file."""
    left = tmp_path / f".file.{os.getpid()}.tmp"
    left.write_bytes(b"a long rest of long ago")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not left.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE, errno.EEXIST])
def test_system_errors_are_told_with_act_path_cause_and_remedy(code: int) -> None:
    """Errors of the operating system become a StorageError with all four, and keep their cause."""
    with pytest.raises(StorageError) as caught, storage_errors("write", "/somewhere"):
        raise OSError(code, os.strerror(code))
    assert caught.value.message == f"Cannot write /somewhere: {os.strerror(code)}."
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)


def test_other_errors_pass_through() -> None:
    """What is no error of the disk is not dressed up as one."""
    with pytest.raises(ZeroDivisionError), storage_errors("write", "/somewhere"):
        raise ZeroDivisionError
