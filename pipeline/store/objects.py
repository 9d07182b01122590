"""A prefix in an object store as the place of the export: S3, Google Cloud Storage, Azure Blob Storage.

Nothing is ever written through a stream: a file is finished on the local disk first, then put as one object, so that
no exception and no death can leave a shortened one. Retries are the library's, bounded below; a change on a
condition that stays unanswered is told as UnclearError.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import obstore
from obstore import exceptions, store

from pipeline.errors import StorageError, TakenError, UnclearError
from pipeline.store.atomic import make_folder, storage_errors
from pipeline.store.place import Content, Entry

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

RETRIES = 8
RETRY_FOR_S = 60.0
LONGEST_BACKOFF_S = 5.0
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 60.0
"""For one request with its body, which is at the most PIECE_BYTES long."""
PIECE_BYTES = 16 << 20
PIECES_AT_ONCE = 3
FOOTER_BYTES = 64 << 10
"""So much is read at a time of a file that is read here and there: a Parquet footer, mostly."""
A_DAY_S = 86_400
CLAIM = "_begun"
"""The object that takes a new folder's name; of two writers within a second only one can create it."""

_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_REFUSALS = (
    exceptions.PermissionDeniedError,
    exceptions.UnauthenticatedError,
    exceptions.NotSupportedError,
    exceptions.UnknownConfigurationKeyError,
    exceptions.InvalidPathError,
)
"""After these nothing was changed, for certain."""
_RIGHTS = "Check the credentials in the environment, and that they may list, read, write and delete there."


class Bucket:
    """See `Place`. `scratch` is a local folder of our own, for files on their way."""

    padded_to = 4096

    def __init__(self, url: str, scratch: Path, *, allow_http: bool = False) -> None:
        self._url = url.rstrip("/")
        self._scratch = scratch
        with _told("open", self._url):
            self._store = _open(self._url, allow_http=allow_http)

    @property
    def url(self) -> str:
        """The URL, as configured."""
        return self._url

    def check(self) -> None:
        """Try what publishing needs: write, replace on a condition, list, delete."""
        probe = f".probe-{uuid.uuid4().hex[:12]}"
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

    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""
        try:
            with _told("read", self._at(path)):
                found = obstore.get(self._store, path)
                return Content(bytes(found.bytes()), _version(found.meta))
        except _MissingError:
            return None

    def open(self, path: str) -> BinaryIO:
        """A finished object, to read here and there by ranges."""
        with _told("read", self._at(path)):
            size = obstore.head(self._store, path)["size"]
        return io.BufferedReader(_Ranges(self._store, self._url, path, size), FOOTER_BYTES)

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            with _told("look at", self._at(path)):
                obstore.head(self._store, path)
        except _MissingError:
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""
        with _told("write", self._at(path)):
            obstore.put(self._store, path, data, use_multipart=False)

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that must be new. Raises TakenError, UnclearError."""
        self.replace(path, data, None)

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """Write a small file in the place of what was seen. Raises TakenError, UnclearError."""
        mode: Any = dict(seen.version) if seen else "create"
        with _told("write", self._at(path), conditional=True):
            obstore.put(self._store, path, data, mode=mode)

    def copy(self, source: str, target: str) -> None:
        """Copied by the store itself."""
        with _told("copy to", self._at(target)):
            obstore.copy(self._store, source, target)

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""
        with _told("list", self._at(path)):
            found = obstore.list_with_delimiter(self._store, path)
        return [one.rstrip("/").rpartition("/")[2] for one in found["common_prefixes"]]

    def entries(self, folder: str) -> list[Entry]:
        """Every file beneath a folder."""
        with _told("list", self._at(folder)):
            found = obstore.list(self._store, folder, chunk_size=1000).collect()
        return [
            Entry(one["path"].removeprefix(f"{folder}/"), one["size"], one["last_modified"]) for one in found
        ]

    def remove(self, folder: str, first: str) -> None:
        """Remove a folder and everything in it; the file `first` before all others."""
        self._delete([f"{folder}/{first}"])
        self._delete([f"{folder}/{one.path}" for one in self.entries(folder)])

    def _delete(self, paths: list[str]) -> None:
        """Some stores mind that an object is gone already, others don't."""
        with suppress(_MissingError), _told("delete", self._at(paths[0] if paths else "")):
            obstore.delete(self._store, paths)

    def drop(self, path: str) -> None:
        """Remove an object; one that is gone already is fine."""
        self._delete([path])

    def sweep(self, before: datetime) -> None:
        """Probes of checks that died."""
        with _told("list", self._url):
            found = obstore.list_with_delimiter(self._store)["objects"]
        for one in found:
            if one["path"].startswith(".probe-") and one["last_modified"] < before:
                self._delete([one["path"]])

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
        with _told("write", self._at(path)):
            obstore.put(
                self._store,
                path,
                file,
                use_multipart=file.stat().st_size > PIECE_BYTES,
                chunk_size=PIECE_BYTES,
                max_concurrency=PIECES_AT_ONCE,
            )
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
        with _told("read", self._at(path)):
            size = obstore.head(self._store, path)["size"]
            for start in range(0, size, PIECE_BYTES):
                end = min(size, start + PIECE_BYTES)
                yield memoryview(obstore.get_range(self._store, path, start=start, end=end))

    def _at(self, path: str) -> str:
        return f"{self._url}/{path}"


class _Ranges(io.RawIOBase):
    """An object as a file that is read here and there, each time by a range."""

    def __init__(self, store_: ObjectStore, url: str, path: str, size: int) -> None:
        self._store, self._url, self._path, self._size, self._at = store_, url, path, size, 0

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
        with _told("read", f"{self._url}/{self._path}"):
            found = memoryview(obstore.get_range(self._store, self._path, start=self._at, end=end))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


class _MissingError(StorageError):
    """There is no such object."""


def _open(url: str, *, allow_http: bool) -> ObjectStore:
    client: ClientConfig = {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
    }
    retry: RetryConfig = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_FOR_S),
        "backoff": {
            "init_backoff": timedelta(seconds=0.2),
            "max_backoff": timedelta(seconds=LONGEST_BACKOFF_S),
            "base": 2,
        },
    }
    return store.from_url(url, client_options=client, retry_config=retry)


def _version(meta: Any) -> dict[str, str]:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key)}


@contextmanager
def _told(doing: str, url: str, *, conditional: bool = False) -> Iterator[None]:
    """Tell the library's errors as ours. Its own texts are not chained: they may hold a signed URL."""
    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise TakenError(f"{url} is not what it was a moment ago: another was first.") from None
    except FileNotFoundError as exc:
        raise _missing(doing, url, str(exc), conditional=conditional) from None
    except (exceptions.BaseError, OSError, ValueError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:  # of the local disk
            raise
        kind = UnclearError if conditional and not isinstance(exc, _REFUSALS) else StorageError
        cause, remedy = _cause(exc)
        raise kind(f"Cannot {doing} {url}: {cause}.", remedy) from None


def _missing(doing: str, url: str, text: str, *, conditional: bool) -> StorageError:
    if _NO_BUCKET.search(text):
        return StorageError(f"Cannot {doing} {url}: there is no such bucket.", _REMEDIES["no bucket"])
    if conditional:
        return TakenError(f"{url} is gone, though it was there a moment ago.")
    return _MissingError(f"Cannot {doing} {url}: there is no such object.")


_REMEDIES = {
    "no bucket": "Create it, or name another one in output.url.",
    "no credentials": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them; "
    "profiles of ~/.aws are not read.",
    "http": "Plain http is for this machine only; AWS_ALLOW_HTTP=true (AZURE_, GOOGLE_) allows it elsewhere.",
    "away": "Nothing is lost: `run` goes on when it answers. Check the endpoint in the environment, and the network.",
}


def _cause(exc: Exception) -> tuple[str, str]:
    """What happened, in words without secrets, and what to do about it."""
    text = str(exc)
    if _NO_BUCKET.search(text):
        return "there is no such bucket", _REMEDIES["no bucket"]
    if "169.254.169.254" in text or "metadata.google.internal" in text:
        return "no credentials in the environment, and this machine has no role", _REMEDIES["no credentials"]
    if "BadScheme" in text:
        return "the endpoint is plain http", _REMEDIES["http"]
    told = [match for pattern in _TELLING for match in pattern.findall(text)[:1]]
    if isinstance(exc, _REFUSALS):
        return f"refused ({', '.join(told) or type(exc).__name__})", _RIGHTS
    return ", ".join(told) or "the store gives no usable answer", _REMEDIES["away"]


_TELLING = (
    re.compile(r"status code: (\d{3} [A-Z][A-Za-z ]+)"),
    re.compile(r"<Code>(\w+)</Code>"),
    re.compile(r'message: "([\w ]+)"'),
    re.compile(r"(Name or service not known|operation timed out|Account must be specified)"),
    re.compile(r"Unable to recognise URL"),
)
"""The parts of the library's texts that are safe and of use."""
