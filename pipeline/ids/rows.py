"""Lines to rows, each with the line on which it starts; the odd ones are kept for a closer look."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from pipeline.ids.records import RAW_CHARS, Layout, Row, Rows, SalvagedRow, UnreadableRow
from pipeline.ids.streams import LINE_CHARS


def row_blocks(blocks: Iterator[list[str]], layout: Layout, line: int = 1) -> Iterator[Rows]:
    """Lines to rows. `line` is the number of the first line."""
    held: list[str] = []  # the lines of a quoted record that goes on in the next block
    for lines in blocks:
        if len(lines[0]) > LINE_CHARS:  # such a line comes alone, see line_blocks
            yield parse(held, layout, line)[0]
            line, held = line + len(held) + 1, []
            yield Rows([UnreadableRow([lines[0][:RAW_CHARS]])], range(line - 1, line))
            continue
        lines = held + lines
        rows, used = parse(lines, layout, line, more=True)
        line, held = line + used, lines[used:]
        yield rows
    yield parse(held, layout, line)[0]


def parse(lines: list[str], layout: Layout, line: int, *, more: bool = False) -> tuple[Rows, int]:
    """The rows in `lines`, and how many lines they use up: with `more` to come, the last may have to wait."""
    try:
        rows = one_line_rows(lines, layout)
    except csv.Error:
        rows = []
    if len(rows) != len(lines):
        return parse_slowly(lines, layout, line, more=more)
    return Rows(rows, range(line, line + len(lines))), len(lines)


def one_line_rows(lines: list[str], layout: Layout) -> list[Row]:
    """As many rows as lines, unless a record spans several."""
    delimiter, column, width = layout.delimiter, layout.column, layout.width
    if width == 1 and "" not in lines:
        text = "".join(lines)
        if '"' not in text and delimiter not in text:
            return list(lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    return [row[column] if len(row) == width else row for row in reader]


def parse_slowly(lines: list[str], layout: Layout, line: int, *, more: bool) -> tuple[Rows, int]:
    """As `parse`, for records over several lines. A stray quote costs its own line, not those it swallows."""
    rows: list[Row] = []
    starts: list[int] = []
    at = 0
    while at < len(lines):
        begin = at
        rest = map("{}\n".format, map(lines.__getitem__, range(at, len(lines))))
        reader = csv.reader(rest, delimiter=layout.delimiter, strict=True)
        try:
            for row in reader:
                rows.append(row[layout.column] if len(row) == layout.width else row)
                starts.append(line + at)
                at = begin + reader.line_num
        except csv.Error:
            is_at_end = begin + reader.line_num == len(lines)
            if more and is_at_end and sum(map(len, lines[at:])) <= LINE_CHARS:
                break
            rows.append(salvage(lines[at], layout))
            starts.append(line + at)
            at += 1
    return Rows(rows, starts), at


def salvage(line: str, layout: Layout) -> Row:
    try:
        row = next(csv.reader([line], delimiter=layout.delimiter, quoting=csv.QUOTE_NONE), [])
    except csv.Error:
        return UnreadableRow([line[:RAW_CHARS]])
    return row[layout.column] if len(row) == layout.width else SalvagedRow(row)
