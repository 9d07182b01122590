"""Publishes small snapshots, one after the other, until it is killed in the middle of its N-th change to the store:
`python -m tests.publisher URL SCRATCH N DELAY_MS`.

In each snapshot every row of every table holds the same number, so that a reader notices rows of two snapshots.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path

import pyarrow as pa

from pipeline import publish
from pipeline.merge import write_files
from pipeline.store.google import GoogleBucket
from pipeline.store.objects import Bucket
from pipeline.store.place import Content
from pipeline.store.remote import Remote
from pipeline.store.snapshots import Draft, Manifest, ManifestTable, Retention, Snapshots

TABLES = ("customers", "loyalty", "outcomes")
ROWS = 2_000


def publish_one(snapshots: Snapshots, number: int) -> Manifest:
    """A whole snapshot, live."""
    live, now = snapshots.current(), datetime.now(UTC)
    draft = publish.begin(snapshots, now)
    manifest = publish.make_manifest(
        name=draft.name,
        night=date(2026, 11, 22),
        now=now,
        previous=live.snapshot if live else None,
        ids={"distinct": ROWS},
        outcomes={"exported": number},
        calls={"made": ROWS},
        tables={name: _table(draft, name, number) for name in TABLES},
        checks=[],
        config_sha256="",
    )
    snapshots.commit(manifest)
    publish.swing(snapshots, manifest, now, instead_of=live.snapshot if live else None)
    snapshots.forget(Retention(2, grace_s=10), datetime.now(UTC))
    return manifest


def _table(draft: Draft, name: str, number: int) -> ManifestTable:
    columns = {"customer_id": pa.array(range(ROWS)), "number": pa.repeat(pa.scalar(number), ROWS)}
    table = pa.table(columns)
    return write_files(table.to_batches(), table.schema, draft.folder / name, "zstd", draft.deliver)


class Mortal(Remote):
    """A store whose user dies, by kill -9, some moments after it began its N-th change."""

    _left: int
    _delay_s: float

    def dies(self, changes: int, delay_s: float) -> None:
        """Die then."""
        self._left, self._delay_s = changes, delay_s

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            threading.Timer(self._delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def replace(self, path: str, data: bytes, seen: Content | None) -> None:
        """The claim, the manifest, the pointer."""
        self._count()
        super().replace(path, data, seen)  # type: ignore[safe-super] # stands before a store that has it

    def deliver(self, file: Path, path: str) -> None:
        """A data file."""
        self._count()
        super().deliver(file, path)

    def remove(self, folder: str, first: str) -> None:
        """An old snapshot."""
        self._count()
        super().remove(folder, first)


class MortalBucket(Mortal, Bucket):
    """In S3 or Azure."""


class MortalGoogleBucket(Mortal, GoogleBucket):
    """In Google's store."""


if __name__ == "__main__":
    url, scratch, changes, delay_ms = sys.argv[1:]
    kind = MortalGoogleBucket if url.startswith("gs://") else MortalBucket
    mortal = kind(url, Path(scratch), allow_http=True)
    mortal.dies(int(changes), float(delay_ms) / 1000)
    export = Snapshots(mortal)
    for one in count():
        publish_one(export, one)
