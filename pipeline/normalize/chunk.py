"""One chunk of the journal → one part per table. A pure function of the chunk, the tables and the options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.blocks import accounts
from pipeline.blocks.base import Table
from pipeline.blocks.collect import Options
from pipeline.blocks.leftovers import Reject, UnknownField
from pipeline.blocks.schema import RECORD, accounts_schema
from pipeline.normalize.answers import Answers, Bodies
from pipeline.normalize.calls import Calls, answered_id
from pipeline.normalize.next_dates import next_dates
from pipeline.normalize.parts import PartFiles
from pipeline.outcome import Outcome
from pipeline.store.journal import (
    Columns,
    Record,
    chunk_number,
    damage_told,
    read_record_frames,
    record_columns,
    unpack_records,
)
from pipeline.store.ledger import CALLS, RECORD_BITS

_HAVE_DATA = frozenset(int(outcome) for outcome in Outcome if outcome.has_data)
_HAS_DATA = np.isin(np.arange(1 << 8), sorted(_HAVE_DATA))  # by outcome, which is a byte
GROUP_RECORDS = 2_048
GROUP_BYTES = 32 << 20
"""So many answers, or so many bytes of them, are kept as Arrow before they go into the parts together."""

_UNKNOWN_COLUMNS: dict[str, pa.DataType] = {
    "path": pa.string(),
    "json_type": pa.string(),
    "table_name": pa.string(),
    "customer_id": pa.int64(),
    RECORD: pa.int64(),
}
UNKNOWN_PART_SCHEMA = pa.schema(_UNKNOWN_COLUMNS)


class ChunkNormalizer:
    """Takes the records of a chunk in order and writes its parts meanwhile; `write` ends them. Then the next may come.

    `parts` is the folder where they go.
    """

    def __init__(self, tables: Sequence[Table], options: Options, parts: Path) -> None:
        self.parts = parts
        self._options = options
        self._answers = Answers(tables, options)
        self._start()

    def _start(self) -> None:
        self._files: PartFiles | None = None  # open from the first group on
        self._calls = Calls()
        self._pages: list[bytes] = []  # of the answer whose record comes next

    @property
    def learned(self) -> frozenset[tuple[str, str]]:
        """The keys that no declaration names and many answers had; `learn` takes them."""
        return self._answers.learned

    def learn(self, keys: Iterable[tuple[str, str]]) -> None:
        """Be told what another normalizer has learned."""
        self._answers.learn(keys)

    def add(self, record: Record, chunk: int) -> None:
        """Take one record of chunk number `chunk`."""
        number, hashed = chunk << RECORD_BITS | len(self._calls), 0
        if record.outcome in _HAVE_DATA:
            customer_id = answered_id(record.customer_id, record.other_id, record.outcome)
            hashed = self._answers.add(customer_id, record.body, self._pages, record.fetched_at, number)
        self._calls.add(record, hashed)
        self._put_down_if_full(chunk)
        if record.outcome == Outcome.PAGE:
            self._pages.append(record.body)
        elif record.outcome != Outcome.RETRIED:
            self._pages = []

    def add_frame(self, payload: bytes, chunk: int) -> None:
        """Take a frame's records: the same as `add` with each, and most of them in one call. Raises DamageError."""
        records = record_columns(payload)
        if self._pages or not self._answers.takes_many or (records.heads["outcome"] == Outcome.PAGE).any():
            for record in unpack_records(payload):
                self.add(record, chunk)
            return
        start = 0
        while start < len(records.heads):
            stop = start + self._until_full(records.heads[start:])
            self._add_some(payload, records.some(start, stop), chunk)
            self._put_down_if_full(chunk)
            start = stop

    def _until_full(self, heads: Any) -> int:
        """Of these records, how many make a group full; all, where they do not."""
        has_data = _HAS_DATA[heads["outcome"]]
        answers = self._answers.count + np.cumsum(has_data)
        size = self._answers.body_bytes + np.cumsum(np.where(has_data, heads["body_bytes"], 0))
        (full,) = np.nonzero((answers >= GROUP_RECORDS) | (size >= GROUP_BYTES))
        return int(full[0]) + 1 if len(full) else len(heads)

    def _add_some(self, payload: bytes, records: Columns, chunk: int) -> None:
        heads, first = records.heads, chunk << RECORD_BITS | len(self._calls)
        (answered,) = np.nonzero(_HAS_DATA[heads["outcome"]])
        hashes = np.zeros(len(heads), np.uint64)
        if len(answered):
            found = heads[answered]
            ids = np.where(found["customer_id"] < 0, found["other_id"], found["customer_id"])
            abouts = np.stack([ids, found["fetched_at"], first + answered], axis=1)
            bodies = Bodies(payload, records.bodies[answered], found["body_bytes"].astype(np.int64))
            hashes[answered] = self._answers.add_many(bodies, abouts)
        self._calls.add_many(payload, records, hashes)

    def write(self, chunk: int) -> None:
        """End the chunk's parts. Written twice, they replace themselves."""
        name_parts(self.end(chunk))

    def end(self, chunk: int) -> PartFiles:
        """The chunk's parts, whole but for their names (`name_parts`). Then the next chunk may come."""
        files = self._put_down(chunk)
        self._start()
        return files

    def _put_down_if_full(self, chunk: int) -> None:
        if self._answers.count >= GROUP_RECORDS or self._answers.body_bytes >= GROUP_BYTES:
            self._put_down(chunk)

    def _put_down(self, chunk: int) -> PartFiles:
        """What was gathered goes into the parts; what was written is let go, and the next table takes its place."""
        files = self._files = self._files or PartFiles(self.parts, chunk)
        for name, rows in self._group(chunk):
            files.add(name, rows)
        return files

    def _group(self, chunk: int) -> Iterable[tuple[str, list[pa.RecordBatch]]]:
        night, calls, gathered = self._options.night, self._calls, self._answers.drain()
        batches = gathered.batches
        told, outcomes = calls.drain(chunk, next_dates(batches, calls.waiting, calls.before), night)
        for name in list(batches):
            yield name, batches.pop(name)
        if gathered.rejects:
            yield accounts.REJECTS.name, [_rejects_part(gathered.rejects, night)]
        if gathered.unknown:
            yield accounts.UNKNOWN_FIELDS.name, [_unknown_part(gathered.unknown)]
        if len(outcomes):
            yield accounts.OUTCOMES.name, [outcomes]
        yield CALLS, [told]


def name_parts(files: PartFiles) -> None:
    """Give a chunk's parts their names, durably."""
    files.finish(last=CALLS)


def normalize_chunk(path: Path, normalizer: ChunkNormalizer) -> None:
    """Make the parts of a sealed chunk."""
    name_parts(read_in(path, normalizer))


def read_in(path: Path, normalizer: ChunkNormalizer) -> PartFiles:
    """The parts of a sealed chunk, whole but for their names."""
    chunk = chunk_number(path)
    for frame in read_record_frames(path):
        with damage_told(path, frame):
            normalizer.add_frame(frame.payload, chunk)
    return normalizer.end(chunk)


def _rejects_part(rejects: list[Reject], night: date) -> pa.RecordBatch:
    schema = accounts_schema(accounts.REJECTS).append(pa.field(RECORD, pa.int64()))
    *texts, fetched_at, numbers = zip(*rejects, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(texts, schema, strict=False)]
    arrays += [
        _instants(fetched_at),
        pa.repeat(pa.scalar(night, pa.date32()), len(rejects)),
        pa.array(numbers, pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _unknown_part(unknown: dict[tuple[str, str], UnknownField]) -> pa.RecordBatch:
    """One row per occurrence: whoever sums them leaves out the answers that a later one replaced."""
    keys = sorted(unknown)
    fields = [unknown[key] for key in keys]
    seen = np.array([one for field in fields for one in field.seen], np.int64)
    which = np.repeat(np.arange(len(keys)), [len(field.seen) for field in fields])
    order = np.lexsort((which, seen[:, 1]))  # by record; of one record, by path and type
    at: Any = pa.array(which[order])
    told = zip(
        *((path, kind, field.table) for (path, kind), field in zip(keys, fields, strict=True)), strict=True
    )
    columns = [pa.array(texts, pa.string()).take(at) for texts in told]
    columns += [pa.array(seen[order, place]) for place in (0, 1)]
    return pa.RecordBatch.from_arrays(columns, schema=UNKNOWN_PART_SCHEMA)


def _instants(micros: Sequence[int]) -> pa.Array[Any]:
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
