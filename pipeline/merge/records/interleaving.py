"""Sorted stretches of records as one, by the library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]
KEY = "customer_id"
"""The field by which records are sorted."""


class Scratch:
    """Memory that is used again and again: what is got anew each time, the system has to clear each time."""

    def __init__(self) -> None:
        self._memory: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def records(self, count: int, dtype: np.dtype[Any]) -> Records:
        """Room for so many; what the last call gave is no longer to be looked at."""
        size = count * dtype.itemsize
        if size > len(self._memory):
            self._memory = np.empty(0, np.uint8)  # goes before the larger one comes
            self._memory = np.empty(size + size // 2, np.uint8)  # the next rounds are hardly larger
        return np.ndarray(count, dtype, self._memory.data)


def interleaved(
    library: ctypes.CDLL, stretches: Sequence[Records], scratch: Scratch, *, with_places: bool
) -> tuple[Records, npt.NDArray[np.int64]]:
    """The records of all, sorted by customer; of one customer's, those of the first stretch come first.

    `with_places`: also where each of them stood when they were one behind the other.
    """
    counts = np.array([len(one) for one in stretches], np.int64)
    starts = np.array([one.ctypes.data for one in stretches], np.uint64)
    dtype, total = stretches[0].dtype, int(counts.sum())
    records, places = scratch.records(total, dtype), np.empty(total if with_places else 0, np.int64)
    fields: Any = dtype.fields
    done = library.records_interleave(
        starts.ctypes.data,
        counts.ctypes.data,
        len(stretches),
        dtype.itemsize,
        fields[KEY][1],
        records.ctypes.data,
        places.ctypes.data if with_places else None,
    )
    if not done:
        raise MemoryError
    return records, places
