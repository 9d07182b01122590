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
from pipeline.store.journal import chunk_number, sealed_chunks
from pipeline.store.parquet import read_batches

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
    ]
)
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
        return np.unique(self.answered_ids[np.isin(self.outcomes, [int(outcome) for outcome in outcomes])])

    def of_questions(self) -> Ledger:
        """The same for the table of verdicts: every question keeps its row, whoever else asked for that customer."""
        return replace(self, shadowed_records=np.empty(0, np.int64))

    def every_id(self) -> Ints:
        """All that tonight's rows of `outcomes` may be called, sorted: as asked for, and as answered."""
        return np.union1d(self.customer_ids, self.answered_ids)

    @cached_property
    def dropped_records(self) -> Ints:
        """The answers whose rows are in no table of customers, sorted."""
        return np.union1d(self.stale_records, self.shadowed_records)

    def partial_once(self) -> Ints:
        """The IDs with a partial answer that were not asked once more yet, sorted."""
        found: Ints = self.customer_ids[(self.outcomes == Outcome.PARTIAL) & (self.verdicts == 1)]
        return found

    def done(self, fresh_after: int) -> Ints:
        """The IDs that need no new call: a final verdict, not older than `fresh_after` (µs since 1970)."""
        final = [int(outcome) for outcome in Outcome if outcome.is_final]
        found: Ints = self.customer_ids[np.isin(self.outcomes, final) & (self.fetched_at >= fresh_after)]
        return found


def chunks_without_parts(journal: Path, parts: Path) -> list[Path]:
    """The sealed chunks that still have to be normalized."""
    complete = {chunk_number(path) for path in _calls_parts(parts)}
    return [path for path in sealed_chunks(journal) if chunk_number(path) not in complete]


def _calls_parts(parts: Path) -> list[Path]:
    return sorted((parts / CALLS).glob("chunk-*.parquet"), key=chunk_number)


def read_ledger(parts: Path) -> Ledger:
    """Read the night's calls. Raises StorageError."""
    calls = _read_calls(parts)
    outcomes = calls["outcome"].to_numpy()
    is_verdict = ~np.isin(outcomes, [int(one) for one in NO_VERDICTS])
    ids, records = calls["customer_id"].to_numpy()[is_verdict], calls[RECORD].to_numpy()[is_verdict]
    verdicts, fetched_at = outcomes[is_verdict], calls["fetched_at"].to_numpy()[is_verdict]
    order = np.lexsort((records, verdicts != Outcome.FAILED, ids))
    is_last = np.append(ids[order][1:] != ids[order][:-1], True)[: len(order)]
    last = order[is_last]
    return Ledger(
        customer_ids=ids[last],
        outcomes=verdicts[last],
        fetched_at=fetched_at[last],
        verdicts=np.diff(np.flatnonzero(is_last), prepend=-1),
        stale_records=np.sort(records[order[~is_last]]),
        calls=len(outcomes),
        repeated=_repeated(calls["customer_id"].to_numpy()[outcomes != Outcome.PAGE]),
        throttled=int(np.count_nonzero(calls["status"].to_numpy() == 429)),
        records=len(outcomes),
        **_answered(ids[last], verdicts[last], calls["other_id"].to_numpy()[is_verdict][last], records[last]),
    )


def _repeated(asked: Ints) -> int:
    """Calls beyond the first for an ID: retries, and second looks at partial answers. Pages are none."""
    return len(asked) - len(np.unique(asked))


def _answered(asked: Ints, verdicts: Ints, others: Ints, records: Ints) -> dict[str, Ints]:
    """Whose body each ID brought; of two identifiers of one customer the later answer counts."""
    has_data = np.isin(verdicts, [int(one) for one in Outcome if one.has_data])
    answered = np.where(has_data & (asked < 0), others, asked)
    by_customer = np.lexsort((records, answered))
    is_shadowed = np.append(answered[by_customer][1:] == answered[by_customer][:-1], False)[
        : len(by_customer)
    ]
    shadowed = by_customer[is_shadowed]
    return {"answered_ids": answered, "shadowed_records": np.sort(records[shadowed[has_data[shadowed]]])}


def call_times_since(parts: Path, since: int) -> Ints:
    """When calls were made, in µs since 1970, sorted; only those after `since`. Newest chunks are read first."""
    found = [np.empty(0, np.int64)]
    for path in reversed(_calls_parts(parts)):
        times = [batch.column("fetched_at").to_numpy() for batch in read_batches(path, ["fetched_at"])]
        newest = np.concatenate([np.empty(0, np.int64), *times])
        found.append(newest[newest > since])
        if len(newest) and newest.max() <= since:
            break
    return np.sort(np.concatenate(found))


def _read_calls(parts: Path) -> pa.Table:
    columns = ["customer_id", "fetched_at", "outcome", "status", "other_id", RECORD]
    schema = pa.schema([CALLS_SCHEMA.field(name) for name in columns])
    batches = [batch for path in _calls_parts(parts) for batch in read_batches(path, columns)]
    return pa.Table.from_batches(batches, schema).combine_chunks()
