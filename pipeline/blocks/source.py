"""Reads the place of a column's value (`Column.source`) and of a table's rows (`Table.rows`); `base.py` has
the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple


class Source(NamedTuple):
    """A column's source, taken apart."""

    ups: int = 0  # `^`: how many objects further out
    around: tuple[
        str, ...
    ] = ()  # `^name|name`: in the object around the row that stands under one of these names
    special: str = ""  # `@ordinal`, `@key`, …
    counts: bool = False  # `#name`
    path: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # other spellings of the path's last name

    def steps_out(self, row_path: Sequence[str]) -> int | None:
        """How many objects out from a row this leads; None where no such object is on the way."""
        if not self.around:
            return self.ups
        for steps, name in enumerate(reversed(row_path)):
            if steps and name in self.around:
                return steps
        return None


@cache
def read_source(source: str) -> Source:
    """Take a source apart. Raises ValueError where it says what cannot be done."""
    ups = len(source) - len(source.lstrip("^"))
    rest = source[ups:]
    around: tuple[str, ...] = ()
    if ups and rest[:1] not in ("", ".", "@"):
        names, mark, tail = rest.partition("@") if "@" in rest else rest.partition(".")
        around, rest = tuple(names.split("|")), mark + tail
    if rest.startswith("@"):
        return Source(ups, around, rest)
    counts = rest.startswith("#")
    *outer, last = rest.lstrip("#.").split(".")
    name, *others = last.split("|")
    if ups and outer:
        raise ValueError(f"{source!r}: only the outer object's own values can be read")
    return Source(ups, around, "", counts, (*outer, name), tuple(others))


def names_of(rows: str) -> tuple[str, ...]:
    """The names on the way to a table's rows, without the marks of lists and maps."""
    return tuple(part.rstrip("[]{}?") for part in rows.split(".")) if rows else ()


def row_path(rows: str) -> str:
    """Where rows stand, as people and `extra` write it: `profiles[].identifiers[]`."""
    return rows.replace("{}", "").replace("?", "")
