"""What all object stores share: files on their way by the local disk, names that are claimed, reading in pieces.

Nothing is ever written through a stream: a file is finished on the local disk first, then put as one object, so that
no exception and no death can leave a shortened one. Retries are the library's, bounded below; a change on a
condition that stays unanswered is told as UnclearError.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import StorageError, TakenError
from pipeline.store.atomic import make_folder, storage_errors
from pipeline.store.place import Content, Entry

RETRY_FOR_S = 60.0
LONGEST_BACKOFF_S = 5.0
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 60.0
"""For one request with its body, which is at the most `piece_bytes` long."""
FOOTER_BYTES = 64 << 10
"""So much is read at a time of a file that is read here and there: a Parquet footer, mostly."""
A_DAY_S = 86_400
CLAIM = "_begun"
"""The object that takes a new folder's name; of two writers within a second only one can create it."""
PROBE = ".probe-"


class MissingError(StorageError):
    """There is no such object."""


class Remote(ABC):
    """See `Place`. `scratch` is a local folder of our own, for files on their way."""

    padded_to = 4096
    piece_bytes = 16 << 20

    def __init__(self, url: str, scratch: Path, *, allow_http: bool = False) -> None:
        self._url = url.rstrip("/")
        self._scratch = scratch
        self._open(allow_http=allow_http)

    @property
    def url(self) -> str:
        """The URL, as configured."""
        return self._url

    # What each library does in its own way. Errors are told as StorageError; what is not there as MissingError.

    @abstractmethod
    def _open(self, *, allow_http: bool) -> None:
        """Get hold of the store; plain http only to this machine or where it is allowed."""

    @abstractmethod
    def _size(self, path: str) -> int:
        """The object's bytes."""

    @abstractmethod
    def _range(self, path: str, start: int, end: int) -> memoryview:
        """The object's bytes from start to before end."""

    @abstractmethod
    def _delete(self, paths: list[str]) -> None:
        """Remove objects, in this order where it matters; those that are gone already are fine."""

    @abstractmethod
    def _put_file(self, file: Path, path: str) -> None:
        """The local file as one object, whole or not at all."""

    @abstractmethod
    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""

    @abstractmethod
    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """Write a small file in the place of what was seen. Raises TakenError, UnclearError."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copied by the store itself."""

    @abstractmethod
    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""

    @abstractmethod
    def entries(self, folder: str) -> list[Entry]:
        """Every file beneath a folder."""

    @abstractmethod
    def _top(self) -> list[Entry]:
        """The files right beneath the prefix."""

    # What follows from these.

    def check(self) -> None:
        """Try what publishing needs: write, replace on a condition, list, delete."""
        probe = f"{PROBE}{uuid.uuid4().hex[:12]}"
        self.folders("snapshots")
        self.create(probe, b"1")
        try:
            self._check_conditions(probe)
        finally:
            self._delete([probe])

    def _check_conditions(self, probe: str) -> None:
        """What looks new twice, or replaces what was never there, would let two publishers overwrite each other."""
        first = self.read(probe)
        assert first is not None
        self.replace(probe, b"2", first)
        for seen in (None, first):
            with suppress(TakenError):
                self.replace(probe, b"3", seen)
                raise StorageError(
                    f"The store behind {self._url} does not keep to conditions (If-None-Match, If-Match).",
                    "Publishing needs them: name a store that has them, or a local folder and a copy of your own.",
                )

    def open(self, path: str) -> BinaryIO:
        """A finished object, to read here and there by ranges."""
        return io.BufferedReader(_Ranges(self, path, self._size(path)), FOOTER_BYTES)

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            self._size(path)
        except MissingError:
            return False
        return True

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that must be new. Raises TakenError, UnclearError."""
        self.replace(path, data, None)

    def remove(self, folder: str, first: str) -> None:
        """Remove a folder and everything in it; the file `first` before all others."""
        self._delete([f"{folder}/{first}"])
        self._delete([f"{folder}/{one.path}" for one in self.entries(folder)])

    def drop(self, path: str) -> None:
        """Remove an object; one that is gone already is fine."""
        self._delete([path])

    def sweep(self, before: datetime) -> None:
        """Probes of checks that died."""
        for one in self._top():
            if one.path.startswith(PROBE) and one.written_at < before:
                self._delete([one.path])

    def begin(self, folder: str) -> Path:
        """A fresh local folder to write in, and the name claimed in the store. Raises TakenError."""
        self.create(f"{folder}/{CLAIM}", datetime.now(UTC).isoformat().encode())
        self._tidy()
        return make_folder(make_folder(self._scratch, 0o700) / folder, 0o700)

    def _tidy(self) -> None:
        """What deaths left here. A second shell may be reading, so its files go only when they are old."""
        shutil.rmtree(self._scratch / "snapshots", ignore_errors=True)
        for path in self._scratch.glob("reading-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - A_DAY_S:
                    path.unlink()

    def deliver(self, file: Path, path: str) -> None:
        """Put the finished file as one object, and forget it here."""
        self._put_file(file, path)
        file.unlink()

    @contextmanager
    def reading(self, path: str, sha256: str) -> Iterator[Path]:
        """The object on the local disk, proved against its checksum; it goes when the block ends."""
        local = make_folder(self._scratch, 0o700) / f"reading-{uuid.uuid4().hex}"
        try:
            if self._download(path, local) != sha256:
                raise StorageError(
                    f"{self._at(path)} is not the file that its manifest tells of (SHA-256).",
                    "`capillary-export rollback` points at the snapshot before.",
                )
            yield local
        finally:
            local.unlink(missing_ok=True)

    def _download(self, path: str, local: Path) -> str:
        """Piece by piece, so that each request is short and retried by itself. Gives the SHA-256."""
        sha256 = hashlib.sha256()
        with storage_errors("write", local), local.open("xb") as file:
            for piece in self._pieces(path):
                sha256.update(piece)
                file.write(piece)
        return sha256.hexdigest()

    def _pieces(self, path: str) -> Iterator[memoryview]:
        size = self._size(path)
        for start in range(0, size, self.piece_bytes):
            yield self._range(path, start, min(size, start + self.piece_bytes))

    def _at(self, path: str) -> str:
        return f"{self._url}/{path}"


class _Ranges(io.RawIOBase):
    """An object as a file that is read here and there, each time by a range."""

    def __init__(self, remote: Remote, path: str, size: int) -> None:
        self._remote, self._path, self._size, self._at = remote, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._size, self._at + len(buffer))
        if end <= self._at:
            return 0
        found = self._remote._range(self._path, self._at, end)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def open_remote(url: str, scratch: Path, *, allow_http: bool) -> Remote:
    """The prefix in its store, by the URL's scheme. Raises StorageError, UsageError where a library is missing."""
    if url.startswith("gs://"):
        from pipeline.store.google import GoogleBucket

        return GoogleBucket(url, scratch, allow_http=allow_http)
    from pipeline.store.objects import Bucket

    return Bucket(url, scratch, allow_http=allow_http)
