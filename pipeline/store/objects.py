"""A prefix in S3 or Azure Blob Storage as the place of the export, by obstore. `remote` has what all stores share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions, store

from pipeline.errors import StorageError, TakenError, UnclearError
from pipeline.store.place import Content, Entry
from pipeline.store.remote import (
    CONNECT_TIMEOUT_S,
    LONGEST_BACKOFF_S,
    REQUEST_TIMEOUT_S,
    RETRY_FOR_S,
    MissingError,
    Remote,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

RETRIES = 8
PIECES_AT_ONCE = 3

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


class Bucket(Remote):
    """See `Place`."""

    def _open(self, *, allow_http: bool) -> None:
        with _told("open", self._url):
            self._store = _open(self._url, allow_http=allow_http)

    def _size(self, path: str) -> int:
        with _told("look at", self._at(path)):
            return obstore.head(self._store, path)["size"]

    def _range(self, path: str, start: int, end: int) -> memoryview:
        with _told("read", self._at(path)):
            return memoryview(obstore.get_range(self._store, path, start=start, end=end))

    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""
        try:
            with _told("read", self._at(path)):
                found = obstore.get(self._store, path)
                return Content(bytes(found.bytes()), _version(found.meta))
        except MissingError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""
        with _told("write", self._at(path)):
            obstore.put(self._store, path, data, use_multipart=False)

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

    def _top(self) -> list[Entry]:
        with _told("list", self._url):
            found = obstore.list_with_delimiter(self._store)["objects"]
        return [Entry(one["path"], one["size"], one["last_modified"]) for one in found]

    def _delete(self, paths: list[str]) -> None:
        """Some stores mind that an object is gone already, others don't."""
        with suppress(MissingError), _told("delete", self._at(paths[0] if paths else "")):
            obstore.delete(self._store, paths)

    def _put_file(self, file: Path, path: str) -> None:
        with _told("write", self._at(path)):
            obstore.put(
                self._store,
                path,
                file,
                use_multipart=file.stat().st_size > self.piece_bytes,
                chunk_size=self.piece_bytes,
                max_concurrency=PIECES_AT_ONCE,
            )


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
    return MissingError(f"Cannot {doing} {url}: there is no such object.")


_REMEDIES = {
    "no bucket": "Create it, or name another one in output.url.",
    "no credentials": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them; "
    "profiles of ~/.aws are not read.",
    "http": "Plain http is for this machine only; AWS_ALLOW_HTTP=true (AZURE_) allows it elsewhere.",
    "away": "Nothing is lost: `run` goes on when it answers. Check the endpoint in the environment, and the network.",
}


def _cause(exc: Exception) -> tuple[str, str]:
    """What happened, in words without secrets, and what to do about it."""
    text = str(exc)
    if _NO_BUCKET.search(text):
        return "there is no such bucket", _REMEDIES["no bucket"]
    if "169.254.169.254" in text:
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
