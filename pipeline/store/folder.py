"""A folder on a disk as the place of the export: written beside, synced, renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StorageError, TakenError
from pipeline.store.atomic import copy_file, make_folder, storage_errors, sync_folder, write_atomically
from pipeline.store.place import Content, Entry


class LocalFolder:
    """See `Place`."""

    padded_to = 0

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.root)

    def check(self) -> None:
        """Write a file and remove it."""
        make_folder(self.root)
        probe = self.root / f".probe-{os.getpid()}"
        with storage_errors("write to the output folder", self.root):
            probe.write_bytes(b"x")
            probe.unlink()

    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""
        try:
            with storage_errors("read", self.root / path):
                return Content((self.root / path).read_bytes(), {})
        except StorageError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                return None
            raise

    def open(self, path: str) -> BinaryIO:
        """A finished file, to read here and there."""
        with storage_errors("read", self.root / path):
            return (self.root / path).open("rb")

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self.root / path).exists()

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""
        write_atomically(self.root / path, data)

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that must be new. Raises TakenError."""
        self.replace(path, data, None)

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """Write a small file in the place of what was seen. Raises TakenError.

        Between the look and the rename no other process that comes through this door gets in.
        """
        make_folder(self.root)
        with _alone_in(self.root):
            found = self.read(path)
            if (found and found.data) != (seen and seen.data):
                raise TakenError(f"{self.root / path} is not what it was a moment ago: another was first.")
            write_atomically(self.root / path, data)

    def copy(self, source: str, target: str) -> None:
        """A second name for the same bytes where the disk can do that."""
        make_folder((self.root / target).parent)
        copy_file(self.root / source, self.root / target)

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""
        return [one.name for one in (self.root / path).glob("*/")]

    def entries(self, folder: str) -> list[Entry]:
        """Every file beneath a folder, and the folder itself, as an empty path."""
        top = self.root / folder
        found = []
        for path in [top, *top.rglob("*")]:
            with suppress(FileNotFoundError):
                stat = path.stat()
                relative = "" if path == top else path.relative_to(top).as_posix()
                found.append(Entry(relative, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)))
        return found

    def remove(self, folder: str, first: str) -> None:
        """Remove a folder and everything in it; the file `first` before all others."""
        with storage_errors("remove", self.root / folder):
            (self.root / folder / first).unlink(missing_ok=True)
            sync_folder(self.root / folder)  # or a power loss brings it back, and what it names is gone
            shutil.rmtree(self.root / folder)

    def drop(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""
        with storage_errors("remove", self.root / path):
            (self.root / path).unlink(missing_ok=True)

    def sweep(self, before: datetime) -> None:
        """Temporary files of writers that died."""
        for path in [*self.root.glob(".*.tmp"), *self.root.glob(".probe-*")]:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    def begin(self, folder: str) -> Path:
        """The folder itself, empty; what a death left there is removed."""
        path = self.root / folder
        with storage_errors("begin", path):
            if path.exists():
                shutil.rmtree(path)
        return make_folder(path)

    def deliver(self, file: Path, path: str) -> None:
        """It was written where it belongs."""

    @contextmanager
    def reading(self, path: str, sha256: str) -> Iterator[Path]:
        """The file itself; its pages have checksums of their own."""
        yield self.root / path


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; on a file system that locks no folders, the workspace's lock has to do."""
    with storage_errors("open", folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
