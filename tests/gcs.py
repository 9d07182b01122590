"""A stand-in for Google Cloud Storage on loopback: of its XML API what our door asks for, with its rules.

No emulator has them (fake-gcs-server answers an XML upload with "invalid uploadType"). Kept here, as Google documents
them: an object appears whole; every upload gives it a new generation; `x-goog-if-generation-match` refuses with 412
unless it is the object's generation, and 0 unless there is none; listings are consistent at once, in pages.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "lake"
PAGE = 50
"""So many names in one page of a listing."""


@dataclass(frozen=True)
class Stored:
    """An object."""

    data: bytes
    generation: int
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def headers(self) -> dict[str, str]:
        modified = format_datetime(self.at, usegmt=True)
        return {
            "ETag": _etag(self.data),
            "x-goog-generation": str(self.generation),
            "Last-Modified": modified,
        }


@dataclass
class Store:
    """The bucket's content; whoever changes it holds the lock."""

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: count[int] = field(default_factory=lambda: count(1_700_000_000_000_000))

    def put(self, name: str, data: bytes, condition: str | None) -> Stored | None:
        """The new object; None where it is not as the condition says."""
        with self.lock:
            there = self.objects.get(name)
            if condition is not None and int(condition) != (there.generation if there else 0):
                return None
            stored = self.objects[name] = Stored(data, next(self.numbers))
            return stored


class Gcs:
    """The server, with one bucket."""

    def __init__(self, root: Path) -> None:
        self.store = Store()
        handler = type("Handler", (_Handler,), {"store": self.store})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        endpoint = f"http://127.0.0.1:{self._server.server_port}"
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
        self._account = root / "account.json"
        self._account.write_text(json.dumps({**account, "private_key_id": ""}))

    def environ(self) -> dict[str, str]:
        """What a client finds in its environment."""
        return {"GOOGLE_SERVICE_ACCOUNT": str(self._account), "GOOGLE_ALLOW_HTTP": "true"}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request. Paths are /bucket and /bucket/name."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet
    store: Store

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _asked(self) -> tuple[str, str, dict[str, str]]:
        url = urlsplit(self.path)
        bucket, _, name = unquote(url.path).lstrip("/").partition("/")
        words = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        return bucket, name, words

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())

    def do_GET(self) -> None:
        bucket, name, words = self._asked()
        found = self.store.objects.get(name)
        if bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif not name:
            self._answer(200, self._listing(words), {"Content-Type": "application/xml"})
        elif found is None:
            self._refuse(404, "NoSuchKey")
        else:
            self._send(found)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _send(self, found: Stored) -> None:
        size, asked = len(found.data), self.headers.get("Range")
        if asked is None:
            length = {"Content-Length": str(size)}
            self._answer(200, found.data, {**found.headers, **length})
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(size, int(last) + 1 if last else size)
        about = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        self._answer(206, found.data[start:end], {**found.headers, **about})

    def _listing(self, words: dict[str, str]) -> bytes:
        prefix, delimiter = words.get("prefix", ""), words.get("delimiter", "")
        with self.store.lock:
            there = dict(sorted(self.store.objects.items()))
        entries: dict[str, str] = {}
        for name, stored in there.items():
            if name.startswith(prefix):
                step, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                entries.setdefault(*(_folder(prefix + step + found) if found else _entry(name, stored)))
        after = words.get("continuation-token", words.get("start-after", ""))
        names = [name for name in entries if name > after]
        page, more = names[:PAGE], len(names) > PAGE
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        told = "".join(entries[name] for name in page)
        return (
            f"<?xml version='1.0'?><ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{told}</ListBucketResult>"
        ).encode()

    def do_PUT(self) -> None:
        bucket, name, words = self._asked()
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif "uploadId" in words:
            self.store.uploads[words["uploadId"]][int(words["partNumber"])] = data
            self._answer(200, headers={"ETag": _etag(data)})
        else:
            self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        if source := self.headers.get("x-goog-copy-source"):
            there = self.store.objects.get(unquote(source).lstrip("/").partition("/")[2])
            if there is None:
                self._refuse(404, "NoSuchKey")
                return
            data = there.data
        stored = self.store.put(name, data, self.headers.get("x-goog-if-generation-match"))
        if stored is None:
            self._refuse(412, "PreconditionFailed")
        else:
            self._answer(200, headers=stored.headers)

    def do_POST(self) -> None:
        _, name, words = self._asked()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploads" in words:
            upload = str(next(self.store.numbers))
            self.store.uploads[upload] = {}
            told = f"<UploadId>{upload}</UploadId>"
            self._answer(
                200, f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>".encode()
            )
        else:
            pieces = self.store.uploads.pop(words["uploadId"])
            stored = self.store.put(name, b"".join(pieces[one] for one in sorted(pieces)), None)
            assert stored is not None
            told = f"<ETag>{escape(stored.headers['ETag'])}</ETag>"
            body = f"<CompleteMultipartUploadResult>{told}</CompleteMultipartUploadResult>"
            self._answer(200, body.encode(), stored.headers)

    def do_DELETE(self) -> None:
        _, name, words = self._asked()
        with self.store.lock:
            gone = self.store.uploads.pop(words.get("uploadId", ""), None) or self.store.objects.pop(
                name, None
            )
        self._answer(204) if gone else self._refuse(404, "NoSuchKey")


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _folder(name: str) -> tuple[str, str]:
    return name, f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"


def _entry(name: str, stored: Stored) -> tuple[str, str]:
    told = {
        "Key": name,
        "Size": len(stored.data),
        "LastModified": stored.at.isoformat(timespec="milliseconds"),
    }
    told |= {"ETag": stored.headers["ETag"]}
    elements = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in told.items())
    return name, f"<Contents>{elements}</Contents>"
