"""The new snapshot's files: the last snapshot, minus the customers seen tonight, plus tonight's rows.

Every input is sorted by customer_id, so a table is merged in one pass with a bounded number of rows in memory.
Each round takes, from every input, the rows up to the smallest "last ID" that any of them has buffered. Of very
many parts, groups are merged into runs first, so that neither open files nor memory grow with the night.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StorageError
from pipeline.outcome import Outcome
from pipeline.store.atomic import make_folder, storage_errors, sync_file, sync_folder
from pipeline.store.journal import chunk_number
from pipeline.store.ledger import RECORD, Ints, Ledger
from pipeline.store.parquet import TableFileWriter, fingerprint, read_batches
from pipeline.store.snapshots import ManifestFile, ManifestTable

BUFFERED_ROWS = 1 << 18
"""So many rows of all inputs together are kept in memory, at the most 32k of each."""
FAN_IN = 128
"""So many parts are open at once."""
ROW_GROUP_BYTES = 32 << 20
FILE_BYTES = 256 << 20

Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class MergedTable:
    """One table of the new snapshot, and the sums that must hold: tonight + kept = rows."""

    table: ManifestTable
    tonight: int
    kept: int
    dropped: int = 0  # rows of the last snapshot that left


@dataclass(frozen=True)
class TableInputs:
    """Where a table's rows come from. `previous` are the last snapshot's files, in order, read once, one at a time."""

    schema: pa.Schema
    parts: Sequence[Path]
    previous: Iterable[Path]
    compression: str


def keep_in_place(_file: Path) -> None:
    """What becomes of a finished file that is where it belongs."""


def merge_table(
    inputs: TableInputs,
    ledger: Ledger,
    replaced: Ints,
    folder: Path,
    deliver: Callable[[Path], None] = keep_in_place,
) -> MergedTable:
    """Write a table's files into `folder`; rows of `replaced` customers (sorted IDs) leave the last snapshot.

    Each file is handed to `deliver` when it is finished. Raises StorageError.
    """
    rows_each = max(1024, min(32_768, BUFFERED_ROWS // (min(FAN_IN, len(inputs.parts)) + 1)))
    tonight = [_Counted(_fresh_rows(path, inputs.schema, ledger, rows_each)) for path in inputs.parts]
    before = _Counted(_aligned_files(inputs.previous, inputs.schema, rows_each))
    kept = _Counted(_without(before, replaced))
    with _few(tonight, inputs, rows_each) as few:
        rows = _merge_sorted([*few, kept])
        table = write_files(rows, inputs.schema, folder, inputs.compression, deliver)
    return MergedTable(table, sum(one.rows for one in tonight), kept.rows, before.rows - kept.rows)


@contextmanager
def _few(sources: Sequence[Batches], inputs: TableInputs, rows: int) -> Iterator[Sequence[Batches]]:
    """The same rows from at most FAN_IN sources; of more, groups become runs beside the parts."""
    if len(sources) <= FAN_IN:
        yield sources
        return
    home = inputs.parts[0].parent / "runs"
    shutil.rmtree(home, ignore_errors=True)  # a death's
    try:
        level = 0
        while len(sources) > FAN_IN:
            groups = [sources[start : start + FAN_IN] for start in range(0, len(sources), FAN_IN)]
            sources = [
                _run(group, inputs.schema, home / f"{level}-{number:05d}", rows)
                for number, group in enumerate(groups)
            ]
            level += 1
        yield sources
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(group: Sequence[Batches], schema: pa.Schema, folder: Path, rows: int) -> Batches:
    """The group's rows as one sorted source, by way of the disk."""
    table = write_files(_merge_sorted(group), schema, folder, "zstd")
    return _aligned_files([folder.parent / file.path for file in table.files], schema, rows)


def customers_with_rows(parts: Sequence[Path], among: Ints, ledger: Ledger) -> Ints:
    """Which of the IDs `among` (sorted) have rows in these parts."""
    found = [np.empty(0, np.int64)]
    for path in parts if len(among) else ():
        for batch in read_batches(path, ["customer_id", RECORD]):
            ids = _without_stale(batch, ledger).column("customer_id").to_numpy()
            found.append(ids[_is_among(ids, among)])
    return np.unique(np.concatenate(found))


def replaced_customers(ledger: Ledger, parts: Sequence[Path]) -> Ints:
    """Whose rows leave the last snapshot's table: all with a full answer, and all deleted or merged.

    A partial answer replaces only what it brought; absent and failed ones keep their last rows.
    """
    whole = ledger.with_outcome(Outcome.EXPORTED, Outcome.DELETED, Outcome.MERGED)
    partial = customers_with_rows(parts, ledger.with_outcome(Outcome.PARTIAL), ledger)
    return np.union1d(whole, partial)


def part_paths(parts: Path, table: str) -> list[Path]:
    """A table's parts, in the order of their chunks; parts made by the night itself come last."""
    return sorted((parts / table).glob("*.parquet"), key=_part_order)


def _part_order(path: Path) -> tuple[int, str]:
    return (chunk_number(path), "") if path.name.startswith("chunk-") else (1 << 60, path.name)


class _Counted:
    """Counts the rows that pass."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _fresh_rows(path: Path, schema: pa.Schema, ledger: Ledger, rows: int) -> Iterator[pa.RecordBatch]:
    """A part's rows, without those of answers that a later one replaced."""
    for batch in read_batches(path, batch_rows=rows):
        yield _aligned(_without_stale(batch, ledger), schema, path)


def _without_stale(batch: pa.RecordBatch, ledger: Ledger) -> pa.RecordBatch:
    if not len(ledger.dropped_records):
        return batch
    stale = _is_among(batch.column(RECORD).to_numpy(), ledger.dropped_records)
    return batch.filter(pa.array(~stale)) if stale.any() else batch


def _aligned_files(paths: Iterable[Path], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    for path in paths:
        for batch in read_batches(path, batch_rows=rows):
            yield _aligned(batch, schema, path)


def _aligned(batch: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    """The schema's columns in its order; one that an older snapshot lacks is null. Raises StorageError."""
    arrays = [_column_as(column, batch, path) for column in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column_as(column: pa.Field[Any], batch: pa.RecordBatch, path: Path) -> pa.Array[Any]:
    if column.name not in batch.schema.names:
        missing: pa.Array[Any] = pa.nulls(batch.num_rows, column.type)
        return missing
    found = batch.column(column.name)
    try:
        cast: pa.Array[Any] = found.cast(column.type)
        return cast
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise StorageError(
            f"The column {column.name} in {path} is {found.type}; some of it cannot become {column.type}.",
            "Roll back to a snapshot of this version, or begin a new export folder (output.url).",
        ) from exc


def _without(batches: Batches, customers: Ints) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        gone = _is_among(batch.column("customer_id").to_numpy(), customers)
        yield batch.filter(pa.array(~gone)) if gone.any() else batch


def _is_among(values: Ints, ordered: Ints) -> npt.NDArray[np.bool_]:
    """Which values stand in the sorted array."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[at] == values
    return found


@dataclass
class _Input:
    """One sorted input with the batch that waits."""

    batches: Iterator[pa.RecordBatch]
    waiting: pa.RecordBatch | None = None
    ids: Any = field(default=None)

    def fill(self) -> bool:
        """Have rows waiting; False when there are no more."""
        while self.waiting is None or not self.waiting.num_rows:
            self.waiting = next(self.batches, None)
            if self.waiting is None:
                return False
            self.ids = self.waiting.column("customer_id").to_numpy()
        return True

    def take_until(self, boundary: int) -> pa.RecordBatch:
        """The waiting rows with IDs up to and including the boundary."""
        assert self.waiting is not None
        count = int(np.searchsorted(self.ids, boundary, side="right"))
        taken, self.waiting = self.waiting.slice(0, count), self.waiting.slice(count)
        self.ids = self.ids[count:]
        return taken


def _merge_sorted(inputs: Sequence[Batches]) -> Iterator[pa.RecordBatch]:
    """All rows of all inputs, sorted by customer_id; an ID's rows from one input stay in their order."""
    live = [_Input(iter(batches)) for batches in inputs]
    while live := [one for one in live if one.fill()]:
        boundary = min(int(one.ids[-1]) for one in live)
        taken = [rows for one in live if (rows := one.take_until(boundary)).num_rows]
        if len(taken) == 1:
            yield taken[0]
        else:
            table = pa.Table.from_batches(taken)
            order = pc.sort_indices(table, [("customer_id", "ascending")])
            yield from table.take(order).combine_chunks().to_batches()


class _HashingFile:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def write_files(
    batches: Batches,
    schema: pa.Schema,
    folder: Path,
    compression: str,
    deliver: Callable[[Path], None] = keep_in_place,
) -> ManifestTable:
    """Write rows as `<table>/part-00000.parquet …`, a new file at 256 MB; an empty table has one empty file.

    Each file is handed to `deliver` when it is finished. Raises StorageError.
    """
    make_folder(folder)
    files: list[ManifestFile] = []
    source = iter(batches)
    with storage_errors("write the table in", folder):
        batch = next(source, None)
        while batch is not None or not files:
            path = folder / f"part-{len(files):05d}.parquet"
            file, batch = _write_one_file(path, schema, compression, batch, source)
            files.append(file)
            deliver(path)
        sync_folder(folder)
    return ManifestTable(
        rows=sum(file.rows for file in files), files=files, schema_fingerprint=fingerprint(schema)
    )


def _write_one_file(
    path: Path,
    schema: pa.Schema,
    compression: str,
    batch: pa.RecordBatch | None,
    source: Iterator[pa.RecordBatch],
) -> tuple[ManifestFile, pa.RecordBatch | None]:
    """Write `batch` and what follows it until the file is full; gives it, and the batch for the next."""
    with closing(_HashingFile(path)) as sink:
        writer = TableFileWriter(sink, schema, compression, ROW_GROUP_BYTES)
        try:
            while batch is not None and sink.bytes < FILE_BYTES:
                writer.write([batch])
                batch = next(source, None)
            writer.close()
        except BaseException:
            writer.abandon()
            raise
    sync_file(path)
    relative = f"{path.parent.name}/{path.name}"
    return ManifestFile(path=relative, rows=writer.rows, bytes=sink.bytes, sha256=sink.hexdigest()), batch
