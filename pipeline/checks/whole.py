"""What must hold of a table as such: each key once, no row without its customer, `customers` in order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.checks.levels import key_of_table
from pipeline.checks.sample import Ints, ids_of, is_among
from pipeline.store.parquet import read_batches

OLDEST_LEFT_OUT = 0.05
"""So many of the oldest rows do not make a snapshot old: customers that are gone keep their last ones."""
_MOST_DAYS = 10_000


def repeated_keys(rows: pa.Table) -> int:
    """How many rows have a key that an earlier one has."""
    key = key_of_table(rows)
    if not key or _rises(rows, key):
        return 0
    return rows.num_rows - rows.select(key).group_by(key, use_threads=False).aggregate([]).num_rows


def _rises(rows: pa.Table, key: list[str]) -> bool:
    """Whether each key is larger than the one before it, as far as whole numbers tell. Most tables are so sorted, and
    to count what is there twice costs ten times as much.
    """
    is_tied = np.ones(max(0, rows.num_rows - 1), bool)
    for name in key:
        if not is_tied.any():
            break
        column = rows[name]
        if column.null_count or not pa.types.is_integer(column.type):
            return False
        numbers = column.to_numpy()
        if np.any(numbers[1:][is_tied] < numbers[:-1][is_tied]):
            return False
        is_tied &= numbers[1:] == numbers[:-1]
    return not is_tied.any()


def orphans(rows: pa.Table, customers: Ints) -> int:
    """How many rows are of customers that have none in `customers` (sorted IDs)."""
    return int(np.count_nonzero(~is_among(ids_of(rows), customers)))


def ages(paths: Iterable[Path], night: date) -> tuple[Ints, int]:
    """How many rows of the whole table were fetched so many nights ago (at its place), and how many are out of order or
    there twice. Raises StorageError.
    """
    by_day, out_of_order, last = np.zeros(_MOST_DAYS, np.int64), 0, -1
    for path in paths:
        for batch in read_batches(path, ["customer_id", "_night"]):
            ids = batch.column("customer_id").to_numpy()
            out_of_order += int(np.count_nonzero(np.diff(ids, prepend=last) <= 0)) if len(ids) else 0
            last = int(ids[-1]) if len(ids) else last
            by_day += np.bincount(_days(batch, night), minlength=_MOST_DAYS)
    return by_day, out_of_order


def usual_age(by_day: Ints) -> float:
    """Nights since the oldest rows were fetched, but for the very oldest, as log10(1 + nights)."""
    behind = np.cumsum(by_day)
    return float(np.log10(1 + int(np.searchsorted(behind, (1 - OLDEST_LEFT_OUT) * behind[-1]))))


def _days(batch: pa.RecordBatch, night: date) -> Any:
    """How many nights old each row is."""
    fetched: Any = batch.column("_night").cast(pa.int32()).to_numpy()
    return np.clip((night - date(1970, 1, 1)).days - fetched, 0, _MOST_DAYS - 1)
