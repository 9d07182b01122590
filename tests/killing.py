"""Publishers and whole nights killed while they publish, under a reader who looks all the time."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from pipeline.sandbox import known_ids
from tests.conftest import Home

ROOT = Path(__file__).parent.parent
CHANGES = 10
"""A small snapshot is a claim, three files, a manifest and a pointer; then old ones go and the next one begins."""
CLAIMED, WRITTEN, DESCRIBED, LIVE = STEPS = (
    "its name is claimed",
    "files of it are there, no manifest",
    "its manifest is there, the pointer names another",
    "it is live: old ones go, the next one begins",
)
"""How far the newest snapshot had come when its writer died."""


class Server(Protocol):
    """A store as another program reads it."""

    def read(self, url: str) -> bytes:
        """An object's bytes."""

    def names(self, url: str) -> list[str]:
        """Every object beneath a URL, relative to it."""


@dataclass
class Watcher:
    """Reads the live snapshot over and over, as an analyst does, and notes whatever is not whole."""

    server: Server
    url: str
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In a thread, while the block lasts."""
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                pointer = json.loads(self.server.read(f"{self.url}/current.json"))
                self._read(pointer)
                self.seen[pointer["snapshot"]] += 1
            except Exception as exc:
                self.wrong.append(repr(exc))

    def _read(self, pointer: dict[str, str]) -> None:
        manifest = json.loads(self.server.read(f"{self.url}/{pointer['manifest']}"))
        for about in manifest["tables"].values():
            for file in about["files"]:
                data = self.server.read(f"{self.url}/snapshots/{pointer['snapshot']}/{file['path']}")
                assert hashlib.sha256(data).hexdigest() == file["sha256"]
                _check_rows(data, manifest)


def _check_rows(data: bytes, manifest: dict[str, Any]) -> None:
    """Each row of a publisher's table holds the number that its manifest tells of."""
    table = pq.read_table(BytesIO(data))
    if "number" in table.column_names:
        assert set(table["number"].to_pylist()) == {manifest["outcomes"]["exported"]}


def start(*words: str, **more: Any) -> subprocess.Popen[Any]:
    """A module of ours in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, **more)


def kill_publishers(server: Server, url: str, scratch: Path, points: Iterable[int]) -> Counter[str]:
    """kill -9 within the N-th change to the store, for each N. Gives how far the newest snapshot had come."""
    rng, fell = random.Random(11), Counter[str]()
    for point in points:
        words = (str(point), str(rng.uniform(0.0, 4.0)))
        process = start("tests.publisher", url, str(scratch), *words)
        assert process.wait(60) == -signal.SIGKILL
        fell[reached(server, url)] += 1
    return fell


def all_changes(kills: int) -> list[int]:
    """Each change in turn, over and over."""
    return [1 + number % CHANGES for number in range(kills)]


def kill_nights(server: Server, url: str, home: Home, night: str, kills: int) -> Counter[str]:
    """kill -9 of whole runs at random moments of their publishing, each with one more ID; then one in peace.

    Gives how far the newest snapshot of each had come. A run that ended before the blow fell is none of them.
    """
    rng, fell = random.Random(5), Counter[str]()
    run = ("pipeline", "run", str(home.config_path), "--night", night, "--quiet", "--json")
    for point in range(kills):
        home.write_ids(known_ids(41 + point))
        process = start(*run, stdout=subprocess.DEVNULL)
        await_publishing(server, url, process)
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            fell[reached(server, url)] += 1
    assert start(*run, stdout=subprocess.DEVNULL).wait(60) == 0
    return fell


def reached(server: Server, url: str) -> str:
    """How far the newest snapshot has come, by what lies in the store."""
    found = [name.split("/", 1) for name in server.names(f"{url}/snapshots")]
    newest = max((folder for folder, _ in found), default="")
    if json.loads(server.read(f"{url}/current.json"))["snapshot"] == newest:
        return LIVE
    names = {name for folder, name in found if folder == newest}
    if "manifest.json" in names:
        return DESCRIBED
    return WRITTEN if names - {"_begun"} else CLAIMED


def await_publishing(server: Server, url: str, process: subprocess.Popen[Any]) -> None:
    """Until a new snapshot is begun."""
    before = _begun(server, url)
    ends = time.monotonic() + 40
    while _begun(server, url) == before and process.poll() is None:
        assert time.monotonic() < ends, "the run did not get that far"
        time.sleep(0.02)


def _begun(server: Server, url: str) -> set[str]:
    return {name for name in server.names(f"{url}/snapshots") if name.endswith("/_begun")}
