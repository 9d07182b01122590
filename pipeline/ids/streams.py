"""Bytes to lines: files and stdin, decompressed, decoded, in blocks of bounded size."""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.errors import UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


BLOCK_BYTES = 1 << 20
LINE_CHARS = BLOCK_BYTES  # a longer line or quoted record isn't read to its end; line_blocks needs >= a block
STDIN = "-"
STDIN_NAME = "<stdin>"
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
