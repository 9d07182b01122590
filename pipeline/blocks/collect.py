"""Answers in, typed batches out: flattens each answer once, then types whole columns.

What no column holds is kept twice over: in the `extra` of the nearest row, and counted by path in
`unknown_fields`; what a column cannot hold goes to its row's `extra` and to `rejects`.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.compile import Rows, compile_flatten, compile_usual, width_of
from pipeline.blocks.fit import Fitted, Misfit, fit, offsets
from pipeline.blocks.schema import part_schema
from pipeline.blocks.secrets import without_secrets, without_signed_url
from pipeline.blocks.shape import Form, Node
from pipeline.blocks.source import row_path
from pipeline.jsontext import Json, dump, type_name

Ints = npt.NDArray[np.int64]
MAX_UNKNOWN_PATHS = 2000
"""Where keys turn out to be data, every answer brings new ones; past this many they are counted together."""
MAX_UNKNOWN_PATH_LENGTH = 200
MORE_PATHS = "(more)"
LESSON = 64
"""After so many answers with a key that nobody declared, those keys are learned that came OFTEN: that costs as much
as some hundreds of answers."""
OFTEN = 4
MAX_LEARNED = 64
_STRANGE_KEY = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$(.*)`)?", re.DOTALL)
_POSITION = re.compile(r"\[\d+\]")
PATIENCE = 64
"""So many answers in a row that are not as declared, and from then on only one in so many is tried as a usual one."""


@dataclass
class UnknownField:
    """A key that the contract does not know: the table whose row keeps it, and each answer that had it."""

    table: str
    seen: list[tuple[int, int]] = field(default_factory=list)  # (customer_id, record), once per occurrence


class Reject(NamedTuple):
    """A value that fits no column: `raw` is its JSON text."""

    customer_id: int
    table_name: str
    column_name: str
    reason: str
    raw: str
    fetched_at: int
    record: int


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
    table: Table
    paths: list[str]  # of the places where its rows stand, longest first; extra's paths are relative to them
    schema: pa.Schema
    width: int  # values in a row
    rows: Rows = field(default_factory=list)
    extras: dict[int, dict[str, Any]] = field(default_factory=dict)

    def column(self, place: int) -> list[Any]:
        """The values at a place of every row; negative ones count from the row's end."""
        return self.rows[place % self.width :: self.width]

    def keep(self, row: int, name: str, found: Json) -> None:
        """Into the row's extra; what has the same name there stays."""
        extra = self.extras.setdefault(row, {})
        extra[name if name not in extra else f"{name}#{len(extra)}"] = found


class Collector:
    """Collects the rows of many answers, table by table, until `drain` types them."""

    def __init__(self, tables: Sequence[Table], options: Options) -> None:
        self._options = options
        self._night = pa.scalar(options.night, pa.date32())
        self._states = [
            _TableState(
                table, _row_paths(table), part_schema(table, offsets=options.keep_offsets), width_of(table)
            )
            for table in tables
        ]
        self._rejects: list[Reject] = []
        self._unknown: dict[tuple[str, str], UnknownField] = {}
        self._answers: list[tuple[int, int, int]] = []  # customer_id, fetched_at and record of each
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
        self._answers.append((customer_id, fetched_at, record))
        for key, lost in repeated:
            self.reject(
                customer_id, self._states[0].table.name, key, "repeated key, the last counts", dump(lost)
            )
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
        self._answers.append((customer_id, fetched_at, record))
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
        learned = frozenset([*self.learned, *keys][:MAX_LEARNED])
        if learned == self.learned:
            return
        self.learned = learned
        by_path = {path: frozenset(key for at, key in learned if at == path) for path, _ in learned}
        self._usual, self._flatten_usual = compile_usual(self._tables, self._rows, self, by_path)
        self._refused = 0

    def reject(self, customer_id: int, table: str, column: str, reason: str, raw: str) -> None:
        """Note a value (its JSON text) of the answer read last that fits nowhere."""
        _, *told = self._answers[-1]
        self._rejects.append(Reject(customer_id, table, column, reason, without_secrets(raw), *told))

    # What the walk reports (compile.Odd)

    def keys(self, found: dict[str, Any], node: Node, row: int, customer_id: int) -> None:
        """Another spelling is renamed in place; a Thrift leak (`setX: true`) is dropped; the rest is kept."""
        for key in sorted(key for key in found if key not in node.known):
            known_as = node.aliases.get(key)
            if known_as is not None and found.get(known_as) is None:
                found[known_as] = found.pop(key)
            elif not _is_thrift_leak(key, found[key]):
                path = f"{node.inside}.{key}".lstrip(".")
                owner = self._states[node.owner]
                told = without_signed_url(path)[:MAX_UNKNOWN_PATH_LENGTH]
                self._count_unknown(told, found[key], customer_id, owner.table.name)
                if not node.whole:
                    self._keep(owner, row, path, found[key])

    def value(self, found: Json, node: Node, row: int, customer_id: int) -> None:
        """Another form than the contract's: its row keeps it, and `rejects` tells. `[]` says nothing."""
        if found == []:
            return
        table = self._states[node.places[0].table if node.places else node.owner].table.name
        wanted = "a list of objects" if node.form is Form.LIST else "an object"
        self.reject(customer_id, table, "", f"expected {wanted}, got {type_name(found)}", dump(found))
        if node.path:
            self._keep(self._states[node.outer_owner], row, node.path, found)

    def _count_unknown(self, path: str, found: Json, customer_id: int, table: str) -> None:
        key = (path, type_name(found))
        if key not in self._unknown and len(self._unknown) >= MAX_UNKNOWN_PATHS:
            key = (MORE_PATHS, type_name(found))
        self._unknown.setdefault(key, UnknownField(table)).seen.append((customer_id, self._answers[-1][-1]))

    @staticmethod
    def _keep(state: _TableState, row: int, path: str, found: Json) -> None:
        """Into the extra of a row, by its path from there."""
        around = next((around for around in state.paths if path.startswith(around)), "")
        state.keep(row, path.removeprefix(around).lstrip("."), found)

    # Typing

    def __len__(self) -> int:
        """How many rows wait in the largest table."""
        return max(len(state.rows) // state.width for state in self._states)

    def drain(self) -> Collected:
        """Type what was collected and start afresh."""
        states = [state for state in self._states if state.rows]
        numbers, answers = _numbers(states), np.array(self._answers, np.int64).reshape(-1, 3).T.copy()
        batches = {state.table.name: self._batch(state, numbers, answers) for state in states}
        collected = Collected(batches, self._rejects, self._unknown)
        self._answers, self._rejects, self._unknown = [], [], {}
        for state in self._states:
            state.rows.clear()
            state.extras.clear()
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
            self._extra(state, count),
            pa.array(records),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=state.schema)

    @staticmethod
    def _extra(state: _TableState, count: int) -> pa.Array[Any]:
        if not state.extras:
            return pa.nulls(count, pa.string())
        texts = {row: without_secrets(dump(extra)) for row, extra in state.extras.items()}
        return pa.array([texts.get(row) for row in range(count)], pa.string())

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
            self._note_misfit(state, column, misfit)
        return fitted.array

    def _note_misfit(self, state: _TableState, column: Column, misfit: Misfit) -> None:
        customer_id, fetched_at, record = self._answers[state.rows[(misfit.row + 1) * state.width - 1]]
        state.keep(misfit.row, column.source.split("|")[0], misfit.raw)
        if misfit.reason:
            raw = without_secrets(dump(misfit.raw))
            about = column.name, misfit.reason, raw, fetched_at, record
            self._rejects.append(Reject(customer_id, state.table.name, *about))


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


def _row_paths(table: Table) -> list[str]:
    return sorted(map(row_path, table.rows), key=len, reverse=True)


def _is_thrift_leak(key: str, found: Json) -> bool:
    return len(key) > 3 and key.startswith("set") and key[3].isupper() and type(found) is bool
