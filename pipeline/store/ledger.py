"""Who was asked tonight and with what verdict: read back from the parts that list every call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.outcome import NO_VERDICTS, Outcome
from pipeline.store.idsets import distinct, without
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

    Of several verdicts for an ID the last one counts, but a failure never replaces an answer.
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

    def with_outcome(self, *outcomes: Outcome) -> Ints:
        """The customers whose ID ended so, sorted."""
        return distinct(self.answered_ids[np.isin(self.outcomes, [int(outcome) for outcome in outcomes])])

    def of_questions(self) -> Ledger:
        """The same for the table of verdicts: every question keeps its row, whoever else asked for that customer."""
        return replace(self, shadowed_records=np.empty(0, np.int64))

    def every_id(self) -> Ints:
        """All that tonight's rows of `outcomes` may be called, sorted: as asked for, and as answered."""
        return distinct(self.customer_ids, self.answered_ids)

    @cached_property
    def dropped_records(self) -> Ints:
        """The answers whose rows are in no table of customers, sorted."""
        return distinct(self.stale_records, self.shadowed_records)

    def partial_once(self) -> Ints:
        """The IDs with a partial answer that were not asked once more yet, sorted."""
        found: Ints = self.customer_ids[(self.outcomes == Outcome.PARTIAL) & (self.verdicts == 1)]
        return found

    def done(self, fresh_after: int, fresh_before: int | None = None) -> Ints:
        """The IDs that need no new call: a final verdict, not older than `fresh_after` (µs since 1970).

        Nor from later than `fresh_before`: a clock was wrong then, and nobody knows how old that answer is.
        """
        final = [int(outcome) for outcome in Outcome if outcome.is_final]
        is_fresh = self.fetched_at >= fresh_after
        if fresh_before is not None:
            is_fresh &= self.fetched_at <= fresh_before
        found: Ints = self.customer_ids[np.isin(self.outcomes, final) & is_fresh]
        return found


def chunks_without_parts(journal: Path, parts: Path) -> list[Path]:
    """The sealed chunks that still have to be normalized."""
    complete = {chunk_number(path) for path in calls_parts(parts)}
    return [path for path in sealed_chunks(journal) if chunk_number(path) not in complete]


def calls_parts(parts: Path) -> list[Path]:
    """The parts that list calls, oldest first."""
    return chunk_parts(parts, CALLS)


def read_ledger(parts: Path) -> Ledger:
    """Read the night's calls. Raises StorageError."""
    calls = _read_calls(parts, ["customer_id", "fetched_at", "outcome", "status", RECORD])
    if (
        len(calls["customer_id"]) and calls["customer_id"].min() < 0
    ):  # somebody was asked for otherwise than by ID
        calls |= _read_calls(parts, ["other_id"])
    throttled = int(np.count_nonzero(calls.pop("status") == 429))
    is_verdict = ~np.isin(calls["outcome"], [int(one) for one in NO_VERDICTS])
    asked_in_vain = distinct(calls["customer_id"][calls["outcome"] == Outcome.RETRIED])
    records = len(is_verdict)
    pages = int(np.count_nonzero(calls["outcome"] == Outcome.PAGE))
    if not is_verdict.all():
        calls = {name: calls.pop(name)[is_verdict] for name in list(calls)}  # one column twice at a time
    groups = group_by_id(calls["customer_id"])
    last = groups.last_that_counts(calls["outcome"] != Outcome.FAILED)
    ids = calls["customer_id"][last]
    asked = len(ids) + len(without(asked_in_vain, ids))
    return Ledger(
        customer_ids=ids,
        outcomes=calls["outcome"][last],
        fetched_at=calls["fetched_at"][last],
        verdicts=groups.sizes(),
        stale_records=np.sort(np.delete(calls[RECORD], last)),
        calls=records,
        repeated=records - pages - asked,
        throttled=throttled,
        records=records,
        **_answered(
            ids,
            calls["outcome"][last],
            calls.get("other_id", calls["customer_id"])[last],
            calls[RECORD][last],
        ),
    )


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


def _answered(asked: Ints, verdicts: Ints, others: Ints, records: Ints) -> dict[str, Ints]:
    """Whose body each ID brought; of two identifiers of one customer the later answer counts."""
    if not len(asked) or asked[0] >= 0:  # sorted: nobody was asked for by another identifier
        return {"answered_ids": asked, "shadowed_records": np.empty(0, np.int64)}
    has_data = np.isin(verdicts, [int(one) for one in Outcome if one.has_data])
    answered = np.where(has_data & (asked < 0), others, asked)
    by_customer = np.lexsort((records, answered))
    is_shadowed = np.append(answered[by_customer][1:] == answered[by_customer][:-1], False)
    shadowed = by_customer[is_shadowed]
    return {"answered_ids": answered, "shadowed_records": np.sort(records[shadowed[has_data[shadowed]]])}


@dataclass(frozen=True)
class Verdicts:
    """Every verdict of a night, in the order of the journal, and what its body said."""

    customer_ids: Ints  # int64, as asked for
    fetched_at: Ints  # int64, µs since 1970
    outcomes: Ints  # int8
    body_hashes: Ints  # uint64, 0: no body
    next_dates: Ints  # int32, days since 1970, 0: none

    def only(self, wanted: Ints) -> Verdicts:
        """Those where `wanted` is true."""
        columns = (self.customer_ids, self.fetched_at, self.outcomes, self.body_hashes, self.next_dates)
        return Verdicts(*(column[wanted] for column in columns))


def read_verdicts(parts: Path) -> tuple[Verdicts, int]:
    """The night's verdicts, and how many records its journal has. Raises StorageError."""
    calls = _read_calls(parts, ["customer_id", "fetched_at", "outcome", "body_hash", "next_date"])
    is_verdict = ~np.isin(calls["outcome"], [int(one) for one in NO_VERDICTS])
    return Verdicts(*(calls.pop(name)[is_verdict] for name in list(calls))), len(is_verdict)


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
    dtypes = {name: CALLS_SCHEMA.field(name).type.to_pandas_dtype() for name in columns}
    found: dict[str, list[Ints]] = {name: [np.empty(0, dtype)] for name, dtype in dtypes.items()}
    for path in paths:
        for batch in read_part(path, columns):
            for name, dtype in dtypes.items():
                is_there = name in batch.schema.names
                found[name].append(
                    batch.column(name).to_numpy() if is_there else np.zeros(batch.num_rows, dtype)
                )
    return {name: np.concatenate(found.pop(name)) for name in columns}
