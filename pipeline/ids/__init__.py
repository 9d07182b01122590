"""Customer IDs out of CSV files, in constant memory, each asked for once.

The journey of a byte: opened → byte_blocks → text_blocks → line_blocks → row_blocks → IdReader.batches.
An ID is a positive int64 in plain decimal digits. Every other row is rejected, with its line and a reason.
Where the CSV holds mobiles, e-mails or other identifiers instead (`CsvSpec.identifier`), each stands for a key: a
negative int64 made from its text, so that everything behind the reader can count and order them like IDs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from pipeline.errors import UsageError
from pipeline.ids.layout import laid_out_rows
from pipeline.ids.records import Layout, Rows
from pipeline.ids.sift import RejectedRow, key_of, plain_ids, sift, sift_identifiers
from pipeline.ids.spec import CsvSpec, check_column, check_delimiter, check_encoding
from pipeline.ids.streams import (
    BLOCK_BYTES,
    LINE_CHARS,
    STDIN,
    STDIN_NAME,
    byte_blocks,
    check_readable,
    expand,
    line_blocks,
    opened,
    text_blocks,
)

__all__ = ["BLOCK_BYTES", "LINE_CHARS", "CsvSpec", "IdBatch", "IdReader", "RejectedRow", "key_of"]


BATCH_ROWS = 65_536


class IdBatch(NamedTuple):
    """What some rows held: IDs not seen before, in the order of the input, and the rows without one.

    `texts` are the identifiers that the IDs stand for, one each; empty where the CSV holds customer IDs.
    """

    ids: array[int]
    rejected: list[RejectedRow]
    texts: list[str] = []  # noqa: RUF012 - never changed


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

    def which_are_listed(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these, all positive, have been read so far."""
        missing = BitMap64(array("Q", ids.tobytes())) - self.distinct
        return (
            np.array([one not in missing for one in ids.tolist()], bool)
            if missing
            else np.ones(len(ids), bool)
        )

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
