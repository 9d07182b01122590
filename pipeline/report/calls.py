"""A night's calls, read back from its files: from the parts that list them, and from the journal what has no parts yet.

Works on a night that is under way, that died, or that has ended; changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StorageError
from pipeline.outcome import NO_VERDICTS, VERDICTS, Outcome
from pipeline.report.facts import ReasonCount
from pipeline.report.timeline import Timeline
from pipeline.store.columns import Sorter, scratch_in
from pipeline.store.idsets import distinct
from pipeline.store.journal import Record, chunk_number, open_chunks, records_so_far
from pipeline.store.ledger import calls_parts, chunks_without_parts, group_by_id, read_columns
from pipeline.store.parts import read_part
from pipeline.store.workspace import NightFolder

Ints = npt.NDArray[Any]
Columns = dict[str, Ints]
_COLUMNS = ["customer_id", "fetched_at", "outcome", "status", "reason_code", "latency_us"]
_DTYPES = {
    "customer_id": np.int64,
    "fetched_at": np.int64,
    "outcome": np.int8,
    "status": np.int16,
    "reason_code": np.int32,
    "latency_us": np.int32,
}
THROTTLED = 429
Reason = tuple[Outcome, int]


@dataclass(frozen=True)
class Account:
    """IDs by their verdict; what they ended with, by reason; and how many calls were not an ID's first."""

    outcomes: dict[str, int]
    reasons: Sequence[ReasonCount]
    repeated: int


class NightCalls:
    """The sums of a night's calls. `refresh` reads only what is new since the last time: parts never change.

    Memory: what the timeline takes; the verdicts of many calls lie in a file (`store.columns`).
    """

    def __init__(self, folder: NightFolder, began: int) -> None:
        """`began` is when the night began, in µs since 1970: calls from before are of a night that died."""
        self._folder = folder
        self._parts = Sums(began, scratch_in(folder.root))
        self._seen: set[int] = set()

    def refresh(self) -> Sums:
        """All calls so far. Raises StorageError where a part cannot be read."""
        for path in calls_parts(self._folder.parts):
            number = chunk_number(path)
            if number not in self._seen:
                self._parts.take(read_columns([path], _COLUMNS))
                self._parts.take_texts(self._folder.parts / "outcomes" / path.name)
                self._seen.add(number)
        return self._with_the_rest()

    def _with_the_rest(self) -> Sums:
        """And those of the chunks that have no parts yet; one that is renamed under our eyes counts next time."""
        sums, folder = self._parts.copy(), self._folder
        for path in [*chunks_without_parts(folder.journal, folder.parts), *open_chunks(folder.journal)]:
            if chunk_number(path) not in self._seen:
                with suppress(StorageError):
                    sums.take_records(list(map(_without_body, records_so_far(path))))
        return sums


class Sums:
    """What a night's calls come to."""

    def __init__(self, began: int, scratch: Path | None = None) -> None:
        self.timeline = Timeline(began)
        self.made = self.throttled = self.pages = 0
        self.latency_us = 0
        self.again: Counter[int] = Counter()  # by reason code: calls that had to be made again
        self.texts: dict[Reason, str] = {}
        self._calls = Sorter({"customer_id": np.int64, "outcome": np.int8, "code": np.int32}, scratch)

    def copy(self) -> Sums:
        """The same sums, to count on from."""
        other = copy(self)
        other.timeline, other.again, other.texts = self.timeline.copy(), self.again.copy(), dict(self.texts)
        other._calls = self._calls.copy()
        return other

    def take(self, calls: Columns) -> None:
        """Add calls, in the order of the journal."""
        outcomes, latency = calls["outcome"], calls["latency_us"]
        is_throttled = calls["status"] == THROTTLED
        self.timeline.take(calls["fetched_at"] - latency, outcomes, is_throttled, latency)
        self.made += len(outcomes)
        self.throttled += int(np.count_nonzero(is_throttled))
        self.pages += int(np.count_nonzero(outcomes == Outcome.PAGE))
        self.latency_us += int(latency.sum(dtype=np.int64))
        is_again = outcomes == Outcome.RETRIED
        codes, counts = np.unique(calls["reason_code"][is_again], return_counts=True)
        self.again.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        kept = outcomes != Outcome.PAGE
        ids, codes = calls["customer_id"][kept], calls["reason_code"][kept]
        self._calls.add(customer_id=ids, outcome=outcomes[kept], code=codes)

    def take_records(self, records: Sequence[Record]) -> None:
        """Add calls as the journal has them."""
        self.take({name: np.array([getattr(r, name) for r in records], _DTYPES[name]) for name in _COLUMNS})
        for record in records:
            if record.outcome not in (Outcome.EXPORTED, *NO_VERDICTS):
                key = Outcome(record.outcome), record.reason_code
                self.texts.setdefault(key, str(record.about().get("reason") or ""))

    def take_texts(self, part: Path) -> None:
        """The words of the reasons, from a chunk's rows of `outcomes`."""
        if not part.exists():
            return
        for batch in read_part(part, ["outcome", "reason_code", "reason"]):
            odd = batch.filter(pc.not_equal(batch.column("outcome"), pa.scalar(Outcome.EXPORTED.word)))
            if not odd.num_rows:
                continue
            combinations = (
                pa.Table.from_batches([odd]).group_by(odd.schema.names, use_threads=False).aggregate([])
            )
            for row in combinations.to_pylist():
                key = Outcome[row["outcome"].upper()], row["reason_code"] or 0
                self.texts.setdefault(key, row["reason"] or "")

    def account(self) -> Account:
        """Each ID's one verdict: the last one, but a failure never replaces an answer."""
        found: Counter[tuple[int, int]] = Counter()  # by outcome and reason code
        asked = 0
        for calls in self._calls.slices():
            asked += len(distinct(calls["customer_id"]))
            verdicts = calls[calls["outcome"] != Outcome.RETRIED]
            groups = group_by_id(verdicts["customer_id"])
            counting = verdicts[groups.last_that_counts(verdicts["outcome"] != Outcome.FAILED)]
            found.update(_counted(counting["outcome"], counting["code"]))
        reasons = [ReasonCount(Outcome(kind), code, count) for (kind, code), count in found.items()]
        return Account(
            outcomes={one.word: sum(n for (kind, _), n in found.items() if kind == one) for one in VERDICTS},
            reasons=sorted(reasons, key=lambda one: (one.code, one.outcome)),
            repeated=self.made - self.pages - asked,
        )


def _counted(outcomes: Ints, codes: Ints) -> dict[tuple[int, int], int]:
    """How often each outcome came with each code, both of 32 bits at the most. Millions make no objects here."""
    both = np.empty(len(outcomes), [("outcome", np.int32), ("code", np.int32)])
    both["outcome"], both["code"] = outcomes, codes
    values, counts = np.unique(both.view(np.int64), return_counts=True)
    pairs = values.view(both.dtype)
    told = zip(pairs["outcome"].tolist(), pairs["code"].tolist(), counts.tolist(), strict=True)
    return {(outcome, code): count for outcome, code, count in told}


def _without_body(record: Record) -> Record:
    return record._replace(body=b"")
