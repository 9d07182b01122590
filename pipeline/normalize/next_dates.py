"""The next day on which an answer changes by itself: a tier or points expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline.blocks.schema import RECORD
from pipeline.store.ledger import RECORD_BITS

EXPIRIES: dict[str, tuple[str, ...]] = {
    "points_summary": ("slab_expiry_date",),
    "loyalty_programs": ("slab_expiry_date",),
    "partner_programs": ("partner_tier_expiry_date",),
    "tier_renewal_gaps": ("tier_expiry_date",),
    "points_expiry_schedules": ("expiry_date", "expiry_date_iso"),
    "promotional_points": ("expiry_date",),
}
"""Where answers say when a tier or points end. Cards that expire are left out, since neither points nor tier change;
and so is `tier_upgrade_gaps.value_valid_upto`, which moves along with the calendar."""
_MICROS_A_DAY = 86_400_000_000
_LAST_DAY = np.iinfo(np.int32).max

Ints = npt.NDArray[Any]


def next_dates(batches: Mapping[str, Sequence[pa.RecordBatch]], calls: int, first: int = 0) -> Ints:
    """For each of a chunk's `calls` from the `first` on, days since 1970 of the first expiry to come after it; 0: none.

    A calendar day still to come is one that had not ended (in UTC) when the answer came.
    """
    found = np.full(calls, _LAST_DAY, np.int32)
    for table, columns in EXPIRIES.items():
        for batch in batches.get(table, ()):
            places = batch.column(RECORD).to_numpy() & ((1 << RECORD_BITS) - 1)
            places -= first
            for name in columns:
                days = _days_to_come(batch.column(name), batch.column("_fetched_at"))
                np.minimum.at(found, places, days)
    return np.where(found == _LAST_DAY, 0, found)


def _days_to_come(expiries: pa.Array[Any], fetched_at: pa.Array[Any]) -> Ints:
    """Each expiry's day; the last of all days where there is none, or it is past."""
    asked_at = fetched_at.cast(pa.int64()).to_numpy()
    if pt.is_date32(expiries.type):
        days = expiries.cast(pa.int32()).fill_null(0).to_numpy()
        is_to_come = days >= asked_at // _MICROS_A_DAY
    else:
        micros = expiries.cast(pa.int64()).fill_null(0).to_numpy()
        days, is_to_come = micros // _MICROS_A_DAY, micros > asked_at
    return np.where(is_to_come, days, _LAST_DAY).astype(np.int32)
