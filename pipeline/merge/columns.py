"""The columns of a table by their kinds: how their values stand in records, and come back.

What stands there is the column's `codes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.merge.records.coder import AMOUNT, BESIDE, FLAG, NUMBER4, NUMBER8, TEXT, Coder
from pipeline.merge.rows import Rows, Values

MOST_WORDS = 16_384
"""A vocabulary takes no more words, and the next texts lie beside the records."""
MOST_LETTERS = 1 << 20
"""Nor more characters of text than these, about."""
FEW_WORDS = 256
"""Among the first texts, however many these are; of more than every third a word, a column has none."""
_WORD = np.dtype("<u2")

Codes = Any
"""A column's values as they stand in records: an array of numpy's, of the column's `dtype`."""


class Column:
    """A column of a kind that has no place in records: all of it lies beside."""

    dtype: np.dtype[Any] | None = None
    nothing: int = 0  # stands in records where no value is
    native: int = BESIDE  # which kind it is to the library

    def __init__(self, field: pa.Field[Any]) -> None:
        self.name: str = field.name
        self.kind: Any = field.type

    def leave_empty(self, records: npt.NDArray[Any]) -> None:
        """Write null into all records."""
        if self.dtype:
            records[self.name] = self.nothing

    def code(self, values: Values, records: npt.NDArray[Any]) -> Values | None:
        """Write values, not all of them null, into the records; gives those that have no place there, with null for
        the others.
        """
        del records
        return values

    def codes(self, rows: Rows) -> Codes:
        """The column of some rows: a copy, whatever becomes of them."""
        return rows.records[self.name].copy() if self.dtype else np.zeros(len(rows), np.bool_)

    def plain(self, codes: Codes, beside: Values | None) -> Values:
        """The values as Arrow has them."""
        return beside if beside is not None else pa.nulls(len(codes), self.kind)


class Numbers(Column):
    """Whole numbers, moments, dates. The smallest of all stands for null, or for itself where it lies beside."""

    def __init__(self, field: pa.Field[Any]) -> None:
        super().__init__(field)
        self.dtype: np.dtype[Any] = np.dtype(f"<i{field.type.bit_width // 8}")
        self.integer: Any = pa.int64() if self.dtype.itemsize == 8 else pa.int32()
        self.nothing = np.iinfo(self.dtype).min
        self.native = NUMBER8 if self.dtype.itemsize == 8 else NUMBER4

    def code(self, values: Values, records: npt.NDArray[Any]) -> Values | None:
        into = records[self.name]
        integers = values.view(self.integer)
        filled = integers.fill_null(self.nothing) if values.null_count else integers
        into[:] = numbers = filled.to_numpy()
        is_odd = numbers == self.nothing
        if np.count_nonzero(is_odd) == values.null_count:
            return None
        return only_at(values, is_odd)

    def plain(self, codes: Codes, beside: Values | None) -> Values:
        values = as_array(self.kind, codes, self.nothing, self._buffer(codes))
        return values if beside is None else pc.coalesce(beside, values)

    def _buffer(self, codes: Codes) -> pa.Buffer:
        return pa.py_buffer(codes)


class Amounts(Numbers):
    """Decimals, as whole numbers of their smallest unit. Of more than eight bytes, they lie beside."""

    native = AMOUNT

    def __init__(self, field: pa.Field[Any]) -> None:
        Column.__init__(self, field)
        self.dtype, self.integer = np.dtype("<i8"), pa.int64()
        self.nothing = np.iinfo(self.dtype).min

    def code(self, values: Values, records: npt.NDArray[Any]) -> Values | None:
        into = records[self.name]
        halves: Any = np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)
        low, high = halves[values.offset : values.offset + len(values)].T
        is_odd = (high != low >> 63) | (low == self.nothing)
        if values.null_count:
            is_null = values.is_null().to_numpy(zero_copy_only=False)
            into[:] = np.where(is_null | is_odd, self.nothing, low)
            is_odd &= ~is_null
        elif is_odd.any():
            into[:] = np.where(is_odd, self.nothing, low)
        else:
            into[:] = low
        return only_at(values, is_odd) if is_odd.any() else None

    def _buffer(self, codes: Codes) -> pa.Buffer:
        halves: Any = np.empty((len(codes), 2), np.int64)
        halves[:, 0] = codes
        np.right_shift(codes, 63, out=halves[:, 1])
        return pa.py_buffer(halves)


class Flags(Numbers):
    """Yes, no or null, in a byte."""

    native = FLAG

    def __init__(self, field: pa.Field[Any]) -> None:
        Column.__init__(self, field)
        self.dtype, self.integer = np.dtype("i1"), pa.int8()
        self.nothing = -1

    def code(self, values: Values, records: npt.NDArray[Any]) -> Values | None:
        flags: Any = values.cast(pa.int8())
        records[self.name][:] = flags.fill_null(self.nothing).to_numpy()
        return None

    def _buffer(self, codes: Codes) -> pa.Buffer:
        return _bitmap(codes == 1)


class Texts(Column):
    """Texts, as numbers of words. A column of texts that hardly repeat themselves has no vocabulary."""

    nothing = np.iinfo(_WORD).max
    native = TEXT

    def __init__(self, field: pa.Field[Any]) -> None:
        super().__init__(field)
        self.dtype: np.dtype[Any] = _WORD
        self._numbers: dict[str | None, int] = {}
        self._letters = 0
        self._words: Values = pa.array([], self.kind)
        self._is_closed = False  # no more words are taken, and nothing is looked up
        self._coder: Coder | None = None  # has the words, where it codes them
        self._place = 0

    def code(self, values: Values, records: npt.NDArray[Any]) -> Values | None:
        into = records[self.name]
        if self._is_closed:
            self.leave_empty(records)
            return values
        encoded: Any = values.dictionary_encode()
        distinct = encoded.dictionary
        if not self._numbers and len(distinct) > max(FEW_WORDS, len(values) // 3):
            self._is_closed = True
            return self.code(values, records)
        numbers = self._numbered(distinct)
        indices = encoded.indices.fill_null(len(distinct)) if encoded.null_count else encoded.indices
        into[:] = numbers.take(indices.to_numpy())
        has_all = numbers[:-1].max() < self.nothing
        return None if has_all else only_at(values, into == self.nothing)

    def _numbered(self, distinct: Values) -> Codes:
        """The numbers of these texts, and behind them that of null. New ones become words while there is room."""
        known = self._numbers
        numbers = np.empty(len(distinct) + 1, _WORD)
        numbers[-1] = self.nothing
        for at, text in enumerate(distinct.to_pylist()):
            number = known.get(text)
            if number is None:
                number = self._new(text)
            numbers[at] = number
        return numbers

    def _new(self, text: Any) -> int:
        self._letters += len(text)
        self._is_closed |= len(self._numbers) >= MOST_WORDS or self._letters > MOST_LETTERS
        if self._is_closed:
            return int(self.nothing)
        return self._numbers.setdefault(text, len(self._numbers))

    def are_coded_by(self, coder: Coder, place: int) -> None:
        """From now on the words are the coder's, of the column at this place."""
        self._coder, self._place = coder, place

    @property
    def words(self) -> Values:
        """The vocabulary, by number."""
        if self._coder is not None:
            if len(self._words) < self._coder.words(self._place).number:
                self._words = self._coder.texts(self._place)
        elif len(self._words) < len(self._numbers):
            self._words = pa.array(list(self._numbers), self.kind)
        return self._words

    def plain(self, codes: Codes, beside: Values | None) -> Values:
        if beside is not None and not beside.null_count:
            return beside
        values = self.words.take(as_array(pa.uint16(), codes, self.nothing))
        return values if beside is None else pc.coalesce(beside, values)


def column_of(field: pa.Field[Any]) -> Any:
    kind = field.type
    if pa.types.is_boolean(kind):
        return Flags(field)
    if pa.types.is_string(kind):
        return Texts(field)
    if pa.types.is_decimal128(kind):
        return Amounts(field)
    is_number = pa.types.is_signed_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind)
    return Numbers(field) if is_number and kind.bit_width >= 32 else Column(field)


def only_at(values: Values, wanted: npt.NDArray[np.bool_]) -> Values:
    """The values where `wanted` is true, null elsewhere."""
    kept: Values = pc.if_else(pa.array(wanted), values, pa.scalar(None, values.type))
    return kept


def as_array(kind: Any, codes: Codes, nothing: int, buffer: pa.Buffer | None = None) -> Values:
    """An Arrow array over the same memory, or that of `buffer`; null where `nothing` stands."""
    is_null = codes == nothing
    nulls = int(np.count_nonzero(is_null))
    validity = _bitmap(~is_null) if nulls else None
    return pa.Array.from_buffers(kind, len(codes), [validity, buffer or pa.py_buffer(codes)], nulls)


def _bitmap(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    bits: Any = np.packbits(flags, bitorder="little")
    return pa.py_buffer(bits)
