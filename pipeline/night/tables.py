"""All tables of the night's snapshot: the blocks' by merging, the accounts' in their own ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.blocks import TABLES, accounts
from pipeline.blocks.schema import accounts_schema, arrow_schema
from pipeline.config import OutputConfig
from pipeline.ids import key_of
from pipeline.merge import (
    MergedTable,
    TableInputs,
    merge_table,
    part_paths,
    replaced_customers,
    write_files,
)
from pipeline.night.listing import identifiers_of
from pipeline.night.tonight import Previous
from pipeline.normalize.chunk import UNKNOWN_PART_SCHEMA
from pipeline.outcome import VERDICTS, Outcome
from pipeline.store.ledger import RECORD, Ledger
from pipeline.store.parquet import read_batches, write_part
from pipeline.store.snapshots import Draft, ManifestTable
from pipeline.store.workspace import NightFolder

Ints = npt.NDArray[Any]


@dataclass
class Built:
    """The snapshot's tables and the sums they came from."""

    tables: dict[str, ManifestTable] = field(default_factory=dict)
    merged: dict[str, MergedTable] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    shadowed: int = 0  # answers for a customer whom another identifier brought again


@dataclass(frozen=True)
class LastSeen:
    """When each known customer last answered: IDs sorted, times in µs since 1970 (0: never)."""

    customer_ids: Ints
    fetched_at: Ints

    def of(self, customer_ids: Ints) -> Ints:
        """The times for these IDs; 0 for those that never answered."""
        if not len(self.customer_ids):
            return np.zeros(len(customer_ids), np.int64)
        at = np.minimum(np.searchsorted(self.customer_ids, customer_ids), len(self.customer_ids) - 1)
        times: Ints = np.where(self.customer_ids[at] == customer_ids, self.fetched_at[at], 0)
        return times


def last_seen(previous: Previous) -> LastSeen:
    """When each known customer last answered, from the last snapshot's `outcomes`.

    One that was asked for by another identifier is known by that identifier's key.
    """
    ids, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for path in previous.files(accounts.OUTCOMES.name):
        for batch in read_batches(path, ["customer_id", "asked_as", "_fetched_at"]):
            ids.append(asked_ids(batch))
            micros: Any = batch.column("_fetched_at").cast(pa.int64()).fill_null(0)
            times.append(micros.to_numpy())
    every_id, every_time = np.concatenate(ids), np.concatenate(times)
    order = np.argsort(every_id, kind="stable")
    return LastSeen(every_id[order], every_time[order])


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
    only: frozenset[str] | None
    as_it_is: Previous

    def takes(self, table: str) -> bool:
        """Whether a table is taken from the night's snapshot as it is."""
        return self.only is not None and table not in {*self.only, "customers"} and self.as_it_is.has(table)


def build_tables(
    plans: Building, folder: NightFolder, ledger: Ledger, listed: Ints, previous: Previous, draft: Draft
) -> Built:
    """Write every table of the snapshot under way. Raises StorageError."""
    output, built = plans.output, Built(shadowed=len(ledger.shadowed_records))
    for table in wanted_tables(output):
        if plans.takes(table.name):
            built.tables[table.name] = _taken(table.name, plans.as_it_is, draft)
            continue
        parts = part_paths(folder.parts, table.name)
        schema = arrow_schema(table, offsets=output.keep_offsets)
        inputs = TableInputs(schema, parts, previous.files(table.name), output.compression)
        replaced = replaced_customers(ledger, parts)
        merged = merge_table(inputs, ledger, replaced, draft.folder / table.name, draft.deliver)
        built.merged[table.name], built.tables[table.name] = merged, merged.table
    _build_outcomes(built, output, folder, ledger, listed, previous, draft)
    for name, rows_of in _TONIGHTS.items():
        schema, rows = rows_of(folder, ledger)
        into = draft.folder / name
        built.tables[name] = write_files(rows, schema, into, output.compression, draft.deliver)
    return built


def _taken(table: str, taken_from: Previous, draft: Draft) -> ManifestTable:
    """The files of another snapshot, once more."""
    assert taken_from.manifest is not None
    taken = taken_from.manifest.tables[table]
    taken_from.snapshots.take(taken, taken_from.manifest.snapshot, draft.name)
    return taken


def wanted_tables(output: OutputConfig) -> list[Any]:
    """The blocks' tables that the config asks for; `customers` always."""
    return [
        table for table in TABLES if output.tables == "all" or table.name in {*output.tables, "customers"}
    ]


def _build_outcomes(
    built: Built,
    output: OutputConfig,
    folder: NightFolder,
    ledger: Ledger,
    listed: Ints,
    previous: Previous,
    draft: Draft,
) -> None:
    """The latest verdict of every ID ever asked for; who was not asked tonight is `deferred`."""
    deferred = np.setdiff1d(listed, ledger.customer_ids)
    name = accounts.OUTCOMES.name
    deferred_part = folder.parts / name / "deferred.parquet"
    write_part(deferred_part, _deferred_rows(deferred, last_seen(previous), folder))
    parts = part_paths(folder.parts, name)
    inputs = TableInputs(accounts_schema(accounts.OUTCOMES), parts, previous.files(name), output.compression)
    tonight = np.union1d(deferred, ledger.every_id())
    merged = merge_table(inputs, ledger.of_questions(), tonight, draft.folder / name, draft.deliver)
    built.merged[name], built.tables[name] = merged, merged.table
    counts = Counter(dict(zip(*np.unique(ledger.outcomes, return_counts=True), strict=True)))
    counts[Outcome.DEFERRED] = len(deferred)
    built.outcomes = {outcome.word: int(counts[outcome]) for outcome in VERDICTS}


def _deferred_rows(customer_ids: Ints, seen: LastSeen, folder: NightFolder) -> pa.Table:
    """Rows of IDs that were not asked; `_fetched_at` stays when they last answered."""
    schema = accounts_schema(accounts.OUTCOMES).append(pa.field(RECORD, pa.int64()))
    count, times = len(customer_ids), seen.of(customer_ids)
    asked_as = identifiers_of(customer_ids, folder) or [""] * count
    filled: dict[str, pa.Array[Any]] = {
        "customer_id": pa.array(customer_ids),
        "outcome": pa.repeat(pa.scalar(Outcome.DEFERRED.word), count),
        "reason": pa.repeat(pa.scalar("not asked tonight"), count),
        "attempts": pa.repeat(pa.scalar(0, pa.int64()), count),
        "calls": pa.repeat(pa.scalar(0, pa.int64()), count),
        "asked_as": pa.array([text or None for text in asked_as], pa.string()),
        "_fetched_at": pa.array(times, pa.int64(), mask=times == 0).cast(pa.timestamp("us", "UTC")),
        "_night": pa.repeat(pa.scalar(folder.night, pa.date32()), count),
        RECORD: pa.repeat(pa.scalar(-1, pa.int64()), count),
    }
    arrays = [filled.get(column.name, pa.nulls(count, column.type)).cast(column.type) for column in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _rejects(folder: NightFolder, ledger: Ledger) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    schema = accounts_schema(accounts.REJECTS)
    paths = part_paths(folder.parts, accounts.REJECTS.name)
    rows = pa.Table.from_batches(_fresh_rejects(paths, schema, ledger), schema).sort_by("customer_id")
    return schema, rows.to_batches()


def _fresh_rejects(paths: Sequence[Path], schema: pa.Schema, ledger: Ledger) -> Iterator[pa.RecordBatch]:
    stale = pa.array(ledger.stale_records, pa.int64())
    for path in paths:
        for batch in read_batches(path):
            fresh = batch.filter(pc.invert(pc.is_in(batch.column(RECORD), stale)))
            yield fresh.select(schema.names).cast(schema)


def _unknown_fields(folder: NightFolder, ledger: Ledger) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Occurrences of all chunks together, by path and type."""
    schema = accounts_schema(accounts.UNKNOWN_FIELDS)
    summed = unknown_fields(folder, ledger).group_by(["path", "json_type"], use_threads=False)
    table = summed.aggregate([("customer_id", "count"), ("customer_id", "min"), ("customer_id", "max")])
    columns = [
        table["path"],
        table["json_type"],
        table["customer_id_count"],
        table["customer_id_min"],
        table["customer_id_max"],
        pa.repeat(pa.scalar(folder.night, pa.date32()), table.num_rows),
    ]
    ordered = pa.table(columns, schema=schema).sort_by([("path", "ascending"), ("json_type", "ascending")])
    return schema, ordered.to_batches()


def unknown_fields(folder: NightFolder, ledger: Ledger) -> pa.Table:
    """Each unknown key of each answer that counts: path, json_type, table_name, customer_id."""
    paths = part_paths(folder.parts, accounts.UNKNOWN_FIELDS.name)
    found = pa.concat_tables([UNKNOWN_PART_SCHEMA.empty_table(), *map(pq.read_table, paths)])
    stale = pc.is_in(found[RECORD], pa.array(ledger.stale_records, pa.int64()))
    return found.filter(pc.invert(stale))


def drift_of(table: str, folder: NightFolder, ledger: Ledger) -> tuple[int, int]:
    """How many values of tonight's answers came under keys unknown to a table, and how many fit none of its columns."""
    paths = part_paths(folder.parts, accounts.REJECTS.name)
    rejects = _fresh_rejects(paths, accounts_schema(accounts.REJECTS), ledger)
    unknown: int = unknown_fields(folder, ledger)["table_name"].to_pylist().count(table)
    return unknown, sum(batch.column("table_name").to_pylist().count(table) for batch in rejects)


def _rejected_ids(folder: NightFolder, _: Ledger) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    schema = accounts_schema(accounts.REJECTED_IDS)
    return schema, (batch.cast(schema) for batch in read_batches(folder.rejected_ids))


_TONIGHTS: dict[str, Callable[[NightFolder, Ledger], tuple[pa.Schema, Iterable[pa.RecordBatch]]]] = {
    "rejects": _rejects,
    "rejected_ids": _rejected_ids,
    "unknown_fields": _unknown_fields,
}
