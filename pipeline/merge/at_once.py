"""Batches into records in one call each: the same as `columns` does column by column, by the library."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.merge import columns as kinds
from pipeline.merge.columns import Codes, Column, Texts, only_at
from pipeline.merge.records.coder import EMPTY, LEFT_ALONE, TEXT, Coder
from pipeline.merge.rows import Beside, Rows, Values

Batches = Sequence[pa.RecordBatch]
Records = npt.NDArray[Any]


class AtOnce:
    """Codes a table's batches. The rules of vocabularies are those of `Texts`."""

    def __init__(self, library: ctypes.CDLL, columns: Sequence[Column], dtype: np.dtype[Any]) -> None:
        self._columns = columns
        self._coder = Coder(library, dtype, [(one.name, one.native) for one in columns])
        self._which = np.arange(len(columns), dtype=np.int32)  # EMPTY: closed, all of it lies beside
        self._texts = [place for place, one in enumerate(columns) if one.native == TEXT]
        self._new = set(self._texts)  # had no text so far
        for place in self._texts:
            column = columns[place]
            assert isinstance(column, Texts)
            column.are_coded_by(self._coder, place)

    def code(self, batches: Batches, records: Records) -> Beside:
        """Write batches, one behind the other; gives what lies beside."""
        whole = self._which == EMPTY  # these lie beside, all of them
        odd = self._written(batches, records, self._which)
        for place in sorted(self._new):
            whole[place] = not self._meet(place, batches, records, odd)
        for place in self._texts:
            if odd[place] and self._coder.words(place).is_closed:
                self._which[place] = EMPTY
        return dict(self._beside(batches, records, odd, whole))

    def codes(self, rows: Rows) -> list[Codes]:
        """The columns of some rows, each in memory of its own."""
        return self._coder.split(rows.records)

    def _written(
        self, batches: Batches, records: Records, which: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        odd, start = np.zeros(len(self._columns), np.int64), 0
        for batch in batches:
            stop = start + batch.num_rows
            odd += self._coder.code(batch, which, records[start:stop])
            start = stop
        return odd

    def _meet(self, place: int, batches: Batches, records: Records, odd: npt.NDArray[np.int64]) -> bool:
        """A column's first texts were taken without limits: now it is clear whether they are words, and which.

        False where it is a column of texts that hardly repeat themselves.
        """
        words = self._coder.words(place)
        if not words.number:
            return True
        self._new.remove(place)
        if words.number > max(kinds.FEW_WORDS, len(records) // 3):
            self._coder.forget(place)
            self._which[place] = EMPTY
            records[self._columns[place].name] = Texts.nothing
            return False
        fits = words.number <= kinds.MOST_WORDS and words.characters <= kinds.MOST_LETTERS
        if not fits:
            self._coder.forget(place)
        self._coder.limit(place, kinds.MOST_WORDS, kinds.MOST_LETTERS)
        if not fits:
            alone = np.full_like(self._which, LEFT_ALONE)
            alone[place] = place
            odd[place] = self._written(batches, records, alone)[place]
        return True

    def _beside(
        self,
        batches: Batches,
        records: Records,
        odd: npt.NDArray[np.int64],
        whole: npt.NDArray[np.bool_],
    ) -> Iterator[tuple[str, Values]]:
        for place, column in enumerate(self._columns):
            is_whole = not column.dtype or whole[place]
            if not is_whole and not odd[place]:
                continue
            values: Any = pa.concat_arrays([batch.column(place) for batch in batches])
            if values.null_count < len(values):
                yield column.name, values if is_whole else _odd_ones(values, column, records)


def _odd_ones(values: Values, column: Column, records: Records) -> Values:
    return only_at(values, records[column.name] == column.nothing)
