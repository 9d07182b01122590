"""Several sorted sources read side by side, in rounds: a customer's rows are all in one round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.merge.sources import Batches, ids_of
from pipeline.store.ledger import Ints

Round = list[pa.RecordBatch]
"""The rows of one round, a batch for each source, in the sources' order."""


def rounds(sources: Sequence[Batches], schema: pa.Schema) -> Iterator[Round]:
    """All rows of all sources, customers ascending from round to round; no customer is in two of them."""
    inputs = [_Input(iter(batches), schema) for batches in sources]
    while sum(one.fill() for one in inputs):
        unfinished = [int(one.ids[-1]) for one in inputs if not one.is_finished]
        boundary = min(unfinished, default=None)
        yield [one.take_before(boundary) for one in inputs]


class _Input:
    """One sorted source with the rows that wait; of its last customer more may be to come."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self._none = pa.RecordBatch.from_pylist([], schema)
        self._waiting = self._none
        self.ids: Ints = np.empty(0, np.int64)
        self.is_finished = False  # nothing is to come behind what waits

    def fill(self) -> bool:
        """Have all rows of one customer waiting at the least; False when there are no more rows."""
        while not self.is_finished and (not len(self.ids) or self.ids[0] == self.ids[-1]):
            more = next(self._batches, None)
            if more is None:
                self.is_finished = True
            elif more.num_rows:
                self._waiting = joined([self._waiting, more]) if len(self.ids) else more
                self.ids = ids_of(self._waiting)
        return bool(len(self.ids))

    def take_before(self, boundary: int | None) -> pa.RecordBatch:
        """The waiting rows of customers before the boundary; all where there is none."""
        count = len(self.ids) if boundary is None else int(np.searchsorted(self.ids, boundary))
        before = self._waiting.slice(0, count)
        self._waiting = self._waiting.slice(count) if count < len(self.ids) else self._none
        self.ids = self.ids[count:]
        return before


def in_order(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Rows of several sorted batches, sorted by customer; those of one customer in the order of the batches."""
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) < 2:
        return filled[0] if filled else batches[0]
    together = joined(filled)
    return taken(
        together, np.argsort(ids_of(together), kind="stable")
    )  # finds the sorted stretches, merges them


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several."""
    together: pa.RecordBatch = pa.concat_batches(batches)  # type: ignore[attr-defined]  # the stubs lack it
    return together


def taken(batch: pa.RecordBatch, places: Ints) -> pa.RecordBatch:
    """The rows at these places, in this order."""
    rows: pa.RecordBatch = batch.take(pa.array(places, pa.int64()))
    return rows
