"""Rows that wait for their row group, in a fraction of their memory.

A row group is written at once, so all of its rows have to be there. In Arrow's memory they take many times what they
take in the file: sixteen bytes for every amount, zero or null, the text of every tier. So rows wait as columns of
codes, and of numbers that repeat themselves as a dictionary and small numbers, which the Parquet writer turns back
column by column, or writes as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.merge.coding import Coding
from pipeline.merge.columns import Codes, Column, Flags, Numbers, Texts, as_array
from pipeline.merge.records.distinct import distinct_in
from pipeline.merge.records.library import records_library
from pipeline.merge.rows import Rows, beside_of

LOT_ROWS = 32_768
"""So many rows are packed at once, at the most."""
LOT_BYTES = 4 << 20
"""So many bytes of rows are packed at once, about."""
LOOSE_BYTES = 8 << 20
"""Fewer bytes of rows than these wait as they are."""
LOOKED_AT_ROWS = 8_192
"""From so many first rows follows which columns repeat themselves."""
_SMALL = 64  # distinct values among the first rows for which numbers of one byte will do
_PACKED_SHARE, _REPEATED_SHARE = 0.33, 0.67  # of distinct values among the first rows, at the most


class Packing:
    """The waiting rows of one file. Which columns are packed is decided once, by the first rows, and holds for it.

    So what is written depends on the rows alone.
    """

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._schema = coding.schema
        self._columns = [_waiting(column) for column in coding.columns]
        self._is_packing: bool | None = None  # None: no row group and no lot so far
        self._loose_bytes = self._packed_bytes = 0
        self.rows = 0

    @property
    def schema(self) -> pa.Schema:
        """Of the packed rows; columns as dictionaries, where they are packed."""
        kinds = [column.kind for column in self._columns]
        fields = [field.with_type(kind) for field, kind in zip(self._schema, kinds, strict=True)]
        return pa.schema(fields).with_metadata(self._schema.metadata)

    @property
    def repeating(self) -> list[str]:
        """The columns that a dictionary in the file makes smaller. Building one that is given up costs tens of MB.

        Customers come sorted: zstd makes less of their IDs than of numbers that point at them.
        """
        return [
            column.name
            for column in self._columns
            if column.share <= _REPEATED_SHARE and column.name != "customer_id"
        ]

    @property
    def bytes(self) -> int:
        """What the waiting rows take in memory."""
        return self._loose_bytes + self._packed_bytes

    def add(self, rows: Rows) -> None:
        """More rows."""
        self.rows += len(rows)
        self._loose_bytes += rows.nbytes
        for column, codes in zip(self._columns, self._coding.codes(rows), strict=True):
            column.add(codes, rows.beside.get(column.name))
        if self._loose_bytes >= (LOT_BYTES if self._is_packing else LOOSE_BYTES):
            self._pack()

    def table(self) -> pa.Table:
        """All waiting rows."""
        self._settle(is_packing=False)
        return pa.Table.from_arrays([column.values() for column in self._columns], schema=self.schema)

    def drained(self) -> pa.Table:
        """All waiting rows, which wait no longer."""
        self._settle(is_packing=False)
        self._loose_bytes = self._packed_bytes = self.rows = 0
        return pa.Table.from_arrays([column.drained() for column in self._columns], schema=self.schema)

    def _pack(self) -> None:
        self._settle(is_packing=True)
        if self._is_packing:
            self._loose_bytes = 0
            self._packed_bytes += sum(column.pack() for column in self._columns)

    def _settle(self, *, is_packing: bool) -> None:
        if self._is_packing is None:
            self._is_packing = is_packing
            for column in self._columns:
                column.settle(is_packing)


Piece = tuple[Codes, Any]
"""Some of a column's values, and what lies beside them, if anything does."""


def _waiting(column: Column) -> _Waiting:
    if isinstance(column, Texts):
        return _WaitingTexts(column)
    is_number = isinstance(column, Numbers) and not isinstance(column, Flags)
    return _WaitingNumbers(column) if is_number else _Waiting(column)


class _Waiting:
    """A column's waiting values, as codes."""

    def __init__(self, column: Column) -> None:
        self.name = column.name
        self.kind: Any = column.kind
        self._column: Any = column
        self.share = 1.0  # of distinct values among the first rows
        self._is_packed = False
        self._pieces: list[Piece] = []
        self._counted = 0  # of them, in what `pack` told

    def add(self, codes: Codes, beside: Any) -> None:
        """More values, and what lies beside them, if anything does."""
        self._pieces.append((codes, beside))

    def settle(self, is_packing: bool) -> None:
        """Look at the first values, and decide by them in what form the column is written."""
        del is_packing
        codes, beside = self._joined(_first(self._pieces, LOOKED_AT_ROWS))
        values = pa.array(codes) if beside is None else self._column.plain(codes, beside)
        self.share = len(values.unique()) / max(1, len(codes))

    def pack(self) -> int:
        """Take less memory for what came since the last time, where that is possible; gives how many bytes it is.

        At the least in one piece: small ones of all columns lie mixed, and each column that goes would leave holes in
        which nothing else has room.
        """
        new = self._pieces[self._counted :]
        if new:
            self._pieces[self._counted :] = [self._joined(new)]
            self._counted = len(self._pieces)
        return sum(codes.nbytes + (0 if beside is None else beside.nbytes) for codes, beside in new)

    def values(self) -> Any:
        """All values, as they are written."""
        return self._written(iter(self._pieces))

    def drained(self) -> Any:
        """All values, which wait no longer: each piece goes when it is written."""
        pieces, self._pieces, self._counted = self._pieces[::-1], [], 0
        return self._written(pieces.pop() for _ in range(len(pieces)))

    def _written(self, pieces: Iterator[Piece]) -> Any:
        lots = [self._column.plain(*lot) for lot in self._lots(pieces)]
        return pa.chunked_array(lots, self._column.kind)

    def _lots(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The same values, LOT_ROWS at a time, however they came: the pages of a file follow from these."""
        gathered: list[Piece] = []
        room = LOT_ROWS
        for codes, beside in pieces:
            start = 0
            while len(codes) - start >= room:
                gathered.append(_cut(codes, beside, start, start + room))
                yield self._joined(gathered)
                gathered, start, room = [], start + room, LOT_ROWS
            gathered.append(_cut(codes, beside, start, len(codes)))
            room -= len(codes) - start
        if room < LOT_ROWS:
            yield self._joined(gathered)

    def _joined(self, pieces: list[Piece]) -> Piece:
        if len(pieces) < 2:
            return pieces[0] if pieces else (np.zeros(0, self._column.dtype or np.bool_), None)
        beside = beside_of([(len(codes), {} if one is None else {"": one}) for codes, one in pieces])
        return np.concatenate([codes for codes, _ in pieces]), beside.get("")


def _cut(codes: Codes, beside: Any, start: int, stop: int) -> Piece:
    return codes[start:stop], None if beside is None else beside[start:stop]


def _first(pieces: list[Piece], most: int) -> list[Piece]:
    found: list[Piece] = []
    for codes, beside in pieces:
        if most > 0:
            found.append(_cut(codes, beside, 0, most))
            most -= len(codes)
    return found


class _WaitingNumbers(_Waiting):
    """Amounts, moments, IDs: a dictionary for each lot; for each half of it, where its numbers are too small."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._packed: list[Any] = []

    def settle(self, is_packing: bool) -> None:
        super().settle(is_packing)
        if is_packing and self.share <= _PACKED_SHARE:
            self._is_packed = True
            self.kind = pa.dictionary(
                pa.int8() if self.share * LOOKED_AT_ROWS <= _SMALL else pa.int16(), self.kind
            )

    def pack(self) -> int:
        if not self._is_packed:
            return super().pack()
        pieces, self._pieces, before = self._pieces, [], len(self._packed)
        for codes, beside in self._lots(iter(pieces)):
            self._packed += self._encoded(codes, beside)
        return sum(lot.indices.nbytes + lot.dictionary.nbytes for lot in self._packed[before:])

    def _encoded(self, codes: Codes, beside: Any) -> Iterator[Any]:
        if beside is not None:
            yield from _encoded(self._column.plain(codes, beside), self.kind)
            return
        library = records_library()
        if library is not None:
            yield from self._encoded_at_once(library, codes)
            return
        for lot in _encoded(as_array(self._column.integer, codes, self._column.nothing), self.kind):
            values = self._column.plain(lot.dictionary.to_numpy(), None)
            yield pa.DictionaryArray.from_arrays(lot.indices, values)

    def _encoded_at_once(self, library: ctypes.CDLL, codes: Codes) -> Iterator[Any]:
        """The same as `_encoded`."""
        index, nothing, half = self.kind.index_type, self._column.nothing, len(codes) // 2
        found = distinct_in(library, codes, nothing, 1 << index.bit_width - 1)
        if found is None:
            yield from self._encoded_at_once(library, codes[:half])
            yield from self._encoded_at_once(library, codes[half:])
            return
        narrow: Any = found.indices.astype(index.to_pandas_dtype(), copy=False)
        indices = as_array(index, codes, nothing, pa.py_buffer(narrow))
        yield pa.DictionaryArray.from_arrays(indices, self._column.plain(found.numbers, None), safe=False)

    def values(self) -> Any:
        if not self._is_packed:
            return super().values()
        self.pack()
        return pa.chunked_array(self._packed, self.kind)

    def drained(self) -> Any:
        if not self._is_packed:
            return super().drained()
        values, self._packed = self.values(), []
        return values


class _WaitingTexts(_Waiting):
    """Texts that repeat themselves are written as a dictionary, one for all of a row group, because the Parquet writer
    takes it as it is, and gives it up at a second one. It has the words in the order of the rows.
    """

    def settle(self, is_packing: bool) -> None:
        super().settle(is_packing)
        if self.share <= _PACKED_SHARE:
            self._is_packed = True
            self.kind = pa.dictionary(pa.uint16(), self.kind)

    def _written(self, pieces: Iterator[Piece]) -> Any:
        if not self._is_packed:
            return super()._written(pieces)
        lots = list(self._lots(pieces))
        if any(beside is not None for _, beside in lots):
            encoded = list(_encoded(self._column.plain(*self._joined(lots)), self.kind))
            return pa.chunked_array(encoded, self.kind)
        nothing = self._column.nothing
        indices, order = _by_appearance([codes for codes, _ in lots], nothing)
        words = self._column.words.take(pa.array(order))
        numbers = (as_array(pa.uint16(), one, nothing) for one in indices)
        return pa.chunked_array([pa.DictionaryArray.from_arrays(one, words) for one in numbers], self.kind)


def _by_appearance(lots: list[Codes], nothing: int) -> tuple[list[Codes], Codes]:
    """The codes anew, numbered in the order of their first places, and which they are."""
    numbers = np.full(nothing + 1, nothing, np.uint16)
    words: list[Codes] = [np.zeros(0, np.uint16)]
    count = 0
    for at, codes in enumerate(lots):
        found = numbers.take(codes)
        new = codes[(found == nothing) & (codes != nothing)]
        if len(new):
            distinct, first = np.unique(new, return_index=True)
            words.append(distinct[np.argsort(first)])
            numbers[words[-1]] = np.arange(count, count + len(distinct))
            count += len(distinct)
            found = numbers.take(codes)
        lots[at] = found
    return lots, np.concatenate(words)


def _encoded(texts: Any, kind: Any) -> Iterator[Any]:
    """As a dictionary; of two halves, where its numbers are too small."""
    encoded, half = texts.dictionary_encode(), len(texts) // 2
    if len(encoded.dictionary) > 1 << kind.index_type.bit_width - 1:
        yield from _encoded(texts[:half], kind)
        yield from _encoded(texts[half:], kind)
    else:
        yield pa.DictionaryArray.from_arrays(encoded.indices.cast(kind.index_type), encoded.dictionary)
