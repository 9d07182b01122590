"""Customer IDs out of CSV files, in constant memory, each asked for once.

The journey of a byte:  opened → byte_blocks → text_blocks → line_blocks → row_blocks → IdReader.batches.
An ID is a positive int64 in plain decimal digits. Every other row is rejected, with its line and a reason.
Where the CSV holds mobiles, e-mails or other identifiers instead (`CsvSpec.identifier`), each stands for a key: a
negative int64 made from its text, so that everything behind the reader can count and order them like IDs.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import glob
import gzip
import hashlib
import io
import os
import re
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, cast

import pyarrow as pa
from pyroaring import BitMap64

from pipeline.errors import UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BATCH_ROWS = 65_536
BLOCK_BYTES = 1 << 20
LINE_CHARS = BLOCK_BYTES  # a longer line or quoted record isn't read to its end; line_blocks needs >= a block
RAW_CHARS = 200  # of a rejected cell, this much is kept
HEADER_LINES = 64  # the header is looked for in this many lines
NAMES_SHOWN, NAME_CHARS = 30, 60  # of a header, in an error

MAX_IDENTIFIER_CHARS = 255
IDENTIFIER_PATTERNS = {
    "mobile": re.compile(r"\+?[0-9]{4,20}"),
    "email": re.compile(r"[^@\s]+@[^@\s]+"),
}  # the others are whatever the brand made them

STDIN = "-"
STDIN_NAME = "<stdin>"
MAX_ID = 2**63 - 1
DELIMITERS = (",", ";", "\t", "|")

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # pzstd begins with such a frame
FOREIGN_MAGIC = {
    b"PK\x03\x04": "a ZIP file or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1\x15": "a Parquet file",
    b"\xfd7zXZ\x00": "an xz archive",
    b"BZh9": "a bzip2 archive",
}
BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}

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
NUMBER_LIKE = re.compile(r"\s*[+-]?[0-9][0-9.,eE+-]*\s*")  # a number, if perhaps a botched one


class RejectedRow(NamedTuple):
    """A row that holds no ID. `line` is the physical line (from 1) on which the row starts."""

    file: str
    line: int
    reason: str
    raw: str  # the cell, cut at RAW_CHARS; never another column's text


class IdBatch(NamedTuple):
    """What some rows held: IDs not seen before, in the order of the input, and the rows without one.

    `texts` are the identifiers that the IDs stand for, one each; empty where the CSV holds customer IDs.
    """

    ids: array[int]
    rejected: list[RejectedRow]
    texts: list[str] = []  # noqa: RUF012 - never changed


@dataclass(frozen=True)
class CsvSpec:
    """Where the IDs are. None means: look at the file."""

    paths: tuple[str, ...]  # paths, glob patterns, "-" for stdin
    column: str | int = "customer_id"  # name, or position from 0
    delimiter: str | None = None
    header: bool | None = None
    encoding: str | None = None  # a byte order mark in the file wins
    identifier: str | None = None  # what the cells are: mobile, email, externalId, …; None: customer IDs


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


class IdReader:
    """Reads the files of `spec` once. `read == len(distinct) + repeated + rejected` after each batch."""

    def __init__(self, spec: CsvSpec, *, stdin: BinaryIO | None = None) -> None:
        check_delimiter(spec.delimiter)
        check_encoding(spec.encoding)
        check_column(spec.column)
        self.read = 0  # rows so far; headers and blank lines are no rows
        self.repeated = 0
        self.rejected = 0
        self.distinct = BitMap64()
        self._spec = spec
        self._stdin = stdin

    def files(self) -> list[str]:
        """The paths, patterns expanded, each once; "-" stays. Raises UsageError for what can't be read."""
        if not self._spec.paths:
            raise UsageError("ids.paths is empty.", "Name at least one CSV file, a pattern, or - for stdin.")
        expanded = dict.fromkeys(chain.from_iterable(map(expand, self._spec.paths)))
        for file in expanded:
            check_readable(file)
        return list(expanded)

    def batches(self, size: int = BATCH_ROWS) -> Iterator[IdBatch]:
        """All rows, at most `size` to a batch. May raise UsageError late, for a file cut short."""
        if size < 1:
            raise UsageError(f"batch size = {size}: must be above 0.")
        for file in self.files():
            yield from self._batches_of(file, size)

    def _batches_of(self, file: str, size: int) -> Iterator[IdBatch]:
        name = STDIN_NAME if file == STDIN else file
        with opened(file, self._stdin) as stream:
            lines = line_blocks(text_blocks(byte_blocks(stream, name), self._spec.encoding))
            for layout, rows in laid_out_rows(lines, self._spec, name):
                for start in range(0, len(rows.rows), size):
                    batch = self._batch(rows.part(start, start + size), layout)
                    if batch.ids or batch.rejected:
                        yield batch

    def _batch(self, rows: Rows, layout: Layout) -> IdBatch:
        if self._spec.identifier is not None:
            return self._batch_of_identifiers(rows, layout, self._spec.identifier)
        ids, rejected = plain_ids(rows.rows), list[RejectedRow]()
        if ids is None:
            ids, rejected = sift(rows, layout)
        self.read += len(ids) + len(rejected)
        self.rejected += len(rejected)
        return IdBatch(self._first_seen(ids), rejected)

    def _batch_of_identifiers(self, rows: Rows, layout: Layout, kind: str) -> IdBatch:
        texts, rejected = sift_identifiers(rows, layout, kind)
        self.read += len(texts) + len(rejected)
        self.rejected += len(rejected)
        by_key = {-key_of(text): text for text in reversed(texts)}
        new = self._first_seen(array("q", [key_of(text) * -1 for text in texts]))
        return IdBatch(array("q", [-key for key in new]), rejected, [by_key[key] for key in new])

    def _first_seen(self, ids: array[int]) -> array[int]:
        """Those of `ids` that were never seen before, in order, each once."""
        fresh = BitMap64(array("Q", ids.tobytes()))
        known = fresh & self.distinct
        self.distinct |= fresh
        if len(fresh) == len(ids) and not known:
            return ids
        seen = set(known)
        new = array("q", [i for i in dict.fromkeys(ids) if i not in seen])
        self.repeated += len(ids) - len(new)
        return new


# --- rows to IDs ---------------------------------------------------------------------------------------


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


def is_blank(row: Row, width: int) -> bool:
    """A line with nothing, or nothing but spaces. A quoted empty cell is an ID that is missing: not blank."""
    if isinstance(row, str):
        return width == 1 and row.isspace()
    return not row or (len(row) == 1 and row[0].isspace() and not isinstance(row, UnreadableRow))


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


# --- lines to rows -------------------------------------------------------------------------------------


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


# --- the layout of a file ------------------------------------------------------------------------------


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
    nearest = difflib.get_close_matches(column.casefold(), by_folded, n=1, cutoff=0.0)
    return f"Did you mean {by_folded[nearest[0]][:NAME_CHARS]!r}? Set ids.column."


# --- bytes to lines ------------------------------------------------------------------------------------


@contextmanager
def opened(file: str, stdin: BinaryIO | None) -> Iterator[io.BufferedIOBase]:
    """The file's bytes, decompressed. Stdin stays open."""
    with ExitStack() as stack:
        name = STDIN_NAME if file == STDIN else file
        with reading(name):
            raw: io.BufferedReader
            if file == STDIN:
                raw = io.BufferedReader(cast("io.FileIO", stdin or sys.stdin.buffer))
                stack.callback(raw.detach)
            else:
                raw = stack.enter_context(Path(file).open("rb"))
            stream = decompressed(raw, name)
            if stream is not raw:  # closing raw itself would close stdin
                stack.enter_context(stream)
        yield stream


def decompressed(raw: io.BufferedReader, file: str) -> io.BufferedIOBase:
    """By what the bytes say, whatever the name says; a file shorter than its magic goes by name."""
    head = raw.peek(8)
    for magic, what in FOREIGN_MAGIC.items():
        if head.startswith(magic):
            raise UsageError(f"{file} is {what}, not CSV.", "Save it as CSV, plain or as .gz or .zst.")
    if head.startswith(GZIP_MAGIC) or is_stump(head, GZIP_MAGIC, file, ".gz"):
        return gzip.GzipFile(fileobj=raw)
    is_zstd = head.startswith(ZSTD_MAGIC) or ZSTD_SKIPPABLE.match(head)
    if is_zstd or is_stump(head, ZSTD_MAGIC, file, ".zst"):
        return zstd.ZstdFile(raw)
    return raw


def is_stump(head: bytes, magic: bytes, file: str, suffix: str) -> bool:
    return file.endswith(suffix) and head != b"" and magic.startswith(head)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Tells a reader's errors in our words."""
    try:
        yield
    except (EOFError, zlib.error, zstd.ZstdError, gzip.BadGzipFile) as exc:
        raise UsageError(
            f"{file} is damaged or cut short: {exc}.",
            "Fetch it again; `gzip -t` or `zstd -t` checks it.",
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"Cannot read {file}: {exc.strerror or exc}.", "Check ids.paths and the disk."
        ) from exc


def byte_blocks(stream: io.BufferedIOBase, file: str) -> Iterator[bytes]:
    while True:
        with reading(file):
            block = stream.read(BLOCK_BYTES)
        if not block:
            return
        yield block


def text_blocks(blocks: Iterator[bytes], encoding: str | None) -> Iterator[str]:
    """Decoded, every kind of line end as \\n, without byte order mark. Bad bytes become U+FFFD."""
    first = next(blocks, b"")
    marked = (name for mark, name in BYTE_ORDER_MARKS.items() if first.startswith(mark))
    codec = codecs.getincrementaldecoder(next(marked, encoding or "utf-8"))
    decoder = io.IncrementalNewlineDecoder(codec("replace"), translate=True)
    yield decoder.decode(first).removeprefix("\ufeff")
    for block in blocks:
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def line_blocks(texts: Iterator[str]) -> Iterator[list[str]]:
    """Whole lines, never an empty list. A line above LINE_CHARS is cut and comes alone."""
    tail = ""
    for text in texts:
        lines = (tail + text).split("\n")
        tail = lines.pop()[: LINE_CHARS + 1]
        if lines and len(lines[0]) > LINE_CHARS:
            yield [lines[0][: LINE_CHARS + 1]]
            del lines[0]
        if lines:
            yield lines
    if tail:
        yield [tail]


# --- checks before any row is read ---------------------------------------------------------------------


def expand(path: str) -> list[str]:
    """The files a pattern stands for, sorted; a path that exists stands for itself."""
    with reading(path):
        if path == STDIN or not glob.has_magic(path) or Path(path).exists():
            return [path]
    found = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    matches = sorted(match for match in found if not Path(match).is_dir())
    if not matches:
        raise UsageError(f"No file matches the pattern {path}.", "Check ids.paths.")
    return matches


def check_readable(file: str) -> None:
    if file == STDIN:
        return
    path = Path(file)
    with reading(file):
        path.stat()
        if path.is_dir():
            raise UsageError(f"{file} is a directory.", f"Name its files: {path / '*.csv'}")
        if not os.access(path, os.R_OK):
            raise UsageError(f"No permission to read {file}.", "Let this user read it (chmod, chown).")


def check_delimiter(delimiter: str | None) -> None:
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UsageError(
            f"delimiter = {delimiter!r}: must be one character, not a quote or a line end.",
            "Leave it out to have it found.",
        )


def check_encoding(encoding: str | None) -> None:
    try:
        if encoding is not None:
            "".encode(encoding)  # LookupError too for codecs that are not text, such as base64
            codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError) as exc:
        raise UsageError(
            f"encoding = {encoding!r}: not a known text encoding.",
            "Use for example utf-8, utf-16 or cp1252.",
        ) from exc


def check_column(column: str | int) -> None:
    if isinstance(column, int) and column < 0:
        raise UsageError(f"column = {column}: positions are counted from 0.", "Set ids.column to 0 or above.")
