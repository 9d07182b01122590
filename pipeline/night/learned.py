"""What a night took, noted at its end, so that the next one can be planned: repeats, latency, bytes, memory."""

from __future__ import annotations

import numpy as np

from pipeline.plan import MEMORY_BYTES_PER_ID, Learned, growth_bytes
from pipeline.processes import peak_bytes
from pipeline.store.ledger import Ledger, calls_parts
from pipeline.store.parts import part_paths, read_part
from pipeline.store.snapshots import Manifest
from pipeline.store.workspace import Measured, NightFolder, Workspace

NIGHTS = 7
FEW_IDS = 100
"""A night of fewer verdicts says nothing about the others."""


def measure(
    folder: NightFolder, ledger: Ledger, manifest: Manifest, known: int, fetch_bytes: int
) -> Measured:
    """What this night took. Its peak is that of the fetch, with two processes, or that of the merge, with one."""
    journal = sum(path.stat().st_size for path in folder.journal.glob("chunk-*"))
    parts = sum(path.stat().st_size for path in part_paths(folder.parts))
    tables = manifest.tables.values()
    return Measured(
        ids=len(ledger.customer_ids),
        calls=ledger.calls,
        latency_us=_mean_latency_us(folder),
        night_bytes=journal + parts,
        snapshot_ids=known,
        snapshot_bytes=sum(file.bytes for table in tables for file in table.files),
        memory_bytes=max(fetch_bytes, peak_bytes()),
        merge_bytes=peak_bytes(),
    )


def _mean_latency_us(folder: NightFolder) -> int:
    total = count = 0
    for path in calls_parts(folder.parts):
        for batch in read_part(path, ["latency_us"]):
            total += int(np.sum(batch.column("latency_us").to_numpy(), dtype=np.int64))
            count += batch.num_rows
    return total // max(1, count)


def learn(workspace: Workspace) -> Learned:
    """What the last nights took, the larger ones weighing more; what is usual, where there is none."""
    states = (folder.state() for folder in workspace.nights()[-NIGHTS:])
    nights = [one.measured for one in states if one and one.measured and one.measured.ids >= FEW_IDS]
    if not nights:
        return Learned()
    ids, calls = sum(one.ids for one in nights), sum(one.calls for one in nights)
    last = nights[-1]
    return Learned(
        calls_per_id=calls / ids,
        latency_s=sum(one.latency_us * one.calls for one in nights) / calls / 1e6,
        night_bytes_per_id=sum(one.night_bytes for one in nights) / ids,
        snapshot_bytes_per_id=last.snapshot_bytes / max(1, last.snapshot_ids),
        memory_bytes=max(one.memory_bytes - one.snapshot_ids * MEMORY_BYTES_PER_ID for one in nights),
        merge_bytes=max(
            (one.merge_bytes or one.memory_bytes) - growth_bytes(one.snapshot_ids) for one in nights
        ),
    )
