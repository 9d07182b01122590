"""The one door to the disk: write beside, sync, rename, sync the folder. Nobody ever reads half a file.

What a death leaves behind is a hidden `.<name>.<process>.tmp` that nobody reads; it goes with its folder.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: "Free some space (see `work.keep_nights`, `output.keep_snapshots`), then run again.",
    errno.EDQUOT: "The quota of this user is used up: free some space, then run again.",
    errno.EACCES: "Give this user the right to write there, or name another path in the config.",
    errno.EPERM: "Give this user the right to write there, or name another path in the config.",
    errno.EROFS: "The file system is mounted read-only: name another path in the config.",
    errno.EIO: "The disk reports an error: look at the system's log before running again.",
    errno.EFBIG: "Files may not grow so large here: raise the limit (`ulimit -f`), then run again.",
    errno.EMFILE: "Too many files are open at once: raise the limit (`ulimit -n`), then run again.",
    errno.EEXIST: "Something of this name is in the way: move it, or name another path in the config.",
    errno.EISDIR: "A folder is where a file should be: move it, or name another path in the config.",
    errno.ENOTDIR: "A part of this path is a file where a folder should be: name another path in the config.",
}


_DURABLE: set[Path] = set()
"""The folders whose names this process knows to be synced."""


@contextmanager
def storage_errors(doing: str, path: Path | str) -> Iterator[None]:
    """Tell the operating system's errors as a StorageError that names the act, the path and the remedy."""
    try:
        yield
    except OSError as exc:
        cause = exc.strerror or str(exc)
        raise StorageError(f"Cannot {doing} {path}: {cause}.", _REMEDIES.get(exc.errno or 0, "")) from exc


def make_folder(path: Path, mode: int = 0o777) -> Path:
    """The folder, made with its parents where missing, durably. `mode` is for the folder itself.

    One that is there may be what a death left before its name was synced: it is synced once more in every process.
    """
    with storage_errors("make the folder", path):
        if not path.is_dir():
            missing = [one for one in (path, *path.parents) if not one.exists()]
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            for one in reversed(missing):
                sync_folder(one.parent)
        elif path not in _DURABLE:
            with suppress(PermissionError):  # a parent that we may not read was not made by us
                sync_folder(path.parent)
    _DURABLE.add(path)
    return path


def write_atomically(path: Path, data: bytes) -> None:
    """The file appears whole and durable, or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def copy_file(source: Path, target: Path) -> None:
    """A finished file under a second name: finished files never change, so a link will do where one is possible."""
    with storage_errors("copy to", target):
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)
            sync_file(target)
        sync_folder(target.parent)


def write_quickly(path: Path, data: bytes) -> None:
    """The file appears whole, but a power loss may take it: for what is written again in a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors("write", path):
        temporary.write_bytes(data)
        temporary.replace(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success it is synced and takes the name, else it is removed."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with storage_errors("write", path):
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make renames and new names in a folder durable."""
    try:
        sync_file(path)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync folders
            raise
