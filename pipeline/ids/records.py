"""What a row of a CSV is on its way, and how its file is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

RAW_CHARS = 200  # of a rejected cell, this much is kept


class Layout(NamedTuple):
    """How one file is laid out, as its first row shows it."""

    file: str
    delimiter: str
    column: int  # where the ID stands, from 0
    width: int  # cells in a regular row
    has_header: bool


class SalvagedRow(list[str]):
    """A line whose quotes don't match, split at every delimiter, with the wrong number of cells."""


class UnreadableRow(list[str]):
    """A line with a field too long to read. Its one cell is the start of the line."""


Row: TypeAlias = str | list[str]  # of a regular row only the ID's cell is kept; others wait for a closer look


class Rows(NamedTuple):
    """Rows and, for each, the physical line on which it starts."""

    rows: list[Row]
    lines: Sequence[int]

    def part(self, start: int, stop: int | None = None) -> Rows:
        return Rows(self.rows[start:stop], self.lines[start:stop])


def is_blank(row: Row, width: int) -> bool:
    """A line with nothing, or nothing but spaces. A quoted empty cell is an ID that is missing: not blank."""
    if isinstance(row, str):
        return width == 1 and row.isspace()
    return not row or (len(row) == 1 and row[0].isspace() and not isinstance(row, UnreadableRow))
