"""Azure's own emulator of its blob store, where there is one: `make azurite`, or AZURITE=…/blob/main.js."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
from email.utils import formatdate
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

ACCOUNT, CONTAINER = "devstoreaccount1", "lake"
KEY = base64.b64encode(hashlib.sha512(b"a key for tests").digest()).decode()


INSTALLED = Path(__file__).parent.parent / ".azurite/node_modules/azurite/dist/src/blob/main.js"
"""Where `make azurite` puts it."""


def program() -> list[str] | None:
    """How to start it; None where it is not to be had."""
    if script := os.environ.get("AZURITE"):
        return ["node", script]
    if INSTALLED.exists() and shutil.which("node"):
        return ["node", str(INSTALLED)]
    found = shutil.which("azurite-blob")
    return [found] if found else None


class Azurite:
    """The server, with one account and one container."""

    def __init__(self, root: Path, words: list[str]) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.process = subprocess.Popen(
            [
                *words,
                "--location",
                str(root),
                "--blobPort",
                str(self.port),
                "--silent",
                "--skipApiVersionCheck",
            ],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdout=subprocess.DEVNULL,
        )
        self._await()

    def environ(self) -> dict[str, str]:
        """What a client finds in its environment."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _await(self) -> None:
        ends = time.monotonic() + 40
        while time.monotonic() < ends:
            try:
                with urlopen(self._make_container(), timeout=5):
                    return
            except URLError:
                assert self.process.poll() is None, "azurite did not start"
                time.sleep(0.1)
        raise AssertionError("azurite did not start")

    def _make_container(self) -> Request:
        date, version = formatdate(usegmt=True), "2021-08-06"
        signed = (
            "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n"
            f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
        )
        digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
            "Content-Length": "0",
        }
        return Request(f"{self.endpoint}/{CONTAINER}?restype=container", method="PUT", headers=headers)
