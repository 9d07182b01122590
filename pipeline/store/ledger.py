"""Who was asked tonight and with what verdict: read back from the parts that list every call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.outcome import NO_VERDICTS, Outcome
from pipeline.store.columns import Column, Rows, Sorter, column_of, scratch_in, slices, sorted_column, united
from pipeline.store.idsets import distinct
from pipeline.store.journal import chunk_number, sealed_chunks
from pipeline.store.parts import chunk_parts, read_part

RECORD = "_record"
CALLS = "_calls"
"""The part that lists every call of a chunk. Written last: where it is, the chunk's parts are complete."""
CALLS_SCHEMA = pa.schema(
    [
        ("customer_id", pa.int64()),
        ("fetched_at", pa.int64()),
        ("outcome", pa.int8()),
        ("status", pa.int16()),
        ("reason_code", pa.int32()),
        ("latency_us", pa.int32()),
        ("body_bytes", pa.int32()),
        ("other_id", pa.int64()),
        (RECORD, pa.int64()),
        ("body_hash", pa.uint64()),  # the number of customers.body_hash; 0: no body
        ("next_date", pa.int32()),  # days since 1970 on which something expires next; 0: nothing
    ]
)
"""Rows stand in the order of their records. A part that an older version wrote may lack the last columns."""
RECORD_BITS = 24
"""A record's number is its chunk's number and, in so many bits, its place there."""

Ints = npt.NDArray[Any]


@dataclass(frozen=True)
class Ledger:
    """The night's verdicts, one per ID, sorted by ID; and what the calls amount to.

    Of several verdicts for an ID the last one counts, but a failure never replaces an answer. The columns may be
    mapped (`store.columns`), and so may those be that are made of them, in files in `scratch`.
    """

    customer_ids: Ints  # as asked for: a negative one is the key of another identifier
    outcomes: Ints
    fetched_at: Ints  # µs since 1970
    verdicts: Ints  # how many each ID has had
    stale_records: Ints  # sorted numbers of the answers that a later one replaced
    answered_ids: Ints  # whose body came: the ID asked for, or the customer that an identifier stands for
    shadowed_records: Ints  # sorted numbers of answers for a customer whom another identifier brought again
    calls: int
    repeated: int
    throttled: int
    records: int
    scratch: Path | None = None

    def with_outcome(self, *outcomes: Outcome) -> Ints:
        """The customers whose ID ended so, sorted."""
        numbers = [int(outcome) for outcome in outcomes]
        found = (
            self.answered_ids[one][np.isin(self.outcomes[one], numbers)]
            for one in slices(len(self.customer_ids))
        )
        return self._sorted(found)

    def keys_with_outcome(self, *outcomes: Outcome) -> Ints:
        """The keys of other identifiers that ended so, sorted."""
        keys = slice(0, int(np.searchsorted(self.customer_ids, 0)))
        found: Ints = self.customer_ids[keys][np.isin(self.outcomes[keys], [int(one) for one in outcomes])]
        return found

    def of_questions(self) -> Ledger:
        """The same for the table of verdicts: every question keeps its row, whoever else asked for that customer."""
        return replace(self, shadowed_records=np.empty(0, np.int64))

    def every_id(self) -> Ints:
        """All that tonight's rows of `outcomes` may be called, sorted: as asked for, and as answered."""
        if self._is_by_id:
            return self.customer_ids
        return united([self.customer_ids, self.answered_ids], self.scratch)

    def _sorted(self, found: Iterable[Ints]) -> Ints:
        """Some of the customers."""
        return column_of(found, self.scratch) if self._is_by_id else sorted_column(found, self.scratch)

    @property
    def _is_by_id(self) -> bool:
        """Whether nobody was asked for by another identifier; who was would be the first."""
        return not len(self.customer_ids) or bool(self.customer_ids[0] >= 0)

    @cached_property
    def dropped_records(self) -> Ints:
        """The answers whose rows are in no table of customers, sorted."""
        if not len(self.shadowed_records):
            return self.stale_records
        return distinct(self.stale_records, self.shadowed_records)

    def partial_once(self) -> Ints:
        """The IDs with a partial answer that were not asked once more yet, sorted."""
        found = (
            self.customer_ids[one][(self.outcomes[one] == Outcome.PARTIAL) & (self.verdicts[one] == 1)]
            for one in slices(len(self.customer_ids))
        )
        return column_of(found, self.scratch)

    def done(self, fresh_after: int, fresh_before: int | None = None) -> Ints:
        """The IDs that need no new call: a final verdict, not older than `fresh_after` (µs since 1970).

        Nor from later than `fresh_before`: a clock was wrong then, and nobody knows how old that answer is.
        """
        final = [int(outcome) for outcome in Outcome if outcome.is_final]
        latest = np.iinfo(np.int64).max if fresh_before is None else fresh_before

        def pieces() -> Iterator[Ints]:
            for one in slices(len(self.customer_ids)):
                times = self.fetched_at[one]
                is_fresh = (times >= fresh_after) & (times <= latest)
                yield self.customer_ids[one][np.isin(self.outcomes[one], final) & is_fresh]

        return column_of(pieces(), self.scratch)


def chunks_without_parts(journal: Path, parts: Path) -> list[Path]:
    """The sealed chunks that still have to be normalized."""
    complete = {chunk_number(path) for path in calls_parts(parts)}
    return [path for path in sealed_chunks(journal) if chunk_number(path) not in complete]


def calls_parts(parts: Path) -> list[Path]:
    """The parts that list calls, oldest first."""
    return chunk_parts(parts, CALLS)


def read_ledger(parts: Path) -> Ledger:
    """Read the night's calls. Raises StorageError."""
    scratch = scratch_in(parts)
    calls, reading = Sorter(_CALL, scratch), _Reading(scratch)
    records = pages = throttled = 0
    for batch in batches_of(calls_parts(parts), [*_CALL, "status"]):
        throttled += int(np.count_nonzero(batch.pop("status") == 429))
        is_page = batch["outcome"] == Outcome.PAGE
        records += len(is_page)
        pages += int(np.count_nonzero(is_page))
        calls.add(**{name: values[~is_page] for name, values in batch.items()})
    asked = sum(map(reading.add, calls.slices()))
    return Ledger(
        **reading.finished(),
        calls=records,
        repeated=records - pages - asked,
        throttled=throttled,
        records=records,
        scratch=scratch,
    )


_CALL: dict[str, npt.DTypeLike] = {
    "customer_id": np.int64,
    "fetched_at": np.int64,
    "outcome": np.int8,
    RECORD: np.int64,
    "other_id": np.int64,
}


class _Reading:
    """The ledger's columns under way, made of calls that are brought together by ID."""

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch
        self._customer_ids = Column(np.int64, scratch)
        self._outcomes = Column(np.int8, scratch)
        self._fetched_at = Column(np.int64, scratch)
        self._verdicts = Column(np.int32, scratch)
        self._stale = Sorter({RECORD: np.int64}, scratch)
        self._answered_ids: Column | None = None  # where others than the IDs asked for
        self._answers = Sorter({"customer_id": np.int64, RECORD: np.int64, "has_data": np.bool_}, scratch)

    def add(self, rows: Rows) -> int:
        """The next IDs' calls; gives how many IDs they are, those without a verdict among them."""
        asked = np.count_nonzero(np.diff(rows["customer_id"])) + 1 if len(rows) else 0
        given = rows[rows["outcome"] != Outcome.RETRIED]
        groups = group_by_id(given["customer_id"])
        last = groups.last_that_counts(given["outcome"] != Outcome.FAILED)
        counts = given[last]
        self._customer_ids.add(counts["customer_id"])
        self._outcomes.add(counts["outcome"])
        self._fetched_at.add(counts["fetched_at"])
        self._verdicts.add(groups.sizes())
        self._stale.add(**{RECORD: np.delete(given[RECORD], last)})
        self._add_answers(counts)
        return int(asked)

    def _add_answers(self, counts: Rows) -> None:
        """Whose body each ID brought. IDs are sorted: the keys of other identifiers would be the first."""
        asked = counts["customer_id"]
        if self._answered_ids is None:
            if not len(asked) or asked[0] >= 0:
                return
            self._answered_ids = Column(np.int64, self._scratch)
        has_data = np.isin(counts["outcome"], [int(one) for one in Outcome if one.has_data])
        answered = np.where(has_data & (asked < 0), counts["other_id"], asked)
        self._answered_ids.add(answered)
        self._answers.add(customer_id=answered, has_data=has_data, **{RECORD: counts[RECORD]})

    def finished(self) -> dict[str, Ints]:
        customer_ids = self._customer_ids.finished()
        answered = customer_ids if self._answered_ids is None else self._answered_ids.finished()
        return {
            "customer_ids": customer_ids,
            "outcomes": self._outcomes.finished(),
            "fetched_at": self._fetched_at.finished(),
            "verdicts": self._verdicts.finished(),
            "stale_records": sorted_column((rows[RECORD] for rows in self._stale.slices()), self._scratch),
            "answered_ids": answered,
            "shadowed_records": sorted_column(map(_shadowed, self._answers.slices()), self._scratch),
        }


def _shadowed(answers: Rows) -> Ints:
    """Of two identifiers of one customer the later answer counts; these are the others."""
    ordered = answers[np.lexsort((answers[RECORD], answers["customer_id"]))]
    ids = ordered["customer_id"]
    is_shadowed = np.append(ids[1:] == ids[:-1], False)[: len(ids)]
    found: Ints = ordered[RECORD][is_shadowed & ordered["has_data"]]
    return found


@dataclass(frozen=True)
class Groups:
    """Rows brought together by ID: their places, IDs ascending, those of one ID in their own order."""

    order: Ints
    starts: Ints  # where in `order` each ID begins

    def sizes(self) -> Ints:
        """How many rows each ID has."""
        return np.diff(self.starts, append=len(self.order)).astype(np.int32)

    def last_that_counts(self, counts: Ints) -> Ints:
        """Each ID's last row where `counts` is true; its last row at all, where none is."""
        places = np.arange(len(self.order), dtype=np.int32)
        best = np.maximum.reduceat(np.where(counts[self.order], places, -1), self.starts)
        ends = np.append(self.starts[1:], len(self.order))[: len(self.starts)] - 1
        last: Ints = self.order[np.where(best >= 0, best, ends)]
        return last


def group_by_id(ids: Ints) -> Groups:
    """Bring the rows of each ID together."""
    order = np.argsort(ids, kind="stable").astype(np.int32)
    ordered = ids[order]
    is_first = np.ones(len(ids), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return Groups(order, np.flatnonzero(is_first))


@dataclass(frozen=True)
class Verdicts:
    """Every verdict of a night, in the order of the journal, and what its body said."""

    customer_ids: Ints  # int64, as asked for
    fetched_at: Ints  # int64, µs since 1970
    outcomes: Ints  # int8
    body_hashes: Ints  # uint64, 0: no body
    next_dates: Ints  # int32, days since 1970, 0: none

    @classmethod
    def of(cls, pieces: Iterable[Verdicts], scratch: Path | None) -> Verdicts:
        """One after the other, in files in `scratch` if they are many. Raises StorageError."""
        columns = [Column(dtype, scratch) for dtype in (np.int64, np.int64, np.int8, np.uint64, np.int32)]
        for piece in pieces:
            for column, more in zip(columns, piece.columns, strict=True):
                column.add(more)
        return cls(*(column.finished() for column in columns))

    @property
    def columns(self) -> tuple[Ints, ...]:
        """All of them."""
        return self.customer_ids, self.fetched_at, self.outcomes, self.body_hashes, self.next_dates

    def only(self, wanted: Ints | slice) -> Verdicts:
        """Those where `wanted` is true, or that are in it."""
        return Verdicts(*(column[wanted] for column in self.columns))


def read_verdicts(parts: Path) -> tuple[Verdicts, int]:
    """The night's verdicts, and how many records its journal has. Raises StorageError."""
    records = 0

    def pieces() -> Iterator[Verdicts]:
        nonlocal records
        columns = ["customer_id", "fetched_at", "outcome", "body_hash", "next_date"]
        for batch in batches_of(calls_parts(parts), columns):
            is_verdict = ~np.isin(batch["outcome"], [int(one) for one in NO_VERDICTS])
            records += len(is_verdict)
            yield Verdicts(*batch.values()).only(is_verdict)

    return Verdicts.of(pieces(), scratch_in(parts)), records


def call_times_since(parts: Path, since: int) -> Ints:
    """When calls were made, in µs since 1970, sorted; only those after `since`. Newest chunks are read first."""
    found = [np.empty(0, np.int64)]
    for path in reversed(calls_parts(parts)):
        newest = read_columns([path], ["fetched_at"])["fetched_at"]
        found.append(newest[newest > since])
        if len(newest) and newest.max() <= since:
            break
    return np.sort(np.concatenate(found))


@dataclass(frozen=True)
class Throttling:
    """How often the server said 429, and how many calls it took all the same in a minute in which it did."""

    calls: int
    throttled: int
    taken_a_minute: int  # the most, over the minutes with a 429; 0 where there was none


def read_throttling(parts: Path) -> Throttling:
    """What the night's calls were told of the quota. Raises StorageError."""
    calls = _read_calls(parts, ["fetched_at", "status"])
    minutes, is_throttled = calls["fetched_at"] // 60_000_000, calls["status"] == 429
    taken = minutes[~is_throttled & np.isin(minutes, minutes[is_throttled])]
    most = np.unique(taken, return_counts=True)[1].max(initial=0)
    return Throttling(len(minutes), int(np.count_nonzero(is_throttled)), int(most))


def _read_calls(parts: Path, columns: list[str]) -> dict[str, Ints]:
    """These columns of all calls, one array each."""
    return read_columns(calls_parts(parts), columns)


def read_columns(paths: list[Path], columns: list[str]) -> dict[str, Ints]:
    """These columns of some parts that list calls, one array each; what a part lacks is 0 there.

    Raises StorageError.
    """
    found: dict[str, list[Ints]] = {name: [np.empty(0, _dtype_of(name))] for name in columns}
    for batch in batches_of(paths, columns):
        for name, values in batch.items():
            found[name].append(values)
    return {name: np.concatenate(found.pop(name)) for name in columns}


def batches_of(paths: Iterable[Path], columns: list[str]) -> Iterator[dict[str, Ints]]:
    """The same, some calls at a time."""
    for path in paths:
        for batch in read_part(path, columns):
            there = batch.schema.names
            yield {
                name: batch.column(name).to_numpy()
                if name in there
                else np.zeros(batch.num_rows, _dtype_of(name))
                for name in columns
            }


def _dtype_of(column: str) -> npt.DTypeLike:
    found: npt.DTypeLike = CALLS_SCHEMA.field(column).type.to_pandas_dtype()
    return found
