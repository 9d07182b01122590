"""What must hold before readers see a snapshot: the sums, and what its rows look like beside those of good nights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from pipeline.checks.hard import hard_checks
from pipeline.checks.judge import judge
from pipeline.checks.measure import Measured, Tonight, measure
from pipeline.checks.sums import (
    account_balances,
    answers_are_rows,
    changes_add_up,
    no_drift,
    no_newer_night,
    reading_balances,
    rows_add_up,
)
from pipeline.config import ChecksConfig
from pipeline.store.history import Measurements
from pipeline.store.snapshots import ManifestCheck

HISTORY_READ = 60
"""So many good nights are looked back upon."""

__all__ = [
    "HISTORY_READ",
    "Examined",
    "Measured",
    "Tonight",
    "account_balances",
    "answers_are_rows",
    "changes_add_up",
    "examine",
    "measure",
    "no_drift",
    "no_newer_night",
    "reading_balances",
    "rows_add_up",
]


class Examined(NamedTuple):
    """The verdicts on tonight's rows; what to keep of them as history, nothing of a night of few customers; and the
    customers by the night that fetched their rows.
    """

    verdicts: list[ManifestCheck]
    history: Measurements | None
    by_night: dict[date, int]


def examine(tonight: Tonight, past: Sequence[Measurements], config: ChecksConfig) -> Examined:
    """Look at tonight's rows. `past` are the last good nights, newest first. Raises StorageError."""
    measured = measure(tonight, config.min_customers)
    found, numbers = hard_checks(measured, config), measured.numbers
    if measured.are_few:
        return Examined(found, None, measured.by_night)
    verdicts, numbers.failed = judge(numbers, past, config)
    return Examined([*found, *verdicts], numbers, measured.by_night)
