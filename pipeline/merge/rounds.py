"""Several sorted sources read side by side, in rounds: a customer's rows are all in one round."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.merge.records.interleaving import Scratch, interleaved
from pipeline.merge.records.library import records_library
from pipeline.merge.rows import Rows, beside_of, joined, taken
from pipeline.store.ledger import Ints

Source = Iterable[Rows]
"""Sorted rows, some at a time."""
Pieces = list[Rows]
"""Sorted rows of one source, one behind the other."""
Round = list[Pieces]
"""The rows of one round, those of each source, in the sources' order."""


def rounds(sources: Sequence[Source], bytes_each: int = 0) -> Iterator[Round]:
    """All rows of all sources, customers ascending from round to round; no customer is in two of them.

    Of each source at least `bytes_each` bytes wait: rounds of few rows cost as much as those of many.
    """
    inputs = [_Input(iter(source), bytes_each) for source in sources]
    while sum(one.fill() for one in inputs):
        unfinished = [one.last_id for one in inputs if not one.is_finished]
        boundary = min(unfinished, default=None)
        yield [one.take_before(boundary) for one in inputs]


class _Input:
    """One sorted source with the rows that wait; of its last customer more may be to come."""

    def __init__(self, source: Iterator[Rows], enough: int) -> None:
        self._source = source
        self._enough = enough
        self._waiting: deque[Rows] = deque()
        self.is_finished = False  # nothing is to come behind what waits

    @property
    def last_id(self) -> int:
        """Of the rows that wait."""
        return self._waiting[-1].last_id

    def fill(self) -> bool:
        """Have all rows of one customer waiting at the least; False when there are no more rows."""
        while not self.is_finished and not self._has_enough():
            more = next(self._source, None)
            if more is None:
                self.is_finished = True
            elif len(more):
                self._waiting.append(more)
        return bool(self._waiting)

    def _has_enough(self) -> bool:
        if not self._waiting or self._waiting[0].first_id == self.last_id:
            return False
        return sum(rows.nbytes for rows in self._waiting) >= self._enough

    def take_before(self, boundary: int | None) -> Pieces:
        """The waiting rows of customers before the boundary; all where there is none."""
        taken = []
        while self._waiting and (boundary is None or self.last_of_first < boundary):
            taken.append(self._waiting.popleft())
        if self._waiting and boundary is not None:
            rows = self._waiting[0]
            count = int(np.searchsorted(rows.ids, boundary))
            taken.append(rows.cut(0, count))
            self._waiting[0] = rows.cut(count)
        return taken

    @property
    def last_of_first(self) -> int:
        return self._waiting[0].last_id


def in_order(pieces: Iterable[Rows], none: Rows, scratch: Scratch | None = None) -> Rows:
    """Rows that are sorted each, sorted by customer; those of one customer in the order they are handed in.

    `none` are no rows, of the same table. With a `scratch` the rows are good until it is used again.
    """
    filled = [rows for rows in pieces if len(rows)]
    if len(filled) < 2:
        return filled[0] if filled else none
    library = records_library()
    if library is None:
        together = joined(filled)
        return together.taken(by_customer(together.ids))
    has_beside = any(rows.beside for rows in filled)
    records, places = interleaved(
        library, [rows.records for rows in filled], scratch or Scratch(), with_places=has_beside
    )
    beside = taken(beside_of([(len(rows), rows.beside) for rows in filled]), places) if has_beside else {}
    return Rows(records, beside)


def by_customer(ids: Ints) -> Ints:
    """The places of rows by customer, those of one customer in their order."""
    return np.argsort(ids, kind="stable")  # finds the sorted stretches, merges them
