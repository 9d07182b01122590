"""Numbers that repeat themselves as a dictionary, by the library."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MOST = 1 << 15
"""More distinct numbers have no index of two bytes."""


class Distinct(NamedTuple):
    """Each number once, in the order in which they come; which of them stands where, anything where none does."""

    numbers: npt.NDArray[Any]
    indices: npt.NDArray[np.int16]


def distinct_in(library: ctypes.CDLL, numbers: npt.NDArray[Any], nothing: int, most: int) -> Distinct | None:
    """Of numbers of four or eight bytes, where `nothing` stands for null; None where more than `most` are distinct."""
    indices = np.empty(len(numbers), np.int16)
    distinct = np.empty(min(most, MOST), numbers.dtype)
    found = library.records_distinct(
        numbers.ctypes.data,
        numbers.itemsize,
        len(numbers),
        nothing,
        len(distinct),
        indices.ctypes.data,
        distinct.ctypes.data,
    )
    if found == -2:
        raise MemoryError
    return None if found < 0 else Distinct(distinct[:found].copy(), indices)
