"""Answers in, typed batches out: flattens each answer once, then types whole columns. What no column holds goes to
`leftovers`.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.compile import Rows, compile_flatten, compile_usual, width_of
from pipeline.blocks.fit import Fitted, Misfit, fit, offsets
from pipeline.blocks.leftovers import MAX_UNKNOWN_PATHS, About, Leftovers, Reject, UnknownField
from pipeline.blocks.schema import part_schema
from pipeline.blocks.secrets import without_signed_url
from pipeline.blocks.shape import Node
from pipeline.jsontext import Json, dump

Ints = npt.NDArray[np.int64]
LESSON = 64
"""After so many answers with a key that nobody declared, those keys are learned that came OFTEN: that costs as much
as some hundreds of answers."""
OFTEN = 4
MAX_LEARNED = 64
_STRANGE_KEY = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$(.*)`)?", re.DOTALL)
_UNLEARNABLE = re.compile(r'[\\"\x00-\x1f]')
"""msgspec makes no class with such a name."""
_POSITION = re.compile(r"\[\d+\]")
PATIENCE = 64
"""So many answers in a row that are not as declared, and from then on only one in so many is tried as a usual one."""


@dataclass
class Collected:
    """What a number of answers gave: one batch per table that has rows, in part schema."""

    batches: dict[str, pa.RecordBatch]
    rejects: list[Reject]
    unknown: dict[tuple[str, str], UnknownField]


@dataclass
class Options:
    """How values are read: the zone of date-times that come without one, and whether offsets are kept."""

    night: date
    zone: ZoneInfo | None = None
    keep_offsets: bool = False


@dataclass
class _TableState:
    number: int  # among the tables
    table: Table
    schema: pa.Schema
    width: int  # values in a row
    rows: Rows = field(default_factory=list)

    def column(self, place: int) -> list[Any]:
        """The values at a place of every row; negative ones count from the row's end."""
        return self.rows[place % self.width :: self.width]


class Collector:
    """Collects the rows of many answers, table by table, until `drain` types them."""

    def __init__(self, tables: Sequence[Table], options: Options) -> None:
        self._options = options
        self._night = pa.scalar(options.night, pa.date32())
        self._states = [
            _TableState(number, table, part_schema(table, offsets=options.keep_offsets), width_of(table))
            for number, table in enumerate(tables)
        ]
        self._leftovers = Leftovers(tables)
        self._answers: list[About] = []
        rows = [state.rows for state in self._states]
        self._flatten = compile_flatten(tables, rows, self)
        self._tables, self._rows = tables, rows
        self._usual, self._flatten_usual = compile_usual(tables, rows, self)
        self._refused = 0  # answers since the last usual one
        self._strange: Counter[tuple[str, str]] = Counter()  # keys for which answers were refused, and where
        self.learned: frozenset[tuple[str, str]] = frozenset()

    def add(
        self,
        doc: Json,
        customer_id: int,
        fetched_at: int,
        record: int,
        body_hash: str,
        repeated: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Flatten one decoded answer, which may be changed by it.

        `fetched_at` is in µs since 1970, `repeated` comes from `jsontext.Decoded`.
        """
        self._answers.append(About(customer_id, fetched_at, record))
        for key, lost in repeated:
            self.reject(self._tables[0].name, key, "repeated key, the last counts", dump(lost))
        self._flatten(doc, customer_id, len(self._answers) - 1, body_hash)

    def add_usual(self, body: bytes, customer_id: int, fetched_at: int, record: int, body_hash: str) -> bool:
        """Decode and flatten a body whose objects are all as declared; False for any other, which `add` takes.

        Both give the same rows, this way in half the time. No key may stand twice at the top of the body.
        """
        if self._refused >= PATIENCE and self._refused % PATIENCE:
            self._refused += 1
            return False
        try:
            answer = self._usual.decode(body)
            if not body.isascii():
                body.decode()  # the decoder does not look into what is kept as JSON text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refusal:
            self._refused += 1
            self._learn(str(refusal))
            return False
        self._refused = 0
        self._answers.append(About(customer_id, fetched_at, record))
        self._flatten_usual(answer, customer_id, len(self._answers) - 1, body_hash)
        return True

    def _learn(self, refusal: str) -> None:
        """A key that many answers are refused for becomes one that the decoder takes: told and kept as ever."""
        strange = _STRANGE_KEY.fullmatch(refusal)
        if strange is None or len(refusal) > 500 or len(self._strange) >= MAX_UNKNOWN_PATHS:
            return
        self._strange[_POSITION.sub("[]", strange[2] or "").lstrip("."), strange[1]] += 1
        if self._strange.total() % LESSON == 0:
            self.learn([where for where, times in self._strange.items() if times >= OFTEN])

    def learn(self, keys: Iterable[tuple[str, str]]) -> None:
        """Take keys for usual that no declaration names: the path of the objects that have it, and the key."""
        keys = [(path, key) for path, key in keys if not _UNLEARNABLE.search(key)]
        learned = frozenset([*self.learned, *keys][:MAX_LEARNED])
        if learned == self.learned:
            return
        self.learned = learned
        by_path = {path: frozenset(key for at, key in learned if at == path) for path, _ in learned}
        self._usual, self._flatten_usual = compile_usual(self._tables, self._rows, self, by_path)
        self._refused = 0

    def reject(self, table: str, column: str, reason: str, raw: str) -> None:
        """Note a value (its JSON text) of the answer read last that fits nowhere."""
        self._leftovers.reject(self._answers[-1], table, column, reason, raw)

    # What the walk reports (compile.Odd)

    def keys(self, found: dict[str, Any], node: Node, row: int, _: int) -> None:
        """Another spelling is renamed in place; the rest is kept."""
        for key in sorted(key for key in found if key not in node.known):
            known_as = node.aliases.get(key)
            if known_as is not None and found.get(known_as) is None:
                found[known_as] = found.pop(key)
            else:
                self._leftovers.unknown_key(self._answers[-1], node, row, key, found[key])

    def value(self, found: Json, node: Node, row: int, _: int) -> None:
        """Another form than the contract's."""
        self._leftovers.odd_value(self._answers[-1], node, row, found)

    # Typing

    def __len__(self) -> int:
        """How many rows wait in the largest table."""
        return max(len(state.rows) // state.width for state in self._states)

    def drain(self) -> Collected:
        """Type what was collected and start afresh."""
        states = [state for state in self._states if state.rows]
        numbers, answers = _numbers(states), np.array(self._answers, np.int64).reshape(-1, 3).T.copy()
        batches = {state.table.name: self._batch(state, numbers, answers) for state in states}
        collected = Collected(batches, *self._leftovers.take())
        self._answers = []
        for state in self._states:
            state.rows.clear()
        return collected

    def _batch(self, state: _TableState, numbers: Iterator[Fitted], answers: Ints) -> pa.RecordBatch:
        count = len(state.rows) // state.width
        customer_ids, fetched_at, records = answers[:, np.array(state.column(-1), np.intp)]
        arrays: list[pa.Array[Any]] = [pa.array(customer_ids)]
        for place, column in enumerate(state.table.columns):
            if column.kind is Kind.DECIMAL:
                arrays.append(self._told(state, column, next(numbers)))
            else:
                arrays.extend(self._typed(state, column, state.column(place)))
        arrays += [
            pa.array(fetched_at).cast(pa.timestamp("us", "UTC")),
            pa.repeat(self._night, count),
            self._leftovers.extra_column(state.number, count),
            pa.array(records),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=state.schema)

    def _typed(self, state: _TableState, column: Column, raw: Sequence[Any]) -> list[pa.Array[Any]]:
        if state.table.ignore and column.kind is Kind.TEXT:
            raw = _without_signed_urls(raw)
        array = self._told(state, column, fit(column.kind, raw, self._options.zone))
        if self._options.keep_offsets and column.kind is Kind.INSTANT:
            return [array, offsets(raw)]
        return [array]

    def _told(self, state: _TableState, column: Column, fitted: Fitted) -> pa.Array[Any]:
        """A column that was typed; what did not fit is noted."""
        for misfit in fitted.misfits:
            about = self._answers[state.rows[(misfit.row + 1) * state.width - 1]]
            self._leftovers.misfit(about, state.number, column, misfit)
        return fitted.array


def _numbers(states: Iterable[_TableState]) -> Iterator[Fitted]:
    """All columns of decimals, in the order of the tables: typed together, for each call of Arrow costs much."""
    columns = [
        state.column(place)
        for state in states
        for place, column in enumerate(state.table.columns)
        if column.kind is Kind.DECIMAL
    ]
    array, misfits = fit(Kind.DECIMAL, list(chain.from_iterable(columns)))
    start, waiting = 0, deque(misfits)
    for column in columns:
        end, own = start + len(column), list[Misfit]()
        while waiting and waiting[0].row < end:
            misfit = waiting.popleft()
            own.append(misfit._replace(row=misfit.row - start))
        yield Fitted(array.slice(start, len(column)), own)
        start = end


def _without_signed_urls(values: Sequence[Any]) -> Sequence[Any]:
    """Looked for in all of them at once; hardly ever there is one."""
    texts = "\n".join([value for value in values if isinstance(value, str)])
    if without_signed_url(texts) is texts:
        return values
    return [without_signed_url(value) for value in values]
