"""Medians with their ranges: one run says little on a machine that others use."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """Of several runs."""

    median: float
    least: float
    most: float
    digits: int = 0

    def __str__(self) -> str:
        shown = [f"{one:,.{self.digits}f}" for one in self[:3]]
        return shown[0] if self.least == self.most else f"{shown[0]} ({shown[1]}–{shown[2]})"


def spread(values: Sequence[float], digits: int = 0) -> Spread:
    """The median and the range; shown with so many digits."""
    return Spread(median(values), min(values), max(values), digits)
