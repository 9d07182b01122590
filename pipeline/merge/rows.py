"""Rows on their way through the merge: records of a fixed width, which are sorted, joined and cut in one piece.

A table has up to forty columns, and each of Arrow's calls handles one. A record has all of a row's values side by
side: numbers as they are, an amount as eight bytes of billionths, a text as its number in the column's vocabulary. A
value that has no such form (a large amount, a text that is like no other) lies beside the records in an Arrow column,
null elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.merge.records.interleaving import Scratch
from pipeline.store.ledger import Ints

Values = Any
"""An Arrow array; its stubs have a type for each of its types."""
Beside = dict[str, Values]
"""By column: the values that have no place in the records, null where they have; no entry where all have."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a table."""

    records: npt.NDArray[Any]  # structured, a field for each column that has one
    beside: Beside = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> Ints:
        """Whose they are."""
        return np.ascontiguousarray(self.records["customer_id"])

    @property
    def first_id(self) -> int:
        """Whose the first one is."""
        return int(self.records["customer_id"][0])

    @property
    def last_id(self) -> int:
        """Whose the last one is."""
        return int(self.records["customer_id"][-1])

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        beside: int = sum(column.nbytes for column in self.beside.values())
        return self.records.nbytes + beside

    def cut(self, start: int, stop: int | None = None) -> Rows:
        """Those from `start` on, before `stop`; nothing is copied."""
        records = self.records[start:stop]
        return Rows(
            records, {name: column.slice(start, len(records)) for name, column in self.beside.items()}
        )

    def taken(self, places: Ints, scratch: Scratch | None = None) -> Rows:
        """Those at these places, in this order. With a `scratch` they are good until it is used again."""
        into = (scratch or Scratch()).records(len(places), self.records.dtype)
        self.records.take(
            places, out=into, mode="clip"
        )  # the places are right; another mode takes a copy first
        return Rows(into, taken(self.beside, places))

    def only(self, wanted: npt.NDArray[np.bool_]) -> Rows:
        """Those where `wanted` is true."""
        if wanted.all():
            return self
        rows = _as_bytes(self.records).compress(wanted, axis=0)
        mask = pa.array(wanted)
        beside = {name: column.filter(mask) for name, column in self.beside.items()}
        return Rows(rows.reshape(-1).view(self.records.dtype), beside)


def joined(several: Sequence[Rows]) -> Rows:
    """One after the other."""
    if len(several) == 1:
        return several[0]
    records = np.concatenate([_as_bytes(rows.records) for rows in several])
    beside = [(len(rows), rows.beside) for rows in several]
    return Rows(records.reshape(-1).view(several[0].records.dtype), beside_of(beside))


def beside_of(several: Sequence[tuple[int, Beside]]) -> Beside:
    """What lies beside so many rows each, one after the other."""
    kinds = {name: column.type for _, beside in several for name, column in beside.items()}
    return {
        name: pa.concat_arrays(
            [beside[name] if name in beside else pa.nulls(rows, kind) for rows, beside in several]
        )
        for name, kind in kinds.items()
    }


def taken(beside: Beside, places: Ints) -> Beside:
    """What lies beside the rows at these places, in this order."""
    if not beside:
        return {}
    at = pa.array(places, pa.int64())
    return {name: column.take(at) for name, column in beside.items()}


def _as_bytes(records: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same memory; numpy copies bytes faster than fields."""
    return records.view(np.uint8).reshape(len(records), records.dtype.itemsize)
