"""A table's columns, as the library writes them into records."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BESIDE, NUMBER4, NUMBER8, AMOUNT, FLAG, TEXT = range(6)
"""Kinds of columns; those BESIDE have no place in records."""
EMPTY, LEFT_ALONE = -1, -2
"""For a column: null is written, or nothing at all."""
_ARROW_ARRAY_BYTES = 80  # of the struct of Arrow's C data interface


class Words(NamedTuple):
    """A column's vocabulary."""

    number: int
    characters: int  # with those of the text that there was no room for
    is_closed: bool
    ends_at: int
    letters_at: int


class Coder:
    """Writes batches of a table into records, and has the words of its texts. Belongs to one thread at a time."""

    def __init__(
        self, library: ctypes.CDLL, dtype: np.dtype[Any], columns: Sequence[tuple[str, int]]
    ) -> None:
        """`columns`: name and kind of each, in the order of the batches'."""
        fields: Any = dtype.fields
        places = [(kind, fields[name][1] if kind != BESIDE else 0) for name, kind in columns]
        told = np.array(places, np.int32).ravel()
        self._library = library
        self._count = len(columns)
        self._fields = [dtype[name] if kind != BESIDE else None for name, kind in columns]
        self._coder = library.records_new(told.ctypes.data, len(columns), dtype.itemsize)
        if not self._coder:
            raise MemoryError
        self._exported = np.zeros(_ARROW_ARRAY_BYTES, np.uint8)

    def __del__(self) -> None:
        if getattr(self, "_coder", None):
            self._library.records_free(self._coder)

    def code(
        self, batch: pa.RecordBatch, columns: npt.NDArray[np.int32], records: npt.NDArray[Any]
    ) -> npt.NDArray[np.int64]:
        """Write a batch. `columns` says by column which of the batch's it is, EMPTY or LEFT_ALONE.

        Gives by column how many values have no place in the records.
        """
        odd = np.empty(self._count, np.int64)
        exported: Any = batch
        exported._export_to_c(self._exported.ctypes.data)
        told = (self._exported, columns, records, odd)
        if not self._library.records_code(self._coder, *(one.ctypes.data for one in told)):
            raise MemoryError
        return odd

    def split(self, records: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The records' fields by column, each in memory of its own; of a column that lies beside nothing is true."""
        codes = [
            np.empty(len(records), kind) if kind else np.zeros(len(records), bool) for kind in self._fields
        ]
        starts = np.array([one.ctypes.data for one in codes], np.uint64)
        self._library.records_split(self._coder, records.ctypes.data, len(records), starts.ctypes.data)
        return codes

    def forget(self, column: int) -> None:
        """Its words, and their limits."""
        self._library.records_forget(self._coder, column)

    def limit(self, column: int, words: int, characters: int) -> None:
        """From now on it takes no more words than so many, nor of more characters."""
        self._library.records_limit(self._coder, column, words, characters)

    def words(self, column: int) -> Words:
        """What it has by now."""
        told = (ctypes.c_int64 * 5)()
        self._library.records_words(self._coder, column, told)
        count, characters, is_closed, ends_at, letters_at = told
        return Words(count, characters, bool(is_closed), ends_at, letters_at)

    def texts(self, column: int) -> pa.Array[Any]:
        """The words, by number."""
        count, _, _, ends_at, letters_at = self.words(column)
        if not count:
            return pa.array([], pa.string())
        ends = np.frombuffer(ctypes.string_at(ends_at, 8 * (count + 1)), np.int64)
        letters = ctypes.string_at(letters_at, int(ends[-1])) if ends[-1] else b""
        narrow: Any = ends.astype(np.int32)
        buffers = [None, pa.py_buffer(narrow), pa.py_buffer(letters)]
        return pa.Array.from_buffers(pa.string(), count, buffers)
