"""Answers in, batches out: by the kernel where it takes them, else by hand. Both ways give the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.base import Table
from pipeline.blocks.collect import Collected, Collector, Options
from pipeline.blocks.leftovers import Reject, UnknownField
from pipeline.blocks.schema import RECORD
from pipeline.blocks.user_groups import GROUP_BLOCKS
from pipeline.jsontext import Blocks, Decoded, Json, UnreadableError, blocks_of, decode, is_all_there
from pipeline.normalize.body_hash import body_hash
from pipeline.normalize.kernel.collecting import KernelCollector
from pipeline.normalize.kernel.library import kernel

Ints = npt.NDArray[np.int64]

BATCH_RECORDS = 512
BATCH_BYTES = 16 << 20
"""So many answers, or so many bytes of them, are kept as Python objects before they become Arrow."""


class Bodies(NamedTuple):
    """Some answers in a text that has them all."""

    payload: bytes
    starts: Ints
    lengths: Ints

    def body(self, place: int) -> bytes:
        """One of them."""
        start = int(self.starts[place])
        return self.payload[start : start + int(self.lengths[place])]


@dataclass
class Gathered:
    """What a number of answers gave, as Arrow; each table's rows in the order of the answers."""

    batches: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    unknown: dict[tuple[str, str], UnknownField] = field(default_factory=dict)

    def take(self, collected: Collected) -> None:
        """And these as well."""
        for name, batch in collected.batches.items():
            self.batches.setdefault(name, []).append(batch)
        self.rejects += collected.rejects
        for key, seen in collected.unknown.items():
            before = self.unknown.get(key)
            if before is None:
                self.unknown[key] = seen
            else:
                before.seen += seen.seen

    def put_in_order(self) -> None:
        """What came by the kernel and what came by hand, by the number of the answer."""
        self.batches = {name: _in_order(batches) for name, batches in self.batches.items()}
        self.rejects.sort(key=lambda reject: reject.record)


class Answers:
    """Takes answers until `drain` gives what they gave."""

    def __init__(self, tables: Sequence[Table], options: Options) -> None:
        self._declared = tables, options
        self._kernel = KernelCollector(tables, options) if kernel() else None
        self._made = None if self._kernel else Collector(*self._declared)
        self._gathered = Gathered()
        self._start()

    def _start(self) -> None:
        self.count = self.body_bytes = 0
        self._waiting = self._waiting_bytes = 0  # as Python objects

    @property
    def learned(self) -> frozenset[tuple[str, str]]:
        """The keys that no declaration names and many answers had; `learn` takes them."""
        return frozenset() if self._made is None else self._made.learned

    def learn(self, keys: Iterable[tuple[str, str]]) -> None:
        """Be told what another normalizer has learned."""
        if told := list(keys):
            self._by_hand.learn(told)

    @property
    def _by_hand(self) -> Collector:
        """Beside a kernel made only when the first answer is not for it: that takes as long as 1,500 answers."""
        if self._made is None:
            self._made = Collector(*self._declared)
        return self._made

    def add(self, customer_id: int, body: bytes, pages: Sequence[bytes], fetched_at: int, number: int) -> int:
        """Take an answer and its further pages, record `number` of the night; gives its hash."""
        self.count += 1
        self.body_bytes += len(body)
        if self._kernel and not pages:
            hashed = self._kernel.add(body, customer_id, fetched_at, number)
            if hashed is not None:
                return hashed
        return self._add_by_hand(customer_id, body, pages, fetched_at, number)

    @property
    def takes_many(self) -> bool:
        """Whether `add_many` may be called."""
        return self._kernel is not None

    def add_many(self, bodies: Bodies, abouts: Ints) -> npt.NDArray[np.uint64]:
        """Take answers without further pages; of each, a row of `abouts` has customer, moment and number."""
        assert self._kernel is not None
        self.count += len(abouts)
        self.body_bytes += int(bodies.lengths.sum())
        hashes, refused = self._kernel.add_many(*bodies, abouts)
        for place in refused:
            customer_id, fetched_at, number = abouts[place].tolist()
            hashes[place] = self._add_by_hand(customer_id, bodies.body(place), (), fetched_at, number)
        return hashes

    def _add_by_hand(
        self, customer_id: int, body: bytes, pages: Sequence[bytes], fetched_at: int, number: int
    ) -> int:
        self._waiting += 1
        self._waiting_bytes += len(body)
        text = self._flatten(customer_id, body, pages, fetched_at, number)
        if self._waiting >= BATCH_RECORDS or self._waiting_bytes >= BATCH_BYTES:
            self._gathered.take(self._by_hand.drain())
            self._waiting = self._waiting_bytes = 0
        return int(text, 16)

    def _flatten(
        self, customer_id: int, body: bytes, pages: Sequence[bytes], fetched_at: int, number: int
    ) -> str:
        top = blocks_of(body)
        hashed = body_hash(body, pages, top)
        is_whole = top is not None and not pages and is_all_there(body, top)
        told = customer_id, fetched_at, number, hashed
        if not (is_whole and self._by_hand.add_usual(body, *told)):
            decoded = _decoded(customer_id, body, top)
            for page in pages:
                _append_page(decoded.doc, _decoded(customer_id, page, None).doc)
            self._by_hand.add(decoded.doc, *told, decoded.repeated)
            if decoded.problem:
                self._by_hand.reject("customers", "", decoded.problem, "")
        return hashed

    def drain(self) -> Gathered:
        """What was taken so far; then start afresh. Its batches are good until the next answer comes."""
        gathered, self._gathered = self._gathered, Gathered()
        if self._made is not None:
            gathered.take(self._made.drain())
        if self._kernel:
            gathered.take(self._kernel.drain())
        gathered.put_in_order()
        self._start()
        return gathered


def _in_order(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1:
        return batches
    table: Any = pa.Table.from_batches(batches)
    order = np.argsort(table.column(RECORD).to_numpy(), kind="stable")
    ordered: list[pa.RecordBatch] = table.take(pa.array(order)).combine_chunks().to_batches()
    return ordered


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
