"""Sets of IDs as sorted arrays. numpy's own `unique`, `union1d` and the like go by hash tables, and take fifty times as
long for as many different numbers as there are customers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[Any]
BLOCK = 1 << 17
"""So many values are looked for at a time: the places where they would stand take as much memory as they do."""


def distinct(*several: Ints) -> Ints:
    """All values of all arrays, sorted, each once."""
    ordered = np.sort(np.concatenate(several))
    is_first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


def is_among(values: Ints, ordered: Ints) -> npt.NDArray[np.bool_]:
    """Which values stand in the sorted array."""
    found = np.zeros(len(values), bool)
    for start in range(0, len(values) if len(ordered) else 0, BLOCK):
        some = values[start : start + BLOCK]
        at = np.minimum(np.searchsorted(ordered, some), len(ordered) - 1)
        found[start : start + BLOCK] = ordered[at] == some
    return found


def without(values: Ints, ordered: Ints) -> Ints:
    """The values that do not stand in the sorted array, in their order."""
    return values[~is_among(values, ordered)]


def common(values: Ints, ordered: Ints) -> Ints:
    """The values that stand in the sorted array, in their order."""
    return values[is_among(values, ordered)]
