"""Brings the tables of a config to the live snapshot, and dies by kill -9 at its N-th commit, right before it is sent
or right after: `python -m tests.formats.mortal CONFIG N before|after`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.formats import base
from pipeline.formats.files import DataFile
from pipeline.night.lakehouse import bring_tables
from pipeline.store.snapshots import open_snapshots


def make_mortal(kind: type[Any], number: int, when: str) -> None:
    """From now on the N-th commit is the last thing that this process does."""
    commit, left = kind.commit, [number]

    def commit_and_die(self: Any, files: Sequence[DataFile], run: base.Run) -> int:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        version = int(commit(self, files, run))
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return version

    kind.commit = commit_and_die


if __name__ == "__main__":
    path, number, when = sys.argv[1:]
    config = load_config(Path(path))
    if config.output.format == "delta":
        from pipeline.formats.delta import _DeltaTable as Table
    else:
        from pipeline.formats.iceberg import _IcebergTable as Table  # type: ignore[assignment]
    make_mortal(Table, int(number), when)
    found = bring_tables(config, open_snapshots(config), datetime.now(UTC))
    assert found is not None
    assert found.is_whole
