"""What the live snapshot tells of answers that no journal remembers: whom it saw last, when, and the body's hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks import accounts
from pipeline.night.tables import asked_ids
from pipeline.night.tonight import Previous
from pipeline.outcome import Outcome
from pipeline.store.columns import Rows, Sorter
from pipeline.store.ledger import Verdicts
from pipeline.store.parquet import read_batches

HEX_DIGITS = 16
"""Of `customers.body_hash`."""
_WORDS = pa.array([outcome.word for outcome in Outcome])
_NUMBERS = np.array([int(outcome) for outcome in Outcome], np.int8)

Ints = npt.NDArray[Any]


def verdicts_in(previous: Previous, scratch: Path | None) -> Verdicts:
    """The snapshot's last verdict on each ID, and its last body; two where they are of different nights.

    What a deferred ID without a body had answered is not known any more: it counts as DEFERRED. No dates.
    """
    bodies = _Bodies.of(previous, scratch)
    told = Sorter({"id": np.int64, "time": np.int64, "outcome": np.int8, "hash": np.uint64}, scratch)
    for ids, times, outcomes, hashes in _told(previous, bodies):
        told.add(id=ids, time=times, outcome=outcomes, hash=hashes)
    return Verdicts.of(map(_by_time, told.slices()), scratch)


def _by_time(told: Rows) -> Verdicts:
    """Those of an ID, of which all are here, the oldest first."""
    rows = told[np.lexsort((told["time"], told["id"]))]
    dates = np.zeros(len(rows), np.int32)
    return Verdicts(rows["id"], rows["time"], rows["outcome"], rows["hash"], dates)


def _told(previous: Previous, bodies: _Bodies) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Batch by batch: IDs, times in µs, outcomes, hashes."""
    for path in previous.files(accounts.OUTCOMES.name):
        for batch in read_batches(path, ["customer_id", "asked_as", "outcome", "_fetched_at"]):
            ids, times = asked_ids(batch), _micros(batch)
            outcomes = _NUMBERS[pc.index_in(batch.column("outcome"), _WORDS).fill_null(0).to_numpy()]
            body_times, hashes = bodies.of_customers(batch.column("customer_id").to_numpy())
            has_body, partial = body_times > 0, outcomes == Outcome.PARTIAL
            of_body = np.where(partial, Outcome.PARTIAL, Outcome.EXPORTED)
            yield ids[has_body], body_times[has_body], of_body[has_body], hashes[has_body]
            without = (times > 0) & (times != body_times)
            yield ids[without], times[without], outcomes[without], np.zeros(without.sum(), np.uint64)


class _Bodies:
    """When the body of each customer came, and its hash; customers sorted."""

    def __init__(self, customer_ids: Ints, times: Ints, hashes: Ints) -> None:
        self._customer_ids = customer_ids
        self._times = times
        self._hashes = hashes

    @classmethod
    def of(cls, previous: Previous, scratch: Path | None) -> _Bodies:
        found = Sorter({"customer_ids": np.int64, "times": np.int64, "hashes": np.uint64}, scratch)
        for path in previous.files("customers"):
            for batch in read_batches(path, ["customer_id", "body_hash", "_fetched_at"]):
                ids = batch.column("customer_id").to_numpy()
                found.add(customer_ids=ids, times=_micros(batch), hashes=_hashes(batch))
        return cls(**found.columns())

    def of_customers(self, customer_ids: Ints) -> tuple[Ints, Ints]:
        """Times in µs and hashes, 0 for those without a body."""
        if not len(self._customer_ids):
            return np.zeros(len(customer_ids), np.int64), np.zeros(len(customer_ids), np.uint64)
        at = np.minimum(np.searchsorted(self._customer_ids, customer_ids), len(self._customer_ids) - 1)
        has_body = self._customer_ids[at] == customer_ids
        return self._times[at] * has_body, self._hashes[at] * has_body


def _micros(batch: pa.RecordBatch) -> Ints:
    micros: Any = batch.column("_fetched_at").cast(pa.int64()).fill_null(0)
    found: Ints = micros.to_numpy()
    return found


def _hashes(batch: pa.RecordBatch) -> Ints:
    """The hex texts as numbers; 0 where one is missing."""
    texts: Any = batch.column("body_hash").fill_null("0" * HEX_DIGITS)
    digits = np.frombuffer("".join(texts.to_pylist()).encode(), np.uint8).reshape(-1, HEX_DIGITS)
    nibbles = np.where(digits > ord("9"), digits - ord("a") + 10, digits - ord("0")).astype(np.uint8)
    octets = np.ascontiguousarray(nibbles[:, ::2] << 4 | nibbles[:, 1::2])
    numbers: Ints = octets.view(">u8")[:, 0].astype(np.uint64)
    return numbers
