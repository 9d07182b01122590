"""Where the IDs are, as the config says it; checked before any row is read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from pipeline.errors import UsageError


@dataclass(frozen=True)
class CsvSpec:
    """Where the IDs are. None means: look at the file."""

    paths: tuple[str, ...]  # paths, glob patterns, "-" for stdin
    column: str | int = "customer_id"  # name, or position from 0
    delimiter: str | None = None
    header: bool | None = None
    encoding: str | None = None  # a byte order mark in the file wins
    identifier: str | None = None  # what the cells are: mobile, email, externalId, …; None: customer IDs


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
