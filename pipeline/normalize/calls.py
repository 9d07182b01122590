"""A chunk's calls and the verdicts among them, gathered and made into columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks import accounts
from pipeline.blocks.schema import RECORD, accounts_schema
from pipeline.outcome import NO_VERDICTS, Outcome
from pipeline.store.journal import Columns, Record
from pipeline.store.ledger import CALLS_SCHEMA, RECORD_BITS

Ints = npt.NDArray[np.int64]

_NUMBERS = (*Record._fields[:-2], "body_bytes", "body_hash")
_WORDS = pa.array([outcome.word for outcome in sorted(Outcome)], pa.string())
_HAVE_DATA = [int(outcome) for outcome in Outcome if outcome.has_data]
_NONE = [int(outcome) for outcome in NO_VERDICTS]


class _About(msgspec.Struct, gc=False):
    """What the tables take from a record's meta."""

    reason: str | None = None
    asked_as: str | None = None
    request_id: str | None = None


_META = msgspec.json.Decoder(_About)
_NOTHING = _About()


class _Some(NamedTuple):
    """Some calls."""

    numbers: dict[str, Any]
    metas: list[bytes]


_NO_CALLS = _Some(
    {name: np.empty(0, np.uint64 if name == "body_hash" else np.int64) for name in _NUMBERS}, []
)


class Calls:
    """Every record of a chunk, in order, a group of them at a time."""

    def __init__(self) -> None:
        self._some: list[_Some] = []
        self._rows: list[tuple[Any, ...]] = []  # after those
        self.waiting = 0  # how many are not handed out yet
        self.before = 0  # how many were

    def __len__(self) -> int:
        return self.before + self.waiting

    def add(self, record: Record, body_hash: int) -> None:
        """`body_hash` is 0 where no data came."""
        *numbers, meta, body = record
        self._rows.append((*numbers, len(body), body_hash, meta))
        self.waiting += 1

    def add_many(self, payload: bytes, records: Columns, hashes: npt.NDArray[np.uint64]) -> None:
        """The same with all records of a payload, or some of them."""
        self._take_rows()
        numbers: dict[str, Any] = {name: records.heads[name].astype(np.int64) for name in _NUMBERS[:-1]}
        places = zip(records.metas.tolist(), records.bodies.tolist(), strict=True)
        metas = [payload[start:stop] for start, stop in places] if records.heads["meta_bytes"].any() else None
        self._some.append(_Some({**numbers, "body_hash": hashes}, metas or [b""] * len(hashes)))
        self.waiting += len(hashes)

    def _take_rows(self) -> None:
        if not self._rows:
            return
        *columns, metas = zip(*self._rows, strict=True)
        numbers: dict[str, Any] = {
            name: np.array(column, np.uint64 if name == "body_hash" else np.int64)
            for name, column in zip(_NUMBERS, columns, strict=True)
        }
        self._some.append(_Some(numbers, list(metas)))
        self._rows = []

    def drain(self, chunk: int, next_dates: Ints, night: date) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Hand out those that wait: the list of calls, and the rows of `outcomes`. `next_dates` has a day for each."""
        self._take_rows()
        some, self._some = [_NO_CALLS, *self._some], []
        told = {name: np.concatenate([one.numbers[name] for one in some]) for name in _NUMBERS}
        metas = [meta for one in some for meta in one.metas]
        told[RECORD] = np.arange(self.before, len(self), dtype=np.int64) + (chunk << RECORD_BITS)
        self.before, self.waiting = len(self), 0
        calls: dict[str, Any] = {**told, "next_date": next_dates}
        arrays = [pa.array(calls[field.name]).cast(field.type) for field in CALLS_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=CALLS_SCHEMA), _outcomes(told, metas, night)


def answered_id(customer_id: int, other_id: int, outcome: int) -> int:
    """The customer: as asked for, or, where another identifier was asked for, as answered."""
    return other_id if customer_id < 0 and outcome in _HAVE_DATA else customer_id


def _outcomes(calls: dict[str, Any], metas: Sequence[bytes], night: date) -> pa.RecordBatch:
    verdicts = np.flatnonzero(~np.isin(calls["outcome"], _NONE))
    if len(verdicts) < len(metas):
        calls = {name: values[verdicts] for name, values in calls.items()}
        metas = [metas[place] for place in verdicts.tolist()]
    abouts = [_META.decode(meta) if meta else _NOTHING for meta in metas]
    is_lookup = (calls["customer_id"] < 0) & np.isin(calls["outcome"], _HAVE_DATA)
    customer_ids = np.where(is_lookup, calls["other_id"], calls["customer_id"])
    columns: dict[str, Any] = {
        "customer_id": customer_ids,
        "outcome": _WORDS.take(pa.array(calls["outcome"])),
        "reason_code": _or_null(calls["reason_code"]),
        "reason": [about.reason for about in abouts],
        "http_status": _or_null(calls["status"]),
        "attempts": calls["attempts"],
        "calls": calls["calls"],
        "latency_ms": calls["latency_us"] // 1000,
        "body_bytes": calls["body_bytes"],
        "other_id": _or_null(np.where(calls["other_id"] == customer_ids, 0, calls["other_id"])),
        "asked_as": [about.asked_as for about in abouts],
        "request_id": [about.request_id for about in abouts],
        "_fetched_at": calls["fetched_at"],
        "_night": pa.repeat(pa.scalar(night, pa.date32()), len(abouts)),
        "extra": pa.nulls(len(abouts), pa.string()),
        RECORD: calls[RECORD],
    }
    schema = accounts_schema(accounts.OUTCOMES).append(pa.field(RECORD, pa.int64()))
    return pa.RecordBatch.from_arrays([_as(columns[field.name], field) for field in schema], schema=schema)


def _or_null(numbers: Ints) -> pa.Array[Any]:
    """0 stands for none."""
    return pa.array(numbers, mask=numbers == 0)


def _as(values: Any, field: pa.Field[Any]) -> pa.Array[Any]:
    array: pa.Array[Any]
    if isinstance(values, list):
        array = pa.array(values, field.type)
    else:
        array = (values if isinstance(values, pa.Array) else pa.array(values)).cast(field.type)
    return array
