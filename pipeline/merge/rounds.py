"""Several sorted sources read side by side, in rounds: a customer's rows are all in one round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.merge.rows import Rows, joined
from pipeline.store.ledger import Ints

Source = Iterable[Rows]
"""Sorted rows, some at a time."""
Round = list[Rows]
"""The rows of one round, those of each source, in the sources' order."""


def rounds(sources: Sequence[Source], none: Rows) -> Iterator[Round]:
    """All rows of all sources, customers ascending from round to round; no customer is in two of them.

    `none` are no rows, of the same table.
    """
    inputs = [_Input(iter(source), none) for source in sources]
    while sum(one.fill() for one in inputs):
        unfinished = [int(one.ids[-1]) for one in inputs if not one.is_finished]
        boundary = min(unfinished, default=None)
        yield [one.take_before(boundary) for one in inputs]


class _Input:
    """One sorted source with the rows that wait; of its last customer more may be to come."""

    def __init__(self, source: Iterator[Rows], none: Rows) -> None:
        self._source = source
        self._none = self._waiting = none
        self.ids: Ints = none.ids
        self.is_finished = False  # nothing is to come behind what waits

    def fill(self) -> bool:
        """Have all rows of one customer waiting at the least; False when there are no more rows."""
        while not self.is_finished and (not len(self.ids) or self.ids[0] == self.ids[-1]):
            more = next(self._source, None)
            if more is None:
                self.is_finished = True
            elif len(more):
                self._waiting = joined([self._waiting, more]) if len(self.ids) else more
                self.ids = self._waiting.ids
        return bool(len(self.ids))

    def take_before(self, boundary: int | None) -> Rows:
        """The waiting rows of customers before the boundary; all where there is none."""
        count = len(self.ids) if boundary is None else int(np.searchsorted(self.ids, boundary))
        before = self._waiting.cut(0, count)
        self._waiting = self._waiting.cut(count) if count < len(self.ids) else self._none
        self.ids = self.ids[count:]
        return before


def in_order(several: Sequence[Rows]) -> Rows:
    """Rows that are sorted each, sorted by customer; those of one customer in the order they are handed in."""
    filled = [rows for rows in several if len(rows)]
    if len(filled) < 2:
        return filled[0] if filled else several[0]
    together = joined(filled)
    return together.taken(by_customer(together.ids))


def by_customer(ids: Ints) -> Ints:
    """The places of rows by customer, those of one customer in their order."""
    return np.argsort(ids, kind="stable")  # finds the sorted stretches, merges them
