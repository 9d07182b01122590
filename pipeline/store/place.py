"""What the export asks of where it lies, be it a folder on a disk or a prefix in an object store.

Paths are relative to it, with `/` between their steps. A file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Content:
    """A small file as it was read. `version` is the store's own word for this state of it."""

    data: bytes
    version: Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """A file in a listing; `path` is relative to the folder listed."""

    path: str
    bytes: int
    written_at: datetime


class Place(Protocol):
    """A folder of finished files. Every method raises StorageError, which names the URL, the cause and the remedy.

    `padded_to` is the length of files that are replaced. Many readers of object stores ask for an object's size and
    then for so many bytes: were the new one longer, who asks just then would get half of it.
    """

    padded_to: int

    @property
    def url(self) -> str:
        """What people call it."""

    def check(self) -> None:
        """Try what publishing needs: write, replace on a condition, list, delete."""

    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""

    def open(self, path: str) -> BinaryIO:
        """A finished file to read here and there, such as its last bytes. Nothing is proved."""

    def has(self, path: str) -> bool:
        """Whether there is such a file."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that must be new. Raises TakenError, UnclearError."""

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """Write a small file in the place of what was seen, and of nothing else. Raises TakenError, UnclearError."""

    def copy(self, source: str, target: str) -> None:
        """A finished file under a second name."""

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""

    def entries(self, folder: str) -> list[Entry]:
        """Every file beneath a folder."""

    def remove(self, folder: str, first: str) -> None:
        """Remove a folder and everything in it; the file `first` before all others."""

    def drop(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""

    def sweep(self, before: datetime) -> None:
        """Remove what deaths before that moment left beside the files."""

    def begin(self, folder: str) -> Path:
        """A fresh local folder in which to write the files of a new folder. Raises TakenError."""

    def deliver(self, file: Path, path: str) -> None:
        """A file written in the local folder is finished: it takes its place."""

    def reading(self, path: str, sha256: str) -> AbstractContextManager[Path]:
        """A local path to read a finished file from, while the block lasts."""
