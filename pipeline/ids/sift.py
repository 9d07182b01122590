"""Rows to IDs: what is one, and why the others are none."""

from __future__ import annotations

import hashlib
import re
from array import array
from typing import NamedTuple, cast

import pyarrow as pa

from pipeline.ids.records import RAW_CHARS, Layout, Row, Rows, SalvagedRow, UnreadableRow, is_blank

MAX_IDENTIFIER_CHARS = 255

IDENTIFIER_PATTERNS = {
    "mobile": re.compile(r"\+?[0-9]{4,20}"),
    "email": re.compile(r"[^@\s]+@[^@\s]+"),
}  # the others are whatever the brand made them
MAX_ID = 2**63 - 1

# The reasons stand in the table `rejected_ids`, where people group by them: they don't change.
TOO_FEW_COLUMNS = "too few columns"
TOO_MANY_COLUMNS = "more cells than the first row"
BROKEN_QUOTES = "quotes that don't match"
TOO_LONG = "field or line too long"
NOT_AN_ID = "not a whole number in plain digits"

REASONS = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"", "empty"),
        (r"0", "zero"),
        (r"[1-9][0-9]*", "too large: above 9223372036854775807"),
        (
            r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)[eE][+-]?[0-9]+",
            "scientific notation: a spreadsheet shortened the number",
        ),
        (r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)", "decimal point"),
        (r"-[0-9]+", "negative"),
        (r"\+[0-9]+", "leading plus sign"),
        (r"0[0-9]+", "leading zero"),
        (r"\d+", "digits other than 0-9"),
        (r".*\0.*", "NUL byte"),
        (r".*\ufffd.*", "bytes that are not text in the file's encoding"),
    )
)
PLAIN_DIGITS = re.compile(r"[1-9][0-9]{0,18}")


class RejectedRow(NamedTuple):
    """A row that holds no ID. `line` is the physical line (from 1) on which the row starts."""

    file: str
    line: int
    reason: str
    raw: str  # the cell, cut at RAW_CHARS; never another column's text


def plain_ids(rows: list[Row]) -> array[int] | None:
    """All rows as IDs, if each cell is written just as its number would be; else None: `sift` them."""
    try:
        text = pa.array(rows, pa.string())
        numbers = text.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None
    if not numbers.cast(pa.string()).equals(text):
        return None
    ids = array("q")
    values = cast("pa.Buffer", numbers.buffers()[1])
    ids.frombytes(memoryview(values)[: len(rows) * ids.itemsize])
    return ids if ids and min(ids) > 0 else None


def sift(rows: Rows, layout: Layout) -> tuple[array[int], list[RejectedRow]]:
    """Row by row: the IDs, and the rows that hold none."""
    ids, rejected = array("q"), []
    for line, row in zip(rows.lines, rows.rows, strict=True):
        reason = why_no_id(row, layout)
        if reason is None:
            ids.append(int(id_cell(row, layout).strip()))  # strip() takes more for space than int() does
        elif not is_blank(row, layout.width):
            rejected.append(RejectedRow(layout.file, line, reason, raw_text(row, layout)))
    return ids, rejected


def key_of(identifier: str) -> int:
    """The key that stands for an identifier: negative, so that it is never a customer's ID.

    Two of ten million identifiers share a key with a probability of 5 in a million.
    """
    digest = hashlib.blake2b(identifier.encode(), digest_size=8).digest()
    return -(int.from_bytes(digest, "little") >> 1) or -1


def sift_identifiers(rows: Rows, layout: Layout, kind: str) -> tuple[list[str], list[RejectedRow]]:
    """Row by row: the identifiers, and the rows that hold none."""
    texts: list[str] = []
    rejected = []
    for line, row in zip(rows.lines, rows.rows, strict=True):
        reason = why_unusable(row, layout) or why_not_an_identifier(id_cell(row, layout).strip(), kind)
        if reason is None:
            texts.append(id_cell(row, layout).strip())
        elif not is_blank(row, layout.width):
            rejected.append(RejectedRow(layout.file, line, reason, raw_text(row, layout)))
    return texts, rejected


def why_not_an_identifier(cell: str, kind: str) -> str | None:
    if not cell:
        return "empty"
    if len(cell) > MAX_IDENTIFIER_CHARS:
        return TOO_LONG
    if not cell.isprintable() or "\ufffd" in cell:
        return "characters that cannot be printed"
    pattern = IDENTIFIER_PATTERNS.get(kind.lower())
    return None if pattern is None or pattern.fullmatch(cell) else f"not a {kind}"


def id_cell(row: Row, layout: Layout) -> str:
    return row if isinstance(row, str) else row[layout.column]


def why_no_id(row: Row, layout: Layout) -> str | None:
    """What is wrong with the row, or None when its cell is an ID."""
    return why_unusable(row, layout) or why_not_an_id(id_cell(row, layout).strip())


def why_unusable(row: Row, layout: Layout) -> str | None:
    """What keeps the row's cell from being looked at, or None."""
    if isinstance(row, str):
        return None
    if isinstance(row, UnreadableRow):
        return TOO_LONG
    if isinstance(row, SalvagedRow):
        return BROKEN_QUOTES
    if len(row) <= layout.column:
        return TOO_FEW_COLUMNS
    if any(cell.strip() for cell in row[layout.width :]):
        return TOO_MANY_COLUMNS  # an unquoted delimiter may have moved another number under our column
    return None


def why_not_an_id(cell: str) -> str | None:
    if PLAIN_DIGITS.fullmatch(cell) and int(cell) <= MAX_ID:
        return None
    return next((reason for pattern, reason in REASONS if pattern.fullmatch(cell)), NOT_AN_ID)


def raw_text(row: Row, layout: Layout) -> str:
    """What the ID column holds. Other columns are customer data and don't belong in a report."""
    if isinstance(row, str):
        return row[:RAW_CHARS]
    if layout.width == 1:
        return layout.delimiter.join(row)[:RAW_CHARS]
    if isinstance(row, UnreadableRow) or len(row) <= layout.column:
        return ""
    return row[layout.column][:RAW_CHARS]
