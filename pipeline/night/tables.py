"""All tables of the night's snapshot: the blocks' by merging, the accounts' in their own ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks import TABLES, accounts
from pipeline.blocks.base import Table
from pipeline.blocks.schema import accounts_schema, arrow_schema
from pipeline.config import OutputConfig, SnapshotConfig
from pipeline.ids import key_of
from pipeline.merge import (
    Leaves,
    Leaving,
    MergedTable,
    SortedTable,
    TableInputs,
    codes_in,
    sort_table,
    write_files,
)
from pipeline.merge.leaving import gone_for
from pipeline.night.abreast import CheckIn, Merge, side_by_side
from pipeline.night.listing import identifiers_of
from pipeline.night.tonight import Previous
from pipeline.normalize.chunk import UNKNOWN_PART_SCHEMA
from pipeline.outcome import VERDICTS, Outcome
from pipeline.store.columns import Sorter, column_of, let_go, slices, united
from pipeline.store.idsets import distinct, is_among, without
from pipeline.store.ledger import RECORD, Ledger
from pipeline.store.parquet import read_batches
from pipeline.store.parts import BATCH_ROWS, SUFFIX, part_paths, read_part, write_batches
from pipeline.store.snapshots import Draft, ManifestTable
from pipeline.store.workspace import NightFolder

Ints = npt.NDArray[Any]
DEFERRED = f"deferred{SUFFIX}"
"""The part of `outcomes` that the night itself writes."""


@dataclass
class Built:
    """The snapshot's tables and the sums they came from."""

    tables: dict[str, ManifestTable] = field(default_factory=dict)
    merged: dict[str, MergedTable] = field(default_factory=dict)
    changes: dict[str, ManifestTable] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    shadowed: int = 0  # answers for a customer whom another identifier brought again


@dataclass(frozen=True)
class LastSeen:
    """What the last snapshot's `outcomes` tell of each ID, sorted by what was asked for.

    That is the ID itself, or another identifier's key. The columns may be mapped (`store.columns`).
    """

    asked: Ints
    customer_ids: Ints  # whose row it is: the ID itself, or the customer that an identifier stands for
    fetched_at: Ints  # µs since 1970 (0: never answered)
    tombstones: pa.Table  # of deleted and merged ones: asked, reason_code, reason, other_id; sorted

    def of(self, asked: Ints) -> Ints:
        """When these last answered, in µs since 1970; 0 for those that never did."""
        return self._looked_up(asked, self.fetched_at, 0)

    def customers_behind(self, keys: Ints) -> Ints:
        """The customers that other identifiers stand for, as far as they are known."""
        found = self._looked_up(keys, self.customer_ids, -1)
        return distinct(found[found >= 0])

    def _looked_up(self, asked: Ints, values: Ints, otherwise: int) -> Ints:
        if not len(self.asked):
            return np.full(len(asked), otherwise, np.int64)
        at = np.minimum(np.searchsorted(self.asked, asked), len(self.asked) - 1)
        found: Ints = np.where(self.asked[at] == asked, values[at], otherwise)
        return found


_TOLD = ("customer_id", "asked_as", "_fetched_at", "outcome", "reason_code", "reason", "other_id")
_TOMBSTONES = pa.array([Outcome.DELETED.word, Outcome.MERGED.word])
_TOMBSTONE_FIELDS: list[pa.Field[Any]] = [
    pa.field("asked", pa.int64()),
    pa.field("reason_code", pa.int64()),
    pa.field("reason", pa.string()),
    pa.field("other_id", pa.int64()),
]
_TOMBSTONE = pa.schema(_TOMBSTONE_FIELDS)
NOT_ASKED = "not asked tonight"
_MERGED_ACCOUNTS = (accounts.OUTCOMES, accounts.REJECTS)
"""They tell of each question, also of those whose answer was another customer's."""


def last_seen(previous: Previous, scratch: Path | None) -> LastSeen:
    """What is known of each ID from the last snapshot's `outcomes`."""
    told = Sorter(dict.fromkeys(("asked", "customer_ids", "fetched_at"), np.int64), scratch)
    tombstones = [_TOMBSTONE.empty_table()]
    for path in previous.files(accounts.OUTCOMES.name):
        for batch in read_batches(path, list(_TOLD), use_threads=False):
            asked, customers = asked_ids(batch), batch.column("customer_id").to_numpy()
            micros: Any = batch.column("_fetched_at").cast(pa.int64()).fill_null(0)
            told.add(asked=asked, customer_ids=customers, fetched_at=micros.to_numpy())
            tombstones.append(_tombstones_in(batch, asked))
    return LastSeen(**told.columns(), tombstones=pa.concat_tables(tombstones).sort_by("asked"))


def _tombstones_in(batch: pa.RecordBatch, asked: Ints) -> pa.Table:
    """Who is gone for good: tonight's verdicts of that, and those of nights before in the reasons of deferred ones."""
    reasons = pa.array([f"{NOT_ASKED}; {word.as_py()} before" for word in _TOMBSTONES])
    is_told = pc.is_in(batch.column("outcome"), _TOMBSTONES)
    gone = pc.or_(is_told, pc.is_in(batch.column("reason"), reasons))
    word = pc.index_in(batch.column("outcome"), _TOMBSTONES)
    columns: list[Any] = [
        pa.array(asked, pa.int64()),
        batch.column("reason_code").cast(pa.int64()),
        pc.if_else(is_told, reasons.take(word), batch.column("reason")),
        batch.column("other_id").cast(pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=_TOMBSTONE).filter(gone)


def asked_ids(batch: pa.RecordBatch) -> Ints:
    """As what the rows of `outcomes` were asked for: their IDs, or the keys of other identifiers."""
    ids: Ints = batch.column("customer_id").to_numpy()
    asked_as = batch.column("asked_as")
    if asked_as.null_count == len(asked_as):
        return ids
    texts = asked_as.to_pylist()
    return np.array(
        [key_of(text) if text else one for text, one in zip(texts, ids.tolist(), strict=True)], np.int64
    )


@dataclass(frozen=True)
class Building:
    """What to build: the output's tables, or `only` some of them; the others are taken `as_it_is`."""

    output: OutputConfig
    snapshot: SnapshotConfig
    only: frozenset[str] | None
    as_it_is: Previous

    def takes(self, table: str) -> bool:
        """Whether a table is taken from the night's snapshot as it is."""
        return self.only is not None and table not in {*self.only, "customers"} and self.as_it_is.has(table)


@dataclass(frozen=True)
class Sources:
    """What the tables of a night are made from."""

    folder: NightFolder
    ledger: Ledger
    listed: Ints  # sorted
    previous: Previous


def build_tables(plans: Building, sources: Sources, draft: Draft) -> Built:
    """Write every table of the snapshot under way, some of them side by side. Raises StorageError."""
    built = Built(shadowed=len(sources.ledger.shadowed_records))
    listed, scratch = sources.listed, sources.ledger.scratch
    seen = last_seen(sources.previous, scratch)
    waiting = (without(listed[one], sources.ledger.customer_ids) for one in slices(len(listed)))
    deferred = column_of(waiting, scratch)
    _write_deferred(deferred, seen, sources.folder)
    tables = [table for table in wanted_tables(plans.output) if not plans.takes(table.name)]
    merges = _Merges(plans, sources, seen, deferred, draft)
    let_go()
    merged = side_by_side({table.name: merges.of(table) for table in [*tables, *_MERGED_ACCOUNTS]})
    for table in wanted_tables(plans.output):
        if plans.takes(table.name):
            _take(table.name, plans.as_it_is, draft, built)
        else:
            _note(table.name, merged[table.name], built)
    _note(accounts.OUTCOMES.name, merged[accounts.OUTCOMES.name], built)
    built.tables[accounts.REJECTS.name] = merged[accounts.REJECTS.name].table
    for name, rows_of in _TONIGHTS.items():
        schema, rows = rows_of(sources.folder, sources.ledger)
        into = draft.folder / name
        built.tables[name] = write_files(rows, schema, into, plans.output.compression, draft.deliver)
    built.outcomes = _counted(sources.ledger, len(deferred))
    return built


def _note(name: str, merged: MergedTable, built: Built) -> None:
    built.merged[name], built.tables[name] = merged, merged.table
    if merged.changed is not None:
        built.changes[name] = merged.changed.table


def _counted(ledger: Ledger, deferred: int) -> dict[str, int]:
    """How many IDs ended with each verdict."""
    counts: Counter[int] = Counter()
    for one in slices(len(ledger.outcomes)):
        counts.update(dict(enumerate(np.bincount(ledger.outcomes[one]).tolist())))
    counts[Outcome.DEFERRED] = deferred
    return {outcome.word: int(counts[outcome]) for outcome in VERDICTS}


class _Merges:
    """The merges of a night's tables, each ready to be done in a thread of its own."""

    def __init__(
        self, plans: Building, sources: Sources, seen: LastSeen, deferred: Ints, draft: Draft
    ) -> None:
        self._plans, self._sources, self._draft = plans, sources, draft
        ledger, snapshot = sources.ledger, plans.snapshot
        behind = seen.customers_behind(ledger.keys_with_outcome(*gone_for(snapshot)))
        gaps = codes_in(part_paths(sources.folder.parts, "warnings"), ledger)
        self._leaving = Leaving(ledger, snapshot, gaps, behind)
        tonight = united([deferred, ledger.every_id(), behind], ledger.scratch)
        self._outcomes = Leaves(tonight, everyone=snapshot.mode == "full")

    def of(self, table: Table) -> Merge:
        """A table's merge, and how much there is to it."""
        is_account = table in _MERGED_ACCOUNTS
        ledger = self._sources.ledger.of_questions() if is_account else self._sources.ledger
        inputs, leaves = self._inputs(table), self._leaves(table)
        folder, deliver = self._draft.folder / table.name, self._draft.deliver

        def sort(check_in: CheckIn) -> SortedTable:
            return sort_table(replace(inputs, check_in=check_in), ledger, leaves, folder, deliver)

        return Merge(inputs.expected_bytes, sort)

    def _leaves(self, table: Table) -> Leaves:
        if table is accounts.REJECTS:
            return Leaves(np.empty(0, np.int64), everyone=True)
        return self._outcomes if table is accounts.OUTCOMES else self._leaving.of(table.name)

    def _inputs(self, table: Table) -> TableInputs:
        output, snapshot, previous = self._plans.output, self._plans.snapshot, self._sources.previous
        parts = part_paths(self._sources.folder.parts, table.name)
        if table is accounts.REJECTS:  # tonight's, as they are
            return TableInputs(accounts_schema(table), parts, (), output.compression)
        is_outcomes = table is accounts.OUTCOMES
        schema = accounts_schema(table) if is_outcomes else arrow_schema(table, offsets=output.keep_offsets)
        reads_last = snapshot.mode == "merge" or snapshot.changes
        return TableInputs(
            schema=schema,
            parts=parts,
            previous=previous.files(table.name) if reads_last else (),
            compression=output.compression,
            previous_bytes=previous.bytes_of(table.name) if snapshot.mode == "merge" else 0,
            previous_rows=previous.rows_of(table.name) if snapshot.mode == "merge" else 0,
            changes_key=table.key if snapshot.changes else (),
            night=self._sources.folder.night,
        )


def _take(table: str, taken_from: Previous, draft: Draft, built: Built) -> None:
    """The files of another snapshot, once more; the changes too, if it has them."""
    assert taken_from.manifest is not None
    manifest = taken_from.manifest
    for of_snapshot, into in ((manifest.tables, built.tables), (manifest.changes, built.changes)):
        if table in of_snapshot:
            into[table] = of_snapshot[table]
            taken_from.snapshots.take(of_snapshot[table], manifest.snapshot, draft.name)


def wanted_tables(output: OutputConfig) -> list[Any]:
    """The blocks' tables that the config asks for; `customers` always."""
    return [
        table for table in TABLES if output.tables == "all" or table.name in {*output.tables, "customers"}
    ]


def _write_deferred(customer_ids: Ints, seen: LastSeen, folder: NightFolder) -> None:
    """A part for the IDs that were not asked; who was deleted or merged before stays known as such."""
    part = folder.parts / accounts.OUTCOMES.name / DEFERRED
    part.with_suffix(".parquet").unlink(missing_ok=True)  # as older versions called it
    texts = identifiers_of(customer_ids, folder)
    some = slices(len(customer_ids), BATCH_ROWS)
    rows = (_deferred_rows(customer_ids[one], texts[one], seen, folder) for one in some)
    write_batches(part, (batch for table in rows for batch in table.combine_chunks().to_batches()))


def _deferred_rows(customer_ids: Ints, asked_as: list[str], seen: LastSeen, folder: NightFolder) -> pa.Table:
    """Rows of IDs that were not asked; `_fetched_at` stays when they last answered."""
    schema = accounts_schema(accounts.OUTCOMES).append(pa.field(RECORD, pa.int64()))
    count, times = len(customer_ids), seen.of(customer_ids)
    stones = seen.tombstones.take(pc.index_in(pa.array(customer_ids), seen.tombstones["asked"]))
    filled: dict[str, Any] = {
        "customer_id": pa.array(customer_ids),
        "outcome": pa.repeat(pa.scalar(Outcome.DEFERRED.word), count),
        "reason_code": stones["reason_code"],
        "reason": stones["reason"].fill_null(pa.scalar(NOT_ASKED)),
        "attempts": pa.repeat(pa.scalar(0, pa.int64()), count),
        "calls": pa.repeat(pa.scalar(0, pa.int64()), count),
        "other_id": stones["other_id"],
        "asked_as": pa.array([text or None for text in asked_as] or [None] * count, pa.string()),
        "_fetched_at": pa.array(times, pa.int64(), mask=times == 0).cast(pa.timestamp("us", "UTC")),
        "_night": pa.repeat(pa.scalar(folder.night, pa.date32()), count),
        RECORD: pa.repeat(pa.scalar(-1, pa.int64()), count),
    }
    arrays = [filled.get(column.name, pa.nulls(count, column.type)).cast(column.type) for column in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fresh_rejects(paths: Sequence[Path], schema: pa.Schema, ledger: Ledger) -> Iterator[pa.RecordBatch]:
    for path in paths:
        for batch in read_part(path):
            stale = is_among(batch.column(RECORD).to_numpy(), ledger.stale_records)
            yield batch.filter(pa.array(~stale)).select(schema.names).cast(schema)


def _unknown_fields(folder: NightFolder, ledger: Ledger) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Occurrences of all chunks together, by path and type."""
    schema = accounts_schema(accounts.UNKNOWN_FIELDS)
    by_batch = [_summed_up(_as_sums(rows)) for rows in unknown_fields(folder, ledger)]
    table = _summed_up(pa.concat_tables([_as_sums(UNKNOWN_PART_SCHEMA.empty_table()), *by_batch]))
    columns = [*table.columns, pa.repeat(pa.scalar(folder.night, pa.date32()), table.num_rows)]
    ordered = pa.table(columns, schema=schema).sort_by([("path", "ascending"), ("json_type", "ascending")])
    return schema, ordered.to_batches()


def unknown_fields(folder: NightFolder, ledger: Ledger) -> Iterator[pa.RecordBatch]:
    """Each unknown key of each answer that counts: path, json_type, table_name, customer_id; some at a time."""
    for path in part_paths(folder.parts, accounts.UNKNOWN_FIELDS.name):
        for rows in read_part(path):
            stale = is_among(rows.column(RECORD).to_numpy(), ledger.stale_records)
            yield rows.filter(pa.array(~stale))


_SUMS: Any = {"occurrences": "sum", "first": "min", "last": "max"}
"""What is told of the keys of one path and type, and how several such sums are one."""


def _as_sums(rows: pa.RecordBatch | pa.Table) -> pa.Table:
    """Each key by itself."""
    once, ids = pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows), rows.column("customer_id")
    columns = [rows.column("path"), rows.column("json_type"), once, ids, ids]
    return pa.table(columns, names=["path", "json_type", *_SUMS])


def _summed_up(sums: pa.Table) -> pa.Table:
    how: Any = list(_SUMS.items())
    grouped = sums.group_by(["path", "json_type"], use_threads=False).aggregate(how)
    names = [f"{name}_{how}" for name, how in _SUMS.items()]
    return grouped.select(["path", "json_type", *names]).rename_columns(sums.schema.names)


def drift_of(table: str, folder: NightFolder, ledger: Ledger) -> tuple[int, int]:
    """How many values of tonight's answers came under keys unknown to a table, and how many fit none of its columns."""
    paths = part_paths(folder.parts, accounts.REJECTS.name)
    rejects = _fresh_rejects(paths, accounts_schema(accounts.REJECTS), ledger)
    return _rows_of(table, unknown_fields(folder, ledger)), _rows_of(table, rejects)


def _rows_of(table: str, batches: Iterable[pa.RecordBatch]) -> int:
    return sum(batch.column("table_name").to_pylist().count(table) for batch in batches)


def _rejected_ids(folder: NightFolder, _: Ledger) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    schema = accounts_schema(accounts.REJECTED_IDS)
    return schema, (batch.cast(schema) for batch in read_batches(folder.rejected_ids))


_TONIGHTS: dict[str, Callable[[NightFolder, Ledger], tuple[pa.Schema, Iterable[pa.RecordBatch]]]] = {
    "rejected_ids": _rejected_ids,
    "unknown_fields": _unknown_fields,
}
