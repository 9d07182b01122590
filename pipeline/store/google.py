"""A prefix in Google Cloud Storage as the place of the export, by Google's client. `remote` has what all stores share.

An object's generation says which state of it was seen. Large files go by resumable uploads: a session that is never
finished leaves no object, costs nothing and ends by itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError, TakenError, UnclearError, UsageError
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
    from google.cloud.storage import Blob, Client

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
EMULATOR = "STORAGE_EMULATOR_HOST"
KEY = "GOOGLE_SERVICE_ACCOUNT_KEY"

_REFUSED = (401, 403)
_NO_CREDENTIALS = (
    f"Set GOOGLE_APPLICATION_CREDENTIALS to a key's or a federation's file, or {KEY} to a key's JSON, or run where a "
    "service account is attached."
)
_RIGHTS = "The account needs the role Storage Object User on the bucket."
_AWAY = (
    "Nothing is lost: `run` goes on when it answers. Check the network, and the endpoint in the environment."
)
_NO_BUCKET = "Create it, or name another one in output.url."
_CAUSE = re.compile(
    r"Connection refused|Name or service not known|timed out|Connection reset|Remote end closed"
)
"""The parts of the library's texts that are safe and of use."""


class GoogleBucket(Remote):
    """See `Place`. Raises UsageError where the library is missing: it is an extra."""

    def _open(self, *, allow_http: bool) -> None:
        _require()
        bucket, _, prefix = self._url.partition("://")[2].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if os.environ.get(EMULATOR, "").startswith("http://") and not allow_http:
            remedy = "Plain http is for this machine only; GOOGLE_ALLOW_HTTP=true allows it elsewhere."
            raise StorageError(f"Cannot open {self._url}: {EMULATOR} is plain http.", remedy)
        with _told("open", self._url):
            self._client = _client()
            self._bucket = self._client.bucket(bucket)
        self._how = {"timeout": (CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S), "retry": _retry()}

    def _blob(self, path: str, **more: Any) -> Blob:
        return self._bucket.blob(self._prefix + path, **more)

    def _size(self, path: str) -> int:
        with _told("look at", self._at(path)):
            blob = self._blob(path)
            blob.reload(**self._how)
            return int(blob.size)

    def _range(self, path: str, start: int, end: int) -> memoryview:
        with _told("read", self._at(path)):
            return memoryview(
                self._blob(path).download_as_bytes(start=start, end=end - 1, **_RAW, **self._how)
            )

    def read(self, path: str) -> Content | None:
        """A small file; None where there is none."""
        try:
            with _told("read", self._at(path)):
                blob = self._blob(path)
                data = blob.download_as_bytes(**_RAW, **self._how)
                return Content(data, {"generation": str(blob.generation)})
        except MissingError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whatever was there."""
        with _told("write", self._at(path), lacks="bucket"):
            self._blob(path).upload_from_string(data, content_type=_type(path), **self._how)

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """Write a small file in the place of what was seen. Raises TakenError, UnclearError."""
        condition = int(seen.version["generation"]) if seen else 0
        with _told("write", self._at(path), lacks="bucket", conditional=True):
            self._blob(path).upload_from_string(
                data, content_type=_type(path), if_generation_match=condition, **self._how
            )

    def copy(self, source: str, target: str) -> None:
        """Copied by the store itself, a large one in several steps."""
        with _told("copy to", self._at(target)):
            old, new = self._blob(source), self._blob(target)
            token, _, _ = new.rewrite(old, **self._how)
            while token is not None:
                token, _, _ = new.rewrite(old, token=token, **self._how)

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""
        with _told("list", self._at(path), lacks="bucket"):
            found = self._listed(f"{path}/", delimiter="/")
            for _ in found.pages:
                pass
        return sorted(one.rstrip("/").rpartition("/")[2] for one in found.prefixes)

    def entries(self, folder: str) -> list[Entry]:
        """Every file beneath a folder."""
        with _told("list", self._at(folder), lacks="bucket"):
            return _entries(self._listed(f"{folder}/"), f"{self._prefix}{folder}/")

    def _top(self) -> list[Entry]:
        with _told("list", self._url, lacks="bucket"):
            return _entries(self._listed("", delimiter="/"), self._prefix)

    def _listed(self, path: str, delimiter: str | None = None) -> Any:
        return self._client.list_blobs(
            self._bucket,
            prefix=self._prefix + path,
            delimiter=delimiter,
            fields="items(name,size,updated),prefixes,nextPageToken",
            **self._how,
        )

    def _delete(self, paths: list[str]) -> None:
        for path in paths:
            with suppress(MissingError), _told("delete", self._at(path)):
                self._blob(path).delete(**self._how)

    def _put_file(self, file: Path, path: str) -> None:
        with _told("write", self._at(path), lacks="bucket"):
            blob = self._blob(path, chunk_size=self.piece_bytes)
            blob.upload_from_filename(str(file), content_type=_type(path), **self._how)


_RAW = {"raw_download": True, "checksum": None}
"""The bytes as they lie there; files are proved by the manifest's SHA-256, pointers by being read."""


def _entries(found: Any, top: str) -> list[Entry]:
    return [Entry(one.name.removeprefix(top), int(one.size), one.updated) for one in found]


def _type(path: str) -> str:
    types = {".json": "application/json", ".html": "text/html; charset=utf-8"}
    return types.get(Path(path).suffix, "application/octet-stream")


def _require() -> None:
    with suppress(ModuleNotFoundError):  # of `google` itself
        if find_spec("google.cloud.storage") is not None:
            return
    raise UsageError(
        "output.url: gs:// needs google-cloud-storage, which is not installed.",
        "pip install 'capillary-export[gcs]'; in a checkout: pip install -c constraints.txt -e '.[gcs]'",
    )


def _client() -> Client:
    """Who we are, from the environment: a key's JSON, else what Google's libraries find by themselves."""
    import google.auth
    from google.cloud.storage import Client
    from google.oauth2 import service_account

    # Or the library asks for the bucket's region, in a thread of its own, for traces that nobody wants.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    no_project = "<none>"  # only buckets are made in one
    if os.environ.get(EMULATOR):
        return Client(project=no_project)
    if key := os.environ.get(KEY):
        from_key: Any = service_account.Credentials.from_service_account_info
        made = from_key(json.loads(key), scopes=[SCOPE])
        return Client(project=no_project, credentials=made)
    found, _ = google.auth.default(scopes=[SCOPE])
    return Client(project=no_project, credentials=found)


def _retry() -> Any:
    """Google's own list of what may be tried again; all that we do may, as it gives the same or has a condition."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_FOR_S).with_delay(
        initial=0.2, maximum=LONGEST_BACKOFF_S, multiplier=2
    )


@contextmanager
def _told(doing: str, url: str, *, lacks: str = "object", conditional: bool = False) -> Iterator[None]:
    """Tell the library's errors as ours, without their texts, which may hold a session's URL.

    `lacks` is what a 404 tells to be missing.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    try:
        yield
    except PreconditionFailed:
        raise TakenError(f"{url} is not what it was a moment ago: another was first.") from None
    except NotFound as exc:
        if lacks == "object" and "bucket does not exist" not in str(exc):
            raise MissingError(f"Cannot {doing} {url}: there is no such object.") from None
        raise StorageError(f"Cannot {doing} {url}: there is no such bucket.", _NO_BUCKET) from None
    except (
        GoogleAPIError,
        GoogleAuthError,
        InvalidResponse,
        DataCorruption,
        RequestException,
        ValueError,
    ) as exc:
        cause, remedy, is_sure = _cause(exc)
        kind = UnclearError if conditional and not is_sure else StorageError
        raise kind(f"Cannot {doing} {url}: {cause}.", remedy) from None


def _cause(exc: BaseException) -> tuple[str, str, bool]:
    """What happened, in words without secrets; what to do about it; whether nothing was changed, for certain."""
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(exc, RetryError) and exc.cause is not None:
        exc = exc.cause
    code = getattr(exc, "code", None)
    if code in _REFUSED:
        return f"refused ({int(code)})", _RIGHTS, True
    if isinstance(exc, GoogleAuthError) and not isinstance(exc, TransportError):
        return (
            "no usable credentials in the environment, and this machine has no service account",
            _NO_CREDENTIALS,
            True,
        )
    if isinstance(exc, json.JSONDecodeError):
        return f"{KEY} is no JSON", _NO_CREDENTIALS, True
    if code is not None:
        return f"status code: {int(code)}", _AWAY, False
    told = _CAUSE.search(str(exc))
    return told[0] if told else f"the store gives no usable answer ({type(exc).__name__})", _AWAY, False
