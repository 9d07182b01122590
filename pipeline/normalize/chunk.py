"""One chunk of the journal → one part per table. A pure function of the chunk, the tables and the options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.blocks import accounts
from pipeline.blocks.base import Table
from pipeline.blocks.collect import Collected, Collector, Options, Reject, UnknownField
from pipeline.blocks.schema import RECORD, accounts_schema
from pipeline.blocks.user_groups import GROUP_BLOCKS
from pipeline.jsontext import Blocks, Decoded, Json, UnreadableError, blocks_of, decode, is_all_there
from pipeline.normalize.body_hash import body_hash
from pipeline.normalize.calls import Calls, answered_id
from pipeline.normalize.next_dates import next_dates
from pipeline.normalize.parts import PartFiles
from pipeline.outcome import Outcome
from pipeline.store.journal import Record, chunk_number, read_chunk
from pipeline.store.ledger import CALLS, RECORD_BITS

_HAVE_DATA = frozenset(int(outcome) for outcome in Outcome if outcome.has_data)
BATCH_RECORDS = 512
BATCH_BYTES = 16 << 20
"""So many answers, or so many bytes of them, are kept as Python objects before they become Arrow."""
GROUP_RECORDS = 2_048
GROUP_BYTES = 32 << 20
"""So many answers, or so many bytes of them, are kept as Arrow before they go into the parts, a row group each."""

_UNKNOWN_COLUMNS: dict[str, pa.DataType] = {
    "path": pa.string(),
    "json_type": pa.string(),
    "table_name": pa.string(),
    "customer_id": pa.int64(),
    RECORD: pa.int64(),
}
UNKNOWN_PART_SCHEMA = pa.schema(_UNKNOWN_COLUMNS)


@dataclass
class _Gathered:
    """What a group of a chunk's answers has given, as Arrow."""

    answers: int = 0
    body_bytes: int = 0
    batches: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    unknown: dict[tuple[str, str], UnknownField] = field(default_factory=dict)

    def take(self, collected: Collected) -> None:
        for name, batch in collected.batches.items():
            self.batches.setdefault(name, []).append(batch)
        self.rejects += collected.rejects
        for key, seen in collected.unknown.items():
            before = self.unknown.get(key)
            if before is None:
                self.unknown[key] = seen
            else:
                before.seen += seen.seen


class ChunkNormalizer:
    """Takes the records of a chunk in order and writes its parts meanwhile; `write` ends them. Then the next may come.

    `parts` is the folder where they go.
    """

    def __init__(self, tables: Sequence[Table], options: Options, parts: Path) -> None:
        self.parts = parts
        self._options = options
        self._collector = Collector(tables, options)
        self._start()

    def _start(self) -> None:
        self._gathered = _Gathered()
        self._files: PartFiles | None = None  # open from the first group on
        self._calls = Calls()
        self._waiting = self._waiting_bytes = 0
        self._pages: list[bytes] = []  # of the answer whose record comes next

    @property
    def learned(self) -> frozenset[tuple[str, str]]:
        """The keys that no declaration names and many answers had; `learn` takes them."""
        return self._collector.learned

    def learn(self, keys: Iterable[tuple[str, str]]) -> None:
        """Be told what another normalizer has learned."""
        self._collector.learn(keys)

    def add(self, record: Record, chunk: int) -> None:
        """Take one record of chunk number `chunk`."""
        number, hashed = chunk << RECORD_BITS | len(self._calls), 0
        if record.outcome in _HAVE_DATA:
            hashed = self._flatten(record, number)
        self._calls.add(record, hashed)
        if self._gathered.answers >= GROUP_RECORDS or self._gathered.body_bytes >= GROUP_BYTES:
            self._put_down(chunk)
        if record.outcome == Outcome.PAGE:
            self._pages.append(record.body)
        elif record.outcome != Outcome.RETRIED:
            self._pages = []

    def _flatten(self, record: Record, number: int) -> int:
        """Gives the body's hash."""
        customer_id, body = answered_id(record.customer_id, record.other_id, record.outcome), record.body
        top = blocks_of(body)
        hashed = body_hash(body, self._pages, top)
        is_whole = top is not None and not self._pages and is_all_there(body, top)
        told = customer_id, record.fetched_at, number, hashed
        if not (is_whole and self._collector.add_usual(body, *told)):
            decoded = _decoded(customer_id, body, top)
            for page in self._pages:
                _append_page(decoded.doc, _decoded(customer_id, page, None).doc)
            self._collector.add(decoded.doc, *told, decoded.repeated)
            if decoded.problem:
                self._collector.reject(customer_id, "customers", "", decoded.problem, "")
        self._waiting += 1
        self._waiting_bytes += len(body)
        if self._waiting >= BATCH_RECORDS or self._waiting_bytes >= BATCH_BYTES:
            self._to_arrow()
        return int(hashed, 16)

    def _to_arrow(self) -> None:
        self._gathered.take(self._collector.drain())
        self._gathered.answers += self._waiting
        self._gathered.body_bytes += self._waiting_bytes
        self._waiting = self._waiting_bytes = 0

    def write(self, chunk: int) -> None:
        """End the chunk's parts. Written twice, they replace themselves."""
        self._to_arrow()
        self._put_down(chunk).finish(last=CALLS)
        self._start()

    def _put_down(self, chunk: int) -> PartFiles:
        """What was gathered goes into the parts; what was written is let go, and the next table takes its place."""
        files = self._files = self._files or PartFiles(self.parts, chunk)
        for name, table in self._group(chunk):
            files.add(name, table)
        self._gathered = _Gathered()
        return files

    def _group(self, chunk: int) -> Iterable[tuple[str, pa.Table]]:
        night, batches, calls = self._options.night, self._gathered.batches, self._calls
        told, outcomes = calls.drain(chunk, next_dates(batches, calls.waiting, calls.before), night)
        for name in list(batches):
            table = pa.Table.from_batches(batches.pop(name))
            yield name, table
        if self._gathered.rejects:
            yield accounts.REJECTS.name, _rejects_part(self._gathered.rejects, night)
        if self._gathered.unknown:
            yield accounts.UNKNOWN_FIELDS.name, _unknown_part(self._gathered.unknown)
        if len(outcomes):
            yield accounts.OUTCOMES.name, outcomes
        yield CALLS, told


def normalize_chunk(path: Path, normalizer: ChunkNormalizer) -> None:
    """Make the parts of a sealed chunk."""
    chunk = chunk_number(path)
    for record in read_chunk(path):
        normalizer.add(record, chunk)
    normalizer.write(chunk)


def _decoded(customer_id: int, body: bytes, top: Blocks | None) -> Decoded:
    """The body's document. One that cannot be read again leaves the bare customer, and the reason."""
    try:
        return decode(body, top)
    except UnreadableError as exc:
        return Decoded({"id": customer_id}, str(exc))


def _append_page(doc: Json, page: Json) -> None:
    """A further page's user groups behind those of the answer."""
    for name in GROUP_BLOCKS:
        groups, more = doc.get(name), page.get(name)
        if isinstance(more, list) and isinstance(groups, list):
            groups += more
        elif more and groups is None:
            doc[name] = more


def _rejects_part(rejects: list[Reject], night: date) -> pa.Table:
    schema = accounts_schema(accounts.REJECTS).append(pa.field(RECORD, pa.int64()))
    *texts, fetched_at, numbers = zip(*rejects, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(texts, schema, strict=False)]
    arrays += [
        _instants(fetched_at),
        pa.repeat(pa.scalar(night, pa.date32()), len(rejects)),
        pa.array(numbers, pa.int64()),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _unknown_part(unknown: dict[tuple[str, str], UnknownField]) -> pa.Table:
    """One row per occurrence: whoever sums them leaves out the answers that a later one replaced."""
    rows = [
        (path, kind, field.table, customer_id, record)
        for (path, kind), field in unknown.items()
        for customer_id, record in field.seen
    ]
    return pa.Table.from_arrays(_columns(rows, UNKNOWN_PART_SCHEMA), schema=UNKNOWN_PART_SCHEMA)


def _columns(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> list[pa.Array[Any]]:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]


def _instants(micros: Sequence[int]) -> pa.Array[Any]:
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
