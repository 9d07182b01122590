"""Rows that wait for their row group, in a fraction of their memory.

A row group is written at once, so all of its rows have to be there. In Arrow's memory they take many times what they
take in the file: sixteen bytes for every amount, zero or null, the text of every tier. So what repeats itself waits as
a dictionary and small numbers, which the Parquet writer turns back column by column, or writes as they are.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.merge.rounds import joined

LOT_ROWS = 32_768
"""So many rows are packed at once, at the most."""
LOT_BYTES = 4 << 20
"""So many bytes of rows are packed at once, about."""
LOOSE_BYTES = 8 << 20
"""Fewer bytes of rows than these wait as they are."""
_MOST_WORDS = 30_000  # and a lot's fit below 2^16
_SMALL = 64  # distinct values in the first lot for which numbers of one byte will do
_PACKED_SHARE, _REPEATED_SHARE = 0.33, 0.67  # of distinct values among the first rows, at the most


class Packing:
    """The waiting rows of one file. Which columns are packed is decided once, by the first rows, and holds for it.

    So what is written depends on the rows alone.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._loose: list[pa.RecordBatch] = []
        self._loose_bytes = 0
        self._columns: list[_Column] | None = None  # None: nothing had to be packed so far
        self._distinct: list[float] = []  # of each column, the share of distinct values among the first rows
        self._packed_bytes = 0
        self.rows = 0

    @property
    def schema(self) -> pa.Schema:
        """Of the packed rows; columns as dictionaries, where they are packed."""
        if self._columns is None:
            return self._schema
        kinds = [column.kind for column in self._columns]
        fields = [field.with_type(kind) for field, kind in zip(self._schema, kinds, strict=True)]
        return pa.schema(fields).with_metadata(self._schema.metadata)

    @property
    def repeating(self) -> list[str]:
        """The columns that a dictionary in the file makes smaller. Building one that is given up costs tens of MB.

        Customers come sorted: zstd makes less of their IDs than of numbers that point at them.
        """
        shares = zip(self._schema, self._distinct, strict=True)
        return [
            field.name for field, share in shares if share <= _REPEATED_SHARE and field.name != "customer_id"
        ]

    @property
    def bytes(self) -> int:
        """What the waiting rows take in memory."""
        return self._loose_bytes + self._packed_bytes

    @property
    def is_full(self) -> bool:
        """Whether a text column has nearly as many words as its numbers can count."""
        return any(column.words > _MOST_WORDS for column in self._columns or ())

    def add(self, batch: pa.RecordBatch) -> None:
        """More rows."""
        self.rows += batch.num_rows
        self._loose.append(batch)
        self._loose_bytes += batch.nbytes
        if self._loose_bytes >= (LOOSE_BYTES if self._columns is None else LOT_BYTES):
            self._pack()

    def table(self) -> pa.Table:
        """All waiting rows."""
        if self._columns is None:
            self._look(self._loose[0] if self._loose else None)
            return pa.Table.from_batches(self._loose, self._schema)
        self._pack()
        return pa.Table.from_arrays([column.chunked() for column in self._columns], schema=self.schema)

    def clear(self) -> None:
        """They are written."""
        self._loose, self._loose_bytes, self._packed_bytes, self.rows = [], 0, 0, 0
        for column in self._columns or ():
            column.clear()

    def _look(self, first: pa.RecordBatch | None) -> None:
        if not self._distinct:
            columns = first.columns if first is not None else [pa.array([])] * len(self._schema)
            self._distinct = [len(pc.unique(one)) / max(1, len(one)) for one in columns]

    def _pack(self) -> None:
        if not self._loose:
            return
        rows = joined(self._loose) if len(self._loose) > 1 else self._loose[0]
        self._loose, self._loose_bytes = [], 0
        for start in range(0, rows.num_rows, LOT_ROWS):
            lot = rows.slice(start, LOT_ROWS)
            if self._columns is None:
                self._look(lot)
                kinds = zip(self._schema.types, self._distinct, strict=True)
                self._columns = [_column_for(kind, share, lot.num_rows) for kind, share in kinds]
            for column, values in zip(self._columns, lot.columns, strict=True):
                self._packed_bytes += column.add(values)


def _column_for(kind: Any, share: float, rows: int) -> _Column:
    """How a column is packed, by its share of distinct values in so many first rows."""
    if pa.types.is_boolean(kind) or share > _PACKED_SHARE:
        return _Column(kind)
    if pa.types.is_string(kind):
        return _Words(pa.dictionary(pa.uint16(), kind))
    return _Numbers(pa.dictionary(pa.int8() if share * rows <= _SMALL else pa.int16(), kind))


class _Column:
    """A column that is not worth packing."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.words = 0
        self._chunks: list[Any] = []

    def add(self, values: pa.Array[Any]) -> int:
        """More values; gives how many bytes they take."""
        self._chunks.append(values)
        return values.nbytes

    def chunked(self) -> Any:
        """All values."""
        return pa.chunked_array(self._chunks, self.kind)

    def clear(self) -> None:
        """Forget them."""
        self._chunks = []


class _Numbers(_Column):
    """Amounts, moments, IDs: a dictionary for each lot; for each half of it, where its numbers are too small."""

    def add(self, values: pa.Array[Any]) -> int:
        encoded: Any = pc.dictionary_encode(values)
        if len(encoded.dictionary) > (1 << self.kind.index_type.bit_width - 1):
            half = len(values) // 2
            return self.add(values.slice(0, half)) + self.add(values.slice(half))
        indices = encoded.indices.cast(self.kind.index_type)
        self._chunks.append(pa.DictionaryArray.from_arrays(indices, encoded.dictionary))
        return int(indices.nbytes + encoded.dictionary.nbytes)


class _Words(_Column):
    """Texts: one dictionary for all lots, because the Parquet writer takes a text column's dictionary as it is, and
    gives it up at a second one.
    """

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self._dictionary: Any = pa.array([], kind.value_type)

    def add(self, values: pa.Array[Any]) -> int:
        encoded: Any = pc.dictionary_encode(values)
        found: Any = pc.index_in(encoded.dictionary, value_set=self._dictionary)
        before = self._dictionary.nbytes
        if found.null_count:
            new = encoded.dictionary.filter(found.is_null())
            self._dictionary = pa.concat_arrays([self._dictionary, new])
            found = pc.index_in(encoded.dictionary, value_set=self._dictionary)
            self.words = len(self._dictionary)
        indices = found.take(encoded.indices).cast(self.kind.index_type)
        self._chunks.append(indices)
        return int(indices.nbytes + self._dictionary.nbytes - before)

    def chunked(self) -> Any:
        arrays = [pa.DictionaryArray.from_arrays(chunk, self._dictionary) for chunk in self._chunks]
        return pa.chunked_array(arrays, self.kind)

    def clear(self) -> None:
        super().clear()
        self.words, self._dictionary = 0, pa.array([], self.kind.value_type)
