"""A table of a snapshot as CSV: how its rows get into what reads no Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.ddl.source import Source, open_place
from pipeline.errors import StorageError, UsageError
from pipeline.store.parquet import read_batches


def write_csv(source: Source, table: str, out: BinaryIO, *, header: bool = False) -> None:
    """Write a table's rows, file by file: null is nothing at all, an empty text is `""`.

    U+0000 becomes U+FFFD: PostgreSQL holds no text with it. Raises UsageError where the snapshot has no such
    table, StorageError where a file cannot be read.
    """
    found = source.manifest.tables.get(table)
    if found is None:
        known = ", ".join(source.manifest.tables)
        raise UsageError(f"Snapshot {source.name} has no table {table}.", f"It has {known}.")
    with open_place(source.base) as place:
        for number, file in enumerate(found.files):
            with place.reading(file.path, file.sha256) as path:
                _write_file(path, out, header=header and number == 0)


def _write_file(path: Path, out: BinaryIO, *, header: bool) -> None:
    # "needed" puts every text between quote marks and leaves null bare, so that "" stays apart from null.
    options = pa_csv.WriteOptions(include_header=header, quoting_style="needed")
    with pa_csv.CSVWriter(out, _schema_of(path), write_options=options) as writer:
        for batch in read_batches(path):
            writer.write_batch(_without_nul(batch))


def _schema_of(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as exc:
        raise StorageError(
            f"Cannot read {path}: {exc}", "`capillary-export rollback` goes a night back."
        ) from exc


def _without_nul(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        pc.replace_substring(cast(Any, column), "\0", "\ufffd") if pa.types.is_string(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
