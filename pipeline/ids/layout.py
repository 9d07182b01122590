"""How a file is laid out: delimiter, header, and in which column the IDs stand."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import chain

from pipeline.errors import UsageError
from pipeline.ids.records import Layout, Rows, UnreadableRow, is_blank
from pipeline.ids.rows import row_blocks
from pipeline.ids.sift import why_not_an_identifier
from pipeline.ids.spec import CsvSpec

HEADER_LINES = 64  # the header is looked for in this many lines
NAMES_SHOWN, NAME_CHARS = 30, 60  # of a header, in an error
NEAR = 0.5  # a name that is less like the wanted one is no guess worth telling
DELIMITERS = (",", ";", "\t", "|")
NUMBER_LIKE = re.compile(r"\s*[+-]?[0-9][0-9.,eE+-]*\s*")  # a number, if perhaps a botched one


def laid_out_rows(blocks: Iterator[list[str]], spec: CsvSpec, file: str) -> Iterator[tuple[Layout, Rows]]:
    """The rows below the header. The layout is found in the first block that isn't blank."""
    line = 1
    for lines in blocks:
        layout = find_layout(lines, spec, file)
        if layout is not None:
            rows = row_blocks(chain([lines], blocks), layout, line)
            for part in without_header(rows, layout.width) if layout.has_header else rows:
                yield layout, part
            return
        line += len(lines)


def without_header(parts: Iterator[Rows], width: int) -> Iterator[Rows]:
    for part in parts:
        header = next((n for n, row in enumerate(part.rows) if not is_blank(row, width)), None)
        if header is not None:
            yield part.part(header + 1)
            break
    yield from parts


def find_layout(lines: list[str], spec: CsvSpec, file: str) -> Layout | None:
    """The layout by the first row that isn't blank; None if all are."""
    delimiters = DELIMITERS if spec.delimiter is None else (spec.delimiter,)
    firsts = {delimiter: first_row(lines[:HEADER_LINES], delimiter) for delimiter in delimiters}
    if not any(firsts.values()):
        return None
    delimiter = max(firsts, key=lambda d: (fits(firsts[d], spec), len(firsts[d])))
    first = firsts[delimiter]
    header = has_header(first, spec)
    column = position(first, header, spec.column, file)
    return Layout(file, delimiter, column, max(len(first), column + 1), header)


def first_row(lines: list[str], delimiter: str) -> list[str]:
    """The first row that isn't blank, or an empty one."""
    whole_rows = Layout("", delimiter, column=0, width=-1, has_header=False)  # no row is that wide
    rows = chain.from_iterable(part.rows for part in row_blocks(iter([lines]), whole_rows))
    return next((row for row in rows if isinstance(row, list) and not is_blank(row, width=-1)), [])


def fits(first: list[str], spec: CsvSpec) -> bool:
    """Whether the first row, split this way, shows the wanted column."""
    if isinstance(spec.column, str):
        return spec.column in map(str.strip, first)
    return spec.column < len(first) and is_data(first[spec.column], spec)


def is_data(cell: str, spec: CsvSpec) -> bool:
    """Whether a cell of the first row is what the column holds, be it botched, and not the column's name."""
    if spec.identifier is None:
        return NUMBER_LIKE.fullmatch(cell) is not None
    return why_not_an_identifier(cell.strip(), spec.identifier) is None


def has_header(first: list[str], spec: CsvSpec) -> bool:
    """As told; else a first row with a number where the ID goes, even a botched one, is no header."""
    if spec.header is not None:
        return spec.header
    if isinstance(spec.column, str):
        return len(first) != 1 or first[0].strip() == spec.column or not is_data(first[0], spec)
    if isinstance(first, UnreadableRow):
        return False
    return spec.column >= len(first) or not is_data(first[spec.column], spec)


def position(first: list[str], header: bool, column: str | int, file: str) -> int:
    """Where the ID stands. Raises UsageError when the header doesn't have it."""
    if isinstance(column, int):
        if header and column >= len(first):
            raise UsageError(
                f"Column {column} (counted from 0) is not in {file}: its first row has {len(first)} columns.",
                "Set ids.column to a smaller position or to a name.",
            )
        return column
    if not header and len(first) == 1:
        return 0
    names = [name.strip() for name in first]
    if not header or names.count(column) != 1:
        raise column_error(column, names, header, file)
    return names.index(column)


def column_error(column: str, names: list[str], header: bool, file: str) -> UsageError:
    by_position = "Set ids.column to the column's position, counted from 0."
    if not header:
        return UsageError(f"{file} has no header to look up column '{column}' in.", by_position)
    if column in names:
        return UsageError(f"Column '{column}' stands twice in the header of {file}.", by_position)
    if any(NUMBER_LIKE.fullmatch(name) for name in names):  # likely a customer's data: not shown
        return UsageError(
            f"Column '{column}' is not in the first row of {file}, which looks like data, not a header.",
            by_position,
        )
    shown = ", ".join(repr(name[:NAME_CHARS]) for name in names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    message = f"Column '{column}' is not in the header of {file}; it has: {shown}{more}."
    return UsageError(message, column_hint(column, names))


def column_hint(column: str, names: list[str]) -> str:
    if any("\0" in name for name in names):
        return "It looks like UTF-16 without a byte order mark: set the encoding to utf-16-le."
    by_folded = {name.casefold(): name for name in reversed(names)}
    nearest = difflib.get_close_matches(column.casefold(), by_folded, n=1, cutoff=NEAR)
    if not nearest:
        return "Set ids.column to one of them, or to a position counted from 0."
    return f"Did you mean {by_folded[nearest[0]][:NAME_CHARS]!r}? Set ids.column."
