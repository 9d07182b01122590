"""A chunk's parts, written while the chunk is read: the rows of all groups, all names at the end, or none."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.collect import Options
from pipeline.blocks.schema import part_schema
from pipeline.errors import StorageError
from pipeline.normalize import chunk, parts
from pipeline.normalize.chunk import ChunkNormalizer
from pipeline.normalize.parts import PartFiles
from pipeline.outcome import Outcome
from pipeline.store.journal import Record
from pipeline.store.ledger import CALLS, CALLS_SCHEMA
from pipeline.store.parts import part_name, part_paths, read_part

OPTIONS = Options(date(2026, 11, 22))
ROWS = pa.record_batch({"customer_id": [1, 2]})


def rows_of(path: Path) -> pa.Table | None:
    """All of a part's rows; None where it has none."""
    batches = list(read_part(path))
    return pa.Table.from_batches(batches) if batches else None


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def records(answers: int) -> list[Record]:
    """Answers with an unknown key, a value that fits nowhere, an expiry, and calls in vain between them."""
    body = (
        b'{"id":%d,"profiles":[{"firstName":"a","new":1}],"loyaltyInfo":{"lifetimePurchases":"much"},'
        b'"pointsSummary":{"slabExpiryDate":"2027-01-%02dT00:00:00Z"},"warnings":[]}'
    )
    found = []
    for number in range(1, answers + 1):
        found.append(Record(number, number, 0, 0, 1, 1, 1, 500, int(Outcome.RETRIED), b"", b""))
        told = body % (number, number)
        found.append(Record(number, number, 0, 0, 1, 1, 1, 200, int(Outcome.EXPORTED), b"", told))
    return found


def normalized(folder: Path, answers: int) -> dict[str, pa.Table | None]:
    """All parts of a chunk."""
    normalizer = ChunkNormalizer(TABLES, OPTIONS, folder)
    for record in records(answers):
        normalizer.add(record, 3)
    normalizer.write(3)
    return {path.parent.name: rows_of(path) for path in part_paths(folder)}


@pytest.mark.parametrize("answers", [0, 4, 23, 25])
def test_the_groups_of_a_chunk_have_the_rows_of_the_whole(
    answers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five answers a group, or all in one: the same rows in the same order, dates and record numbers included."""
    whole = normalized(tmp_path / "whole", answers)
    monkeypatch.setattr("pipeline.normalize.answers.BATCH_RECORDS", 5)
    monkeypatch.setattr(chunk, "GROUP_RECORDS", 5)
    grouped = normalized(tmp_path / "grouped", answers)
    assert {"rejects", "unknown_fields", "outcomes", CALLS, "points_summary"} <= set(whole) or not answers
    assert grouped.keys() == whole.keys()
    assert grouped == whole
    calls = tmp_path / "grouped" / CALLS / part_name(3)
    assert len(list(read_part(calls))) == -(-answers // 5)


def test_nothing_has_a_name_before_all_is_there(tmp_path: Path) -> None:
    """Until the end the parts are hidden; then all are there."""
    files = PartFiles(tmp_path, 0)
    for table in ("customers", CALLS):
        files.add(table, [ROWS])
    assert not part_paths(tmp_path)
    files.finish(last=CALLS)
    assert files_in(tmp_path) == {"customers/chunk-00000.part", f"{CALLS}/chunk-00000.part"}


def test_the_list_of_calls_is_named_when_all_others_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Syncs in order: all other files, their folders, then the list of calls and its folder."""
    synced: list[str] = []
    monkeypatch.setattr(parts, "sync_file", lambda path: synced.append(f"file of {path.parent.name}"))
    monkeypatch.setattr(parts, "sync_folder", lambda path: synced.append(f"folder {path.name}"))
    files = PartFiles(tmp_path, 0)
    for table in (CALLS, "customers", "cards"):
        files.add(table, [ROWS])
    files.finish(last=CALLS)
    others = ["file of customers", "file of cards", "folder customers", "folder cards"]
    assert synced == [*others, f"file of {CALLS}", f"folder {CALLS}"]


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    """Something stands where the part of a table should lie: the error names it, and no hidden file takes up room."""
    (tmp_path / "cards" / part_name(0)).mkdir(parents=True)
    files = PartFiles(tmp_path, 0)
    for table in ("customers", "cards", CALLS):
        files.add(table, [ROWS])
    with pytest.raises(StorageError, match="cards"):
        files.finish(last=CALLS)
    assert not [name for name in files_in(tmp_path) if name.endswith(".tmp")]
    assert not (tmp_path / CALLS / part_name(0)).exists()


@pytest.mark.parametrize("offsets", [False, True])
def test_every_table_is_read_back_with_the_types_that_were_written(tmp_path: Path, offsets: bool) -> None:
    """Decimals, moments with and without a zone, dates, texts: nothing becomes another type, nor null a zero."""
    schemas = {table.name: part_schema(table, offsets=offsets) for table in TABLES} | {CALLS: CALLS_SCHEMA}
    files = PartFiles(tmp_path, 0)
    for name, schema in schemas.items():
        nulls = [pa.nulls(3, field.type) for field in schema]
        files.add(name, [pa.RecordBatch.from_arrays(nulls, schema=schema)])
    files.finish(last=CALLS)
    for name, schema in schemas.items():
        (batch,) = read_part(tmp_path / name / part_name(0))
        assert batch.schema.equals(schema), name
        assert all(column.null_count == 3 for column in batch.columns), name
