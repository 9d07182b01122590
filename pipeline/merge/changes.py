"""What a night changed in a table: rows inserted, updated, deleted, for whoever loads a copy of it bit by bit.

Compared are the rows that left with those that came, of the same customers, by the table's key. A row that says the
same as before, though it was fetched again, is no change. Where a key stands twice, its first row is compared with the
first, its second with the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.merge.files import TableFiles
from pipeline.merge.rounds import by_customer
from pipeline.merge.sources import ids_of, joined_batches
from pipeline.store.ledger import Ints

CHANGE = "_change"
INSERT, UPDATE, DELETE = "insert", "update", "delete"
VOLATILE = ("_fetched_at", "_night")
"""What another night makes of the same row."""


def changes_schema(schema: pa.Schema) -> pa.Schema:
    """A table's columns, and what became of the row."""
    about = {"description": "insert, update or delete; of deleted rows only the key is told."}
    return schema.append(pa.field(CHANGE, pa.string(), nullable=False, metadata=about))


@dataclass
class Changes:
    """Writes the changes of one table, round by round."""

    files: TableFiles
    key: Sequence[str]
    night: date
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def add(self, left: pa.RecordBatch, came: pa.RecordBatch) -> None:
        """Rows that left and rows that came, all of the same customers."""
        if not left.num_rows and not came.num_rows:
            return
        pairs = _paired(left, came, self.key)
        was, now = _taken(left, pairs.left), _taken(came, pairs.came)
        updated = now.filter(pa.array(_differ(was, now)))
        inserted = _taken(came, _others(came.num_rows, pairs.came))
        deleted = _bare(_taken(left, _others(left.num_rows, pairs.left)), self.key, self.night)
        self.inserted += inserted.num_rows
        self.updated += updated.num_rows
        self.deleted += deleted.num_rows
        self._write({INSERT: inserted, UPDATE: updated, DELETE: deleted})

    def _write(self, rows: dict[str, pa.RecordBatch]) -> None:
        marked = joined_batches([_marked(batch, word) for word, batch in rows.items()])
        self.files.write(_taken(marked, by_customer(ids_of(marked))))


def _marked(batch: pa.RecordBatch, word: str) -> pa.RecordBatch:
    told = pa.repeat(pa.scalar(word), batch.num_rows)
    return pa.RecordBatch.from_arrays([*batch.columns, told], schema=changes_schema(batch.schema))


@dataclass(frozen=True)
class _Pairs:
    """Places of rows with the same key."""

    left: Ints
    came: Ints


def _paired(left: pa.RecordBatch, came: pa.RecordBatch, key: Sequence[str]) -> _Pairs:
    both = joined_batches([left.select(list(key)), came.select(list(key))])
    numbers = [_numbered(both.column(name)) for name in key]
    is_new = np.arange(both.num_rows) >= left.num_rows
    order = np.lexsort((is_new, *reversed(numbers)))
    keys = np.cumsum(_is_first([one[order] for one in numbers])) - 1
    runs = _is_first([keys, is_new[order]])
    starts = np.flatnonzero(runs)
    nth = np.arange(len(order)) - starts[np.cumsum(runs) - 1]
    names = keys * (int(nth.max(initial=0)) + 1) + nth  # of a row: its key, and which of its rows it is
    newer = is_new[order]
    _, at_left, at_came = np.intersect1d(names[~newer], names[newer], assume_unique=True, return_indices=True)
    return _Pairs(order[~newer][at_left], order[newer][at_came] - left.num_rows)


def _numbered(column: pa.Array[Any]) -> Ints:
    """A number for each value; equal values, nulls among them, have the same."""
    encoded: Any = pc.dictionary_encode(column, null_encoding="encode")
    numbers: Ints = encoded.indices.to_numpy()
    return numbers


def _is_first(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Of rows that are ordered: where one differs from the row before."""
    first = np.zeros(len(columns[0]), bool)
    first[:1] = True
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    return first


def _differ(was: pa.RecordBatch, now: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """In which rows a column other than the volatile ones differs."""
    found = np.zeros(was.num_rows, bool)
    for name in was.schema.names:
        if name not in VOLATILE:
            before, after = was.column(name), now.column(name)
            unequal: Any = pc.not_equal(before, after)  # null where one of them is
            found |= unequal.fill_null(False).to_numpy(zero_copy_only=False)
            if before.null_count or after.null_count:
                found |= _is_null(before) != _is_null(after)
    return found


def _is_null(column: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    nulls: npt.NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _others(count: int, places: Ints) -> Ints:
    return np.delete(np.arange(count), places)


def _bare(rows: pa.RecordBatch, key: Sequence[str], night: date) -> pa.RecordBatch:
    """Of deleted rows only the key: what a customer was deleted for must not live on in the next folder."""
    kept: dict[str, pa.Array[Any]] = {name: rows.column(name) for name in {"customer_id", *key}}
    kept["_night"] = pa.repeat(pa.scalar(night, pa.date32()), rows.num_rows)
    arrays = [kept.get(column.name, pa.nulls(rows.num_rows, column.type)) for column in rows.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)


def _taken(batch: pa.RecordBatch, places: Ints) -> pa.RecordBatch:
    rows: pa.RecordBatch = batch.take(pa.array(places, pa.int64()))
    return rows
