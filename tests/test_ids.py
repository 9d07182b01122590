"""The CSV reader, on real files: what counts as an ID, what is rejected and why, and what stops the run."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Exit, UsageError
from pipeline.ids import BLOCK_BYTES, LINE_CHARS, CsvSpec, IdBatch, IdReader, RejectedRow

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the test's folder and gives its path."""

    def write_file(data: str | bytes, name: str = "ids.csv") -> str:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    return write_file


class Result:
    """All that a reader gave."""

    def __init__(self, reader: IdReader, size: int = 65_536) -> None:
        self.reader = reader
        self.batches = list(reader.batches(size))
        self.ids = [i for batch in self.batches for i in batch.ids]
        self.rejected = [row for batch in self.batches for row in batch.rejected]
        assert reader.read == len(reader.distinct) + reader.repeated + reader.rejected
        assert len(self.ids) == len(reader.distinct)
        assert len(self.rejected) == reader.rejected

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row.line, row.reason) for row in self.rejected]


def read(*paths: str, stdin: bytes | None = None, size: int = 65_536, **spec: Any) -> Result:
    stream = None if stdin is None else io.BytesIO(stdin)
    return Result(IdReader(CsvSpec(paths, **spec), stdin=stream), size)


def error_of(*paths: str, **spec: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(*paths, **spec)
    assert caught.value.exit_code is Exit.USAGE
    return str(caught.value)


# --- paths ---------------------------------------------------------------------------------------------


def test_patterns_are_expanded_in_order_and_each_file_is_read_once(write: Write, tmp_path: Path) -> None:
    """A pattern stands for its files, sorted; a file named twice is read once; folders are passed over."""
    b, a = write("customer_id\n2\n", "b.csv"), write("customer_id\n1\n", "a.csv")
    (tmp_path / "c.csv").mkdir()
    reader = IdReader(CsvSpec((b, str(tmp_path / "*.csv"))))
    assert reader.files() == [b, a]
    assert Result(reader).ids == [2, 1]


def test_patterns_reach_into_folders(write: Write, tmp_path: Path) -> None:
    """** in a pattern goes through folders."""
    (tmp_path / "x" / "y").mkdir(parents=True)
    path = write("customer_id\n5\n", "x/y/deep.csv")
    assert IdReader(CsvSpec((str(tmp_path / "**" / "*.csv"),))).files() == [path]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(write: Write) -> None:
    """ids[1].csv is read as that file when it exists."""
    path = write("customer_id\n5\n", "ids[1].csv")
    assert read(path).ids == [5]


def test_stdin_is_read_and_left_open() -> None:
    """A dash reads stdin, compressed or not, names it <stdin>, and doesn't close it."""
    stream = io.BytesIO(gzip.compress(b"customer_id\n5\nx\n", mtime=0))
    result = Result(IdReader(CsvSpec(("-",)), stdin=stream))
    assert result.ids == [5]
    assert result.rejected == [RejectedRow("<stdin>", 3, "not a whole number in plain digits", "x")]
    assert not stream.closed


def test_stdin_stands_among_other_paths(write: Write) -> None:
    """A dash may stand beside files and keeps its place."""
    path = write("customer_id\n1\n")
    reader = IdReader(CsvSpec(("-", path)), stdin=io.BytesIO(b"customer_id\n9\n"))
    assert reader.files() == ["-", path]
    assert Result(reader).ids == [9, 1]


def test_a_pipe_that_cannot_seek_is_read() -> None:
    """Stdin may be a pipe."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as writer:
        writer.write(zstd.compress(b"customer_id\n7\n"))
    with os.fdopen(read_end, "rb") as stream:
        assert Result(IdReader(CsvSpec(("-",)), stdin=stream)).ids == [7]


def test_path_mistakes_are_told_before_any_row_is_read(write: Write, tmp_path: Path) -> None:
    """A missing file, an empty pattern and a folder are named at once, even behind a good file."""
    good = write("customer_id\n1\n")
    missing, pattern = str(tmp_path / "none.csv"), str(tmp_path / "*.tsv")
    assert f"Cannot read {missing}: No such file" in error_of(good, missing)
    assert f"No file matches the pattern {pattern}." in error_of(good, pattern)
    assert f"{tmp_path} is a directory." in error_of(good, str(tmp_path))
    assert "ids.paths is empty" in error_of()
    with pytest.raises(UsageError):
        IdReader(CsvSpec((good, missing))).files()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(write: Write) -> None:
    """A file this user may not read is told early."""
    path = write("customer_id\n1\n")
    Path(path).chmod(0)
    assert f"No permission to read {path}." in error_of(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails")
def test_an_error_of_the_disk_is_told_with_the_file() -> None:
    """An I/O error while reading is a UsageError that names the file."""
    assert "Cannot read /proc/self/mem: Input/output error." in error_of("/proc/self/mem")


# --- compression ---------------------------------------------------------------------------------------

PLAIN = b"customer_id\n387020208\n5\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv.gz", gzip.compress(PLAIN, mtime=0)),
        ("a.csv.zst", zstd.compress(PLAIN)),
        ("lies.csv", gzip.compress(PLAIN, mtime=0)),
        ("lies.csv", zstd.compress(PLAIN)),
        ("lies.csv.gz", zstd.compress(PLAIN)),
        ("lies.csv.zst", gzip.compress(PLAIN, mtime=0)),
        ("lies.csv.gz", PLAIN),
        ("lies.csv.zst", PLAIN),
        ("joined.csv.gz", gzip.compress(PLAIN[:15], mtime=0) + gzip.compress(PLAIN[15:], mtime=0)),
        ("joined.csv.zst", zstd.compress(PLAIN[:15]) + zstd.compress(PLAIN[15:])),
        ("pzstd.csv.zst", b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd.compress(PLAIN)),
        ("utf16.csv.gz", gzip.compress(PLAIN.decode().encode("utf-16"), mtime=0)),
    ],
)
def test_compression_goes_by_the_bytes(write: Write, name: str, data: bytes) -> None:
    """gzip and zstd are found by what the file holds, whatever its name says."""
    assert read(write(data, name)).ids == [387020208, 5]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.csv.gz", gzip.compress(PLAIN, mtime=0)[:-6]),
        ("cut.csv.gz", gzip.compress(PLAIN, mtime=0)[:5]),
        ("stump.csv.gz", b"\x1f"),
        ("cut.csv.zst", zstd.compress(PLAIN)[:-3]),
        ("stump.csv.zst", b"\x28\xb5"),
        ("bad_sum.csv.gz", gzip.compress(PLAIN, mtime=0)[:-8] + b"\0" * 8),
        ("garbled.csv.gz", gzip.compress(PLAIN, mtime=0)[:12] + b"\xff" * 30),
        ("garbled.csv.zst", zstd.compress(PLAIN)[:6] + b"\xff" * 30),
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(write: Write, name: str, data: bytes) -> None:
    """A truncated or garbled archive is told as such: the rest of its IDs is unknown."""
    path = write(data, name)
    assert f"{path} is damaged or cut short: " in error_of(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04\x14\0\x06\0", "a ZIP file or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"\xfd7zXZ\0\0", "an xz archive"),
        (b"BZh91AY&SY", "a bzip2 archive"),
    ],
)
def test_a_file_that_is_no_csv_is_told(write: Write, data: bytes, what: str) -> None:
    """A workbook or a foreign archive handed in by mistake is named for what it is."""
    path = write(data)
    assert f"{path} is {what}, not CSV." in error_of(path)


# --- encodings and line ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_with_a_mark_and_all_line_ends_are_read(write: Write, encoding: str, line_end: str) -> None:
    """Byte order marks tell the encoding; LF, CRLF and lone CR end a line, and each is counted once."""
    text = line_end.join(["customer_id", "1", "", "x", "3"]) + line_end
    result = read(write(text.encode(encoding)))
    assert result.ids == [1, 3]
    assert result.reasons == [(4, "not a whole number in plain digits")]


def test_utf_16_of_the_other_byte_order_is_read(write: Write) -> None:
    """A big-endian mark is honoured, and wins over the configured encoding."""
    path = write(b"\xfe\xff" + "customer_id\n12\n".encode("utf-16-be"))
    assert read(path).ids == [12]
    assert read(path, encoding="cp1252").ids == [12]


def test_an_encoding_may_be_given(write: Write) -> None:
    """A file without a mark is read in the encoding that was given."""
    path = write("größe,Müller Nr\n1,55\n".encode("cp1252"))
    assert read(path, column="Müller Nr", encoding="cp1252").ids == [55]


def test_utf_16_without_a_mark_gets_a_hint(write: Write) -> None:
    """NUL bytes between the letters of the header point to the encoding."""
    path = write("customer_id\n1\n".encode("utf-16-le"))
    assert "set the encoding to utf-16-le" in error_of(path)
    assert read(path, encoding="utf-16-le").ids == [1]


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "", "a\0b"])
def test_an_unknown_encoding_is_told(encoding: str) -> None:
    """An encoding that Python doesn't know, or that isn't for text, is a mistake in the config."""
    assert "not a known text encoding" in error_of("-", encoding=encoding)


def test_bad_bytes_cost_their_cell_only(write: Write) -> None:
    """Bytes that are not UTF-8 reject a row when they stand in the ID's cell; elsewhere they don't matter."""
    result = read(write(b"customer_id,name\n1,M\xfcller\n\xff2,x\n3,y\n"))
    assert result.ids == [1, 3]
    assert result.reasons == [(3, "bytes that are not text in the file's encoding")]
    assert result.rejected[0].raw == "\ufffd2"


# --- delimiters, quotes, blank lines -------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("given_as", ["found", "given"])
def test_delimiters_are_found_or_given(write: Write, delimiter: str, given_as: str) -> None:
    """The usual delimiters are found by the first row, and may be given."""
    path = write(delimiter.join(["name", "customer_id"]) + "\n" + delimiter.join(["Bob", "7"]) + "\n")
    assert read(path, delimiter=delimiter if given_as == "given" else None).ids == [7]


def test_the_delimiter_that_shows_the_column_is_taken(write: Write) -> None:
    """A header with more commas than semicolons is still split by what makes the wanted column appear."""
    assert read(write("last, first, title;customer_id\na, b, c;7\n")).ids == [7]
    assert read(write("7;1,50,20\n8;2,50,20\n"), column=0).ids == [7, 8]


def test_an_unusual_delimiter_may_be_given(write: Write) -> None:
    """Any single character may be the delimiter."""
    assert read(write("a^customer_id\nx^5\n"), delimiter="^").ids == [5]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_an_impossible_delimiter_is_told(delimiter: str) -> None:
    """A delimiter is one character, and not one with another meaning."""
    assert "must be one character" in error_of("-", delimiter=delimiter)


def test_quotes_hold_delimiters_and_line_ends(write: Write) -> None:
    """Quoted cells may hold delimiters, quotes and line ends; a row's line is where it starts."""
    text = 'name,customer_id\n"Smith, ""J""",1\n"a\nb\n\nc",2\n"d\ne",x\nf,"3"\n'
    result = read(write(text))
    assert result.ids == [1, 2, 3]
    assert result.reasons == [(7, "not a whole number in plain digits")]


def test_a_header_may_span_lines(write: Write) -> None:
    """A header cell with a line end inside is one cell, and lines are still counted right."""
    result = read(write('customer_id,"first\nname"\n1,a\nx,b\n'))
    assert result.ids == [1]
    assert result.reasons == [(4, "not a whole number in plain digits")]


def test_digits_on_two_lines_are_not_glued_to_one_id(write: Write) -> None:
    """A quoted cell with a line end between digits is no ID."""
    result = read(write('customer_id\n"12\n34"\n5\n'))
    assert result.ids == [5]
    assert result.rejected[0][1:] == (2, "not a whole number in plain digits", "12\n34")


@pytest.mark.parametrize("tail", ["4,Dan\n", '4,"Dan"\n', '4,"Dan\n', ""])
def test_a_stray_quote_does_not_swallow_the_rows_below(write: Write, tail: str) -> None:
    """A quote that never closes, or closes rows later, costs no other row its place."""
    result = read(write('customer_id,name\n1,"Bob\n2,Al\n3,"Carl"\n' + tail))
    assert result.ids == [1, 2, 3, 4][: 4 if tail else 3]
    assert result.rejected == []


def test_a_line_with_broken_quotes_is_never_guessed(write: Write) -> None:
    """Where quotes don't match and the cells don't count up, the row is rejected; a quoted stump is no ID."""
    result = read(write('customer_id,name\n1,"Smith, "J" x"\n"2"3,b\n4,c\n'))
    assert result.ids == [4]
    assert result.reasons == [(2, "quotes that don't match"), (3, "not a whole number in plain digits")]
    assert [row.raw for row in result.rejected] == ["1", '"2"3']


def test_blank_lines_are_no_rows(write: Write) -> None:
    """Empty lines and lines of spaces are skipped and not counted, but count as lines."""
    result = read(write("\n  \ncustomer_id\n\n1\n   \n\t\nx\n\n"))
    assert (result.ids, result.reader.read) == ([1], 2)
    assert result.reasons == [(8, "not a whole number in plain digits")]


def test_a_quoted_empty_cell_is_a_missing_id(write: Write) -> None:
    """An empty cell written as such is a row without ID, unlike a blank line."""
    assert read(write('customer_id\n""\n1\n')).reasons == [(2, "empty")]
    assert read(write("customer_id,name\n,Bob\n  ,Al\n1,C\n")).reasons == [(2, "empty"), (3, "empty")]


def test_rows_with_too_few_columns_are_rejected(write: Write) -> None:
    """A row that ends before the ID's column is rejected; one that ends after it is fine."""
    result = read(write("name,customer_id,town\nBob\nAl,1\nCy,2,Rome\n"))
    assert result.ids == [1, 2]
    assert result.rejected[0][1:] == (2, "too few columns", "")


def test_rows_with_too_many_cells_are_rejected(write: Write) -> None:
    """An unquoted comma may have moved another number into the ID's place: such a row is not trusted."""
    result = read(write("amount,customer_id\n7,50,123\n8,124\n9,125,,\n"))
    assert result.ids == [124, 125]
    assert result.rejected[0][1:] == (2, "more cells than the first row", "50")


def test_a_thousands_separator_does_not_make_another_id(write: Write) -> None:
    """1,234 in a one-column file is neither 1 nor 1234, quoted or not."""
    result = read(write('customer_id\n1,234\n"5,678"\n9\n'))
    assert result.ids == [9]
    assert [row.raw for row in result.rejected] == ["1,234", "5,678"]


def test_other_columns_stay_out_of_rejected_rows(write: Write) -> None:
    """What is kept of a rejected row is its ID cell, not the customer's name."""
    result = read(write('customer_id,name\nx,Bob\ny,Bob,z\n\n"a"b,"Bob,"c\n'))
    assert not any("Bob" in row.raw for row in result.rejected)


# --- the column and the header -------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["customer_id", 1])
@pytest.mark.parametrize("header", [None, True])
def test_a_column_goes_by_name_or_position(write: Write, column: str | int, header: bool | None) -> None:
    """The ID's column is named, or counted from 0; a header is found by itself."""
    assert read(write("name, customer_id \nBob,7\n"), column=column, header=header).ids == [7]


@pytest.mark.parametrize(
    ("text", "column", "header"),
    [
        ("1\n2\n", "customer_id", None),
        ("1\n2\n", "customer_id", False),
        ("1\n2\n", 0, None),
        ("1\n2\n", 0, False),
        ("a,1\nb,2\n", 1, None),
        ("a,1\nb,2\n", 1, False),
        ("customer_id\n1\n2\n", 0, None),
    ],
)
def test_files_without_header_work(write: Write, text: str, column: str | int, header: bool | None) -> None:
    """A first row with an ID where the ID goes is data."""
    assert read(write(text), column=column, header=header).ids == [1, 2]


@pytest.mark.parametrize("first", ["3.87E+08", "387020208.0", "0", "-5", "007", "+4"])
@pytest.mark.parametrize("column", ["customer_id", 0])
def test_a_botched_number_in_the_first_row_is_no_header(write: Write, first: str, column: str | int) -> None:
    """A first row with a bad ID is rejected, not silently taken for a header."""
    result = read(write(f"{first}\n2\n"), column=column)
    assert result.ids == [2]
    assert [row.line for row in result.rejected] == [1]


def test_a_header_that_is_told_is_skipped_even_if_it_is_a_number(write: Write) -> None:
    """header: true skips the first row, whatever it holds; header: false rejects it if it is text."""
    path = write("5\n6\n")
    assert read(path, column=0, header=True).ids == [6]
    assert read(write("id\n6\n"), column=0, header=False).reasons == [
        (1, "not a whole number in plain digits")
    ]


def test_a_missing_column_is_told_with_the_nearest(write: Write) -> None:
    """The error names the file, the wanted column, those that are there and the nearest."""
    path = write("Customer_Id,name,mail\n1,a,b\n")
    message = error_of(path)
    assert f"Column 'customer_id' is not in the header of {path};" in message
    assert "it has: 'Customer_Id', 'name', 'mail'. Did you mean 'Customer_Id'?" in message


def test_a_column_that_no_name_is_like_is_not_guessed_at(write: Write) -> None:
    """A guess far off would send the reader to a wrong column."""
    message = error_of(write("mail,city\na,b\n"))
    assert "Did you mean" not in message
    assert "Set ids.column to one of them" in message


def test_a_header_of_many_columns_is_cut_in_the_error(write: Write) -> None:
    """An error stays readable when the header is wide or its names are long."""
    message = error_of(write(",".join(f"column{n}" + "x" * 500 for n in range(100)) + "\n"))
    assert "and 70 more." in message
    assert len(message) < 4_000


def test_a_file_without_header_does_not_leak_its_first_row(write: Write) -> None:
    """When the first row looks like data, the error doesn't print the customer in it."""
    message = error_of(write("Bob Smith,387020208\nAl,2\n"))
    assert "looks like data, not a header" in message
    assert "Bob" not in message


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("a,b\n1,2\n", {"column": 5}, "Column 5 (counted from 0) is not in"),
        ("a,b\n1,2\n", {"column": 5, "header": True}, "its first row has 2 columns"),
        ("a,b\n1,2\n", {"header": False}, "has no header to look up column 'customer_id' in"),
        ("customer_id,customer_id\n1,2\n", {}, "stands twice in the header"),
        ("a\n", {"column": -1}, "positions are counted from 0"),
    ],
)
def test_a_column_that_cannot_be_found_is_told(
    write: Write, text: str, spec: dict[str, Any], message: str
) -> None:
    """Each way to miss the column has its own words."""
    assert message in error_of(write(text), **spec)


def test_a_position_beyond_the_row_rejects_rows_when_there_is_no_header(write: Write) -> None:
    """Without header each row stands for itself."""
    result = read(write("a,b\nc,d,5\ne,f,6\n"), column=2, header=False)
    assert result.ids == [5, 6]
    assert result.reasons == [(1, "too few columns")]


def test_each_file_has_its_own_layout(write: Write) -> None:
    """Files of one night may differ in delimiter, order of columns and header."""
    paths = [
        write("customer_id;a\n1;x\n", "1.csv"),
        write("a,customer_id\ny,2\n", "2.csv"),
        write("3\n", "3.csv"),
    ]
    assert read(*paths).ids == [1, 2, 3]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "customer_id\n", "customer_id", "\ufeff", "\ufeffcustomer_id\r\n"]
)
@pytest.mark.parametrize("name", ["ids.csv", "ids.csv.gz"])
def test_a_file_without_rows_is_fine(write: Write, text: str, name: str) -> None:
    """No bytes, no lines or only a header: zero rows, no batch, no error."""
    result = read(write(text, name))
    assert (result.reader.read, result.batches) == (0, [])


# --- what is an ID -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("3.87E+08", "scientific notation: a spreadsheet shortened the number"),
        ("3,87e8", "scientific notation: a spreadsheet shortened the number"),
        ("387020208.0", "decimal point"),
        (".5", "decimal point"),
        ("0", "zero"),
        ("-5", "negative"),
        ("-9223372036854775809", "negative"),
        ("+5", "leading plus sign"),
        ("007", "leading zero"),
        ("00", "leading zero"),
        ("9223372036854775808", "too large: above 9223372036854775807"),
        ("9" * 5_000, "too large: above 9223372036854775807"),
        ("٣٨٧", "digits other than 0-9"),
        ("12٣", "digits other than 0-9"),
        ("５", "digits other than 0-9"),
        ("5\0", "NUL byte"),
        ("../x", "not a whole number in plain digits"),
        ("1,234", "not a whole number in plain digits"),
        ("1 234", "not a whole number in plain digits"),
        ("1_234", "not a whole number in plain digits"),
        ("0x1F", "not a whole number in plain digits"),
        ("=387", "not a whole number in plain digits"),
        ("5²", "not a whole number in plain digits"),
        ("NaN", "not a whole number in plain digits"),
        ("1e", "not a whole number in plain digits"),
        (".", "not a whole number in plain digits"),
        ("-", "not a whole number in plain digits"),
    ],
)
def test_what_is_no_id_is_rejected_with_its_reason(write: Write, cell: str, reason: str) -> None:
    """Each kind of non-ID has its reason, the line it is on, and its text cut at 200 characters."""
    path = write(f'customer_id,name\n1,a\n"{cell}",b\n2,c\n')
    result = read(path)
    assert result.ids == [1, 2]
    assert result.rejected == [RejectedRow(path, 3, reason, cell[:200])]


def test_ids_are_trimmed_and_reach_to_the_last_int64(write: Write) -> None:
    """Spaces around an ID don't matter, not even unbreakable ones; 2^63 - 1 is an ID."""
    result = read(write("customer_id\n 1\n2 \n\t3\n\u00a04\u00a0\n9223372036854775807\n"))
    assert result.ids == [1, 2, 3, 4, 2**63 - 1]


def test_repeats_are_asked_once_in_order_of_their_first_place(write: Write) -> None:
    """An ID is given once: within a batch, between batches and between files."""
    paths = [write("customer_id\n5\n3\n5\n9\n3\n", "1.csv"), write("customer_id\n9\n1\n5\n", "2.csv")]
    for size in (1, 2, 65_536):
        result = read(*paths, size=size)
        assert result.ids == [5, 3, 9, 1]
        assert (result.reader.read, result.reader.repeated) == (8, 4)


# --- batches and sizes ---------------------------------------------------------------------------------


def test_batches_hold_at_most_their_size(write: Write) -> None:
    """No batch stands for more rows than asked for, and the IDs are an int64 array."""
    result = read(write("customer_id\n" + "".join(f"{n}\n" for n in range(1, 1001))), size=300)
    assert [len(batch.ids) for batch in result.batches] == [300, 300, 300, 100]
    assert result.batches[0] == IdBatch(array("q", range(1, 301)), [])
    assert "must be above 0" in error_of("-", size=0)


def test_counts_hold_after_each_batch(write: Write) -> None:
    """A night that stops in the middle still has counts that add up."""
    path = write("customer_id\n" + "".join(f"{n % 7}\n" for n in range(100)))
    reader = IdReader(CsvSpec((path,)))
    for _ in reader.batches(10):
        assert reader.read == len(reader.distinct) + reader.repeated + reader.rejected
    assert reader.read == 100


def test_a_reader_may_be_left_early(write: Write) -> None:
    """Closing the stream of batches closes the file (a warning would fail this test)."""
    batches = IdReader(CsvSpec((write("customer_id\n1\n2\n"),))).batches(1)
    assert list(next(batches).ids) == [1]
    del batches


def test_lines_are_counted_across_blocks(write: Write) -> None:
    """A file of several blocks, with records across their edges, gives every ID and the right lines."""
    rows = [f'{n},"name {n}\nline two, {"x" * 90}"' for n in range(1, 25_001)]
    rows[20_000] = rows[20_000].replace("20001,", "bad,", 1)
    text = "customer_id,name\n" + "\n".join(rows) + "\n"
    assert len(text) > 2 * BLOCK_BYTES
    result = read(write(text))
    assert result.ids == [n for n in range(1, 25_001) if n != 20_001]
    assert result.reasons == [(2 + 2 * 20_000, "not a whole number in plain digits")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_single_lines_are_counted_across_blocks(write: Write, line_end: str) -> None:
    """The edge of a block splits no ID and no line end."""
    cells = [str(n) for n in range(1, 300_001)]
    cells[250_000] = "bad"
    result = read(write(line_end.join(["customer_id", *cells]) + line_end))
    assert len(result.ids) == 299_999
    assert result.reasons == [(250_002, "not a whole number in plain digits")]


@pytest.mark.parametrize(
    "field",
    [
        "x" * 200_000,
        '"' + "x" * 200_000 + '"',
        '"' + "x\n" * 200_000 + '"',
        "x" * (3 * LINE_CHARS),
        "\0" * 2_000_000,
    ],
)
@pytest.mark.parametrize("header", ["customer_id", "customer_id,name"])
def test_a_gigantic_field_is_rejected_and_the_night_goes_on(write: Write, header: str, field: str) -> None:
    """A field beyond all measure costs its own lines, not the IDs around it, nor the memory."""
    result = read(write(f"{header}\n1\n{field}\n2\n"))
    assert result.ids == [1, 2]
    assert result.rejected[0].line == 3
    assert all(len(row.raw) <= 200 for row in result.rejected)


def test_a_gigantic_line_keeps_the_count_of_lines(write: Write) -> None:
    """After a line that wasn't read to its end, lines are still numbered right, open quote or not."""
    long = "y" * (2 * LINE_CHARS + 5)
    result = read(write(f'customer_id,a\n1,b\n2,"c\n{long}\nx,d\n3,e\n'))
    assert result.ids == [1, 2, 3]
    assert result.reasons == [(4, "field or line too long"), (5, "not a whole number in plain digits")]


def test_a_first_line_without_end_is_told_or_rejected(write: Write) -> None:
    """A file that is one endless line is an error by name, and one rejected row by position."""
    path = write("z" * (3 * LINE_CHARS))
    assert "Column 'customer_id' is not in the header" in error_of(path)
    assert read(path, column=0).reasons == [(1, "field or line too long")]


def test_millions_of_dense_ids_stay_small(write: Write) -> None:
    """Five million IDs in a row need less than a megabyte to be remembered."""
    reader = IdReader(CsvSpec((write("unused"),)))
    for start in range(1, 5_000_001, 500_000):
        new = reader._first_seen(array("q", range(start, start + 500_000)))
        assert len(new) == 500_000
    assert len(reader.distinct) == 5_000_000
    assert len(reader.distinct.serialize()) < 1_000_000


# --- for any cells -------------------------------------------------------------------------------------

NUMBERS = st.integers(-(2**64), 2**64).map(str) | st.integers(0, 30).map(str)
ODD_NUMBERS = st.from_regex(r"[ ]?[+-]?0?[0-9]{0,21}([.,eE_][0-9]*)?[ ]?", fullmatch=True)
CELLS = NUMBERS | ODD_NUMBERS | st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(CELLS, max_size=30), wide=st.booleans(), size=st.integers(1, 8))
def test_every_row_is_accounted_for(cells: list[str], wide: bool, size: int) -> None:
    """Whatever the cells: each row is distinct, repeated or rejected, and the IDs are just the valid ones."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([c, "name"][: 1 + wide] for c in ["customer_id", *cells])
    result = read("-", stdin=text.getvalue().encode(), size=size)
    stripped = [cell.strip() for cell in cells]
    wanted = [int(c) for c in stripped if re.fullmatch("[1-9][0-9]*", c) and int(c) < 2**63]
    blank = 0 if wide else sum(cell.isspace() for cell in cells)
    assert result.ids == list(dict.fromkeys(wanted))
    assert sorted(result.reader.distinct) == sorted(set(wanted))
    assert result.reader.repeated == len(wanted) - len(set(wanted))
    assert result.reader.read in range(len(cells) - blank, len(cells) + 1)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300) | st.text('"1,;\n\r x').map(str.encode), column=st.sampled_from([0, 1]))
def test_any_bytes_are_read_or_refused_in_our_words(data: bytes, column: int) -> None:
    """Nothing that may stand in a file crashes the reader: it counts up, or it is a UsageError."""
    try:
        read("-", stdin=b"1,2\n" + data, column=column)
        read("-", stdin=data, column=column)
    except UsageError as error:
        assert "<stdin>" in str(error)


def test_odd_white_space_around_an_id_is_trimmed(tmp_path: Path) -> None:
    """A file separator (U+001C) is white space to Python's strip, though not to its int."""
    path = tmp_path / "ids.csv"
    path.write_bytes(b"customer_id,x\n\x1c5,1\n6\x1c,2\n")
    assert next(IdReader(CsvSpec((str(path),))).batches()).ids.tolist() == [5, 6]
