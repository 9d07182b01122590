"""The checks of a night's rows, and what good nights leave for them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from pipeline import checks
from pipeline.config import Config
from pipeline.errors import StorageError
from pipeline.night.listing import sorted_list
from pipeline.night.tonight import Night, Previous
from pipeline.store.history import History, write_measured
from pipeline.store.ledger import Ledger
from pipeline.store.snapshots import Manifest
from pipeline.store.workspace import NightFolder


def check_rows(night: Night, manifest: Manifest, previous: Previous, ledger: Ledger) -> Manifest:
    """The manifest with the verdicts on its rows, beside those on its sums. Raises StorageError.

    What was measured waits in the night's folder until the snapshot is published.
    """
    night.begins("checking", "checking the snapshot")
    asked, listed = ledger.every_id(), sorted_list(night.folder)
    tonight = checks.Tonight(
        night=night.folder.night,
        snapshot=manifest.snapshot,
        asked=asked[np.searchsorted(asked, 0) :],  # below 0: identifiers that are no IDs
        listed=listed,
        outcomes=manifest.outcomes,
        rows={name: table.rows for name, table in manifest.tables.items()},
        files=lambda table: night.snapshots.paths(manifest, table),
        files_before=previous.files,
    )
    past = History(night.workspace.root).nights_before(night.folder.night, checks.HISTORY_READ)
    found = checks.examine(tonight, past, night.config.checks)
    write_measured(night.folder, found.history)
    by_night = {day.isoformat(): count for day, count in sorted(found.by_night.items())}
    told = {"checks": [*manifest.checks, *found.verdicts], "customers_by_night": by_night}
    return manifest.model_copy(update=told)


def keep_as_good(config: Config, folder: NightFolder, snapshot: str, forced_reason: str = "") -> None:
    """A night was published: later ones are compared with it. They do without where this cannot be written."""
    with suppress(StorageError):
        history = History(config.work.path)
        history.add(folder, snapshot, forced_reason, keep=config.checks.keep_nights)
