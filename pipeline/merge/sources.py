"""Sorted rows from files: tonight's parts and the last snapshot, in the columns of the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.store.idsets import is_among
from pipeline.store.ledger import RECORD, Ints, Ledger
from pipeline.store.parquet import read_batches
from pipeline.store.parts import read_part

Batches = Iterable[pa.RecordBatch]
Group = Sequence[pa.RecordBatch]
"""Some, to be taken at once."""
Piece = TypeVar("Piece")

TEXT_BYTES = 24
"""What a text takes, about, where nobody has counted."""
_FEWEST_ROWS, _MOST_ROWS = 1_024, 32_768


def rows_in(size: int, schema: pa.Schema) -> int:
    """How many rows take about so many bytes; from the schema alone, so that the same files come of the same rows."""
    width = sum(
        column.type.bit_width / 8 if pa.types.is_primitive(column.type) else TEXT_BYTES for column in schema
    )
    return max(_FEWEST_ROWS, min(_MOST_ROWS, int(size / max(1.0, width))))


def fresh_rows(path: Path, schema: pa.Schema, ledger: Ledger, rows: int) -> Iterator[pa.RecordBatch]:
    """A part's rows, without those of answers that a later one replaced. Raises StorageError."""
    batches = read_part(path, batch_rows=rows)
    return _aligned((without_stale(batch, ledger) for batch in batches), schema, path)


def together(batches: Batches, rows: int) -> Iterator[Group]:
    """The same rows, so many or some more at a time: taking a group costs some calls, however few its rows are."""
    return in_groups(batches, lambda batch: batch.num_rows, rows)


def in_groups(pieces: Iterable[Piece], size_of: Callable[[Piece], int], enough: int) -> Iterator[list[Piece]]:
    """The pieces in their order, as many at a time as come to a size that is enough; fewer at the end."""
    waiting: list[Piece] = []
    waits = 0
    for piece in pieces:
        waiting.append(piece)
        waits += size_of(piece)
        if waits >= enough:
            yield waiting
            waiting, waits = [], 0
    if waiting:
        yield waiting


def joined_batches(batches: Group) -> pa.RecordBatch:
    """One after the other."""
    if len(batches) == 1:
        return batches[0]
    joined: pa.RecordBatch = pa.concat_batches(batches)  # type: ignore[attr-defined]  # the stubs lack it
    return joined


def without_stale(batch: pa.RecordBatch, ledger: Ledger) -> pa.RecordBatch:
    """The rows of answers that count."""
    if not len(ledger.dropped_records):
        return batch
    stale = is_among(batch.column(RECORD).to_numpy(), ledger.dropped_records)
    return batch.filter(pa.array(~stale)) if stale.any() else batch


def last_rows(paths: Iterable[Path], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """The last snapshot's rows, file by file. Raises StorageError."""
    for path in paths:
        yield from _aligned(read_batches(path, batch_rows=rows, use_threads=False), schema, path)


def _aligned(batches: Batches, schema: pa.Schema, path: Path) -> Iterator[pa.RecordBatch]:
    """The schema's columns in its order; one that an older snapshot lacks is null. Raises StorageError."""
    names: list[str] = []  # the same in all of a file
    places: list[int] | None = None
    for batch in batches:
        if not names:
            names, places = batch.schema.names, _places_in(batch.schema, schema)
        if places is not None:
            yield batch.select(places)
        else:
            arrays = [_column_as(column, batch, names, path) for column in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _places_in(found: pa.Schema, schema: pa.Schema) -> list[int] | None:
    """Where the schema's columns stand, if all of them do, as they are to be."""
    places = [found.get_field_index(field.name) for field in schema]
    is_there = all(
        place >= 0 and found.field(place) == field for place, field in zip(places, schema, strict=True)
    )
    return places if is_there else None


def _column_as(column: pa.Field[Any], batch: pa.RecordBatch, names: list[str], path: Path) -> pa.Array[Any]:
    if column.name not in names:
        missing: pa.Array[Any] = pa.nulls(batch.num_rows, column.type)
        return missing
    found: pa.Array[Any] = batch.column(names.index(column.name))
    if found.type == column.type:
        return found
    try:
        cast: pa.Array[Any] = found.cast(column.type)
        return cast
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise StorageError(
            f"The column {column.name} in {path} is {found.type}; some of it cannot become {column.type}.",
            "Roll back to a snapshot of this version, or begin a new export folder (output.url).",
        ) from exc


def ids_of(batch: pa.RecordBatch | pa.Table) -> Ints:
    """Whose rows they are."""
    ids: Ints = batch.column("customer_id").to_numpy()
    return ids
