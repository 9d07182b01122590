"""The merge, on Parquet files that were really written, against a plain-Python oracle."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import merge
from pipeline.errors import Exit, StorageError
from pipeline.merge import MergedTable, TableInputs, merge_table, part_paths, replaced_customers, write_files
from pipeline.outcome import Outcome
from pipeline.store.ledger import RECORD, Ledger
from pipeline.store.parquet import fingerprint, write_part

FIELDS: list[pa.Field[Any]] = [
    pa.field("customer_id", pa.int64()),
    pa.field("points", pa.decimal128(38, 9)),
    pa.field("extra", pa.string()),
]
SCHEMA = pa.schema(FIELDS)
PART_SCHEMA = SCHEMA.append(pa.field(RECORD, pa.int64()))

Row = tuple[int, str]


def a_ledger(verdicts: dict[int, Outcome], stale: Sequence[int] = ()) -> Ledger:
    ids = sorted(verdicts)
    return Ledger(
        customer_ids=np.array(ids, np.int64),
        outcomes=np.array([int(verdicts[one]) for one in ids], np.int8),
        fetched_at=np.zeros(len(ids), np.int64),
        verdicts=np.ones(len(ids), np.int64),
        stale_records=np.array(sorted(stale), np.int64),
        answered_ids=np.array(ids, np.int64),
        shadowed_records=np.empty(0, np.int64),
        calls=len(ids),
        repeated=0,
        throttled=0,
        records=len(ids),
    )


def table_of(rows: Sequence[Row], numbers: Sequence[int] | None = None) -> pa.Table:
    """Rows as a table; with record numbers as a part has them."""
    columns: list[Any] = [
        [one for one, _ in rows],
        [Decimal(one) for one, _ in rows],
        [text for _, text in rows],
    ]
    schema = SCHEMA
    if numbers is not None:
        columns, schema = [*columns, list(numbers)], PART_SCHEMA
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def plain(table: pa.Table) -> list[Row]:
    """A table's rows: whose, and the text that tells them apart."""
    ids: list[Any] = table["customer_id"].to_pylist()
    texts: list[Any] = table["extra"].to_pylist()
    return list(zip(ids, texts, strict=True))


class Export:
    """A night's parts and the last snapshot's files of one table."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.previous: list[Path] = []
        self.runs = 0

    def add_part(self, rows: Sequence[Row], number: int | None = None) -> None:
        chunk = len(self.parts)
        numbers = [chunk if number is None else number] * len(rows)
        write_part(self.root / "parts" / "t" / f"chunk-{chunk:05d}.parquet", table_of(rows, numbers))

    def add_previous(self, rows: Sequence[Row] | pa.Table, **options: Any) -> None:
        path = self.root / f"previous-{len(self.previous)}.parquet"
        pq.write_table(rows if isinstance(rows, pa.Table) else table_of(rows), path, **options)
        self.previous.append(path)

    @property
    def parts(self) -> list[Path]:
        return part_paths(self.root / "parts", "t")

    def merge(self, ledger: Ledger) -> tuple[MergedTable, list[Row]]:
        """The new table, and its rows as they stand in its files; every promise of a manifest is checked."""
        self.runs += 1
        folder = self.root / f"snapshot-{self.runs}" / "t"
        inputs = TableInputs(SCHEMA, self.parts, self.previous, "zstd")
        merged = merge_table(inputs, ledger, replaced_customers(ledger, self.parts), folder)
        rows = rows_of(folder, merged)
        assert [one for one, _ in rows] == sorted(one for one, _ in rows)
        assert merged.tonight + merged.kept == merged.table.rows == len(rows)
        assert not (self.root / "parts" / "t" / "runs").exists()
        return merged, rows


def rows_of(folder: Path, merged: MergedTable) -> list[Row]:
    found: list[Row] = []
    assert [path.name for path in sorted(folder.iterdir())] == [
        Path(one.path).name for one in merged.table.files
    ]
    for file in merged.table.files:
        data = (folder.parent / file.path).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        table = pq.read_table(pa.BufferReader(data))
        assert (table.schema, table.num_rows) == (SCHEMA, file.rows)
        found += plain(table)
    assert merged.table.schema_fingerprint == fingerprint(SCHEMA)
    return found


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def test_tonights_rows_replace_the_last_ones(export: Export) -> None:
    """Exported customers have tonight's rows only, also where there are fewer or none; others keep theirs."""
    export.add_previous([(1, "old"), (1, "old, too"), (2, "old"), (3, "old"), (4, "old")])
    export.add_part([(2, "new"), (2, "new, too"), (5, "new")])
    merged, rows = export.merge(a_ledger({1: Outcome.EXPORTED, 2: Outcome.EXPORTED, 5: Outcome.EXPORTED}))
    assert rows == [(2, "new"), (2, "new, too"), (3, "old"), (4, "old"), (5, "new")]
    assert (merged.tonight, merged.kept, merged.dropped) == (3, 2, 3)


@pytest.mark.parametrize(
    ("outcome", "stays"),
    [
        (Outcome.EXPORTED, False),
        (Outcome.DELETED, False),
        (Outcome.MERGED, False),
        (Outcome.PARTIAL, True),
        (Outcome.ABSENT, True),
        (Outcome.FAILED, True),
        (Outcome.DEFERRED, True),
    ],
)
def test_who_leaves_and_who_stays_without_new_rows(export: Export, outcome: Outcome, stays: bool) -> None:
    """Deleted and merged customers leave, full answers replace; all others keep their last rows."""
    export.add_previous([(1, "old"), (2, "old")])
    _, rows = export.merge(a_ledger({1: outcome}))
    assert rows == [(1, "old")] * stays + [(2, "old")]


def test_a_partial_answer_replaces_the_tables_it_brought_rows_for(export: Export) -> None:
    """Customer 1's partial answer has rows here, customer 2's has none."""
    export.add_previous([(1, "old"), (1, "old, too"), (2, "old")])
    export.add_part([(1, "new")])
    _, rows = export.merge(a_ledger({1: Outcome.PARTIAL, 2: Outcome.PARTIAL}))
    assert rows == [(1, "new"), (2, "old")]


def test_rows_of_an_answer_that_was_replaced_are_left_out(export: Export) -> None:
    """A stale record's rows count for nothing, not even as what a partial answer brought."""
    export.add_previous([(1, "old"), (2, "old")])
    export.add_part([(1, "stale"), (2, "stale")], number=10)
    export.add_part([(1, "fresh")], number=20)
    _, rows = export.merge(a_ledger({1: Outcome.EXPORTED, 2: Outcome.PARTIAL}, stale=[10]))
    assert rows == [(1, "fresh"), (2, "old")]


def test_nothing_at_all_gives_one_empty_file(export: Export) -> None:
    """Readers find the table and its columns, also without rows; empty inputs are no trouble."""
    for _ in range(2):
        merged, rows = export.merge(a_ledger({}))
        assert (rows, [file.rows for file in merged.table.files]) == ([], [0])
        export.add_part([])
        export.add_previous([])


def test_an_older_snapshot_with_other_columns_fits_in(export: Export) -> None:
    """A column that it lacks is null, one too many is dropped, order and narrower types don't matter."""
    older = pa.table(
        {"gone": ["x"], "points": pa.array([3], pa.int32()), "customer_id": pa.array([1], pa.int64())}
    )
    export.add_previous(older)
    export.add_part([(2, "new")])
    merged, rows = export.merge(a_ledger({2: Outcome.EXPORTED}))
    assert rows == [(1, None), (2, "new")]
    path = export.root / "snapshot-1" / merged.table.files[0].path
    assert pq.read_table(path)["points"].to_pylist() == [Decimal(3), Decimal(2)]


def test_a_column_that_cannot_become_the_new_type_is_told(export: Export) -> None:
    """File, column and both types are named, with exit code 7: no bug, and no half table in silence."""
    export.add_previous(pa.table({"customer_id": pa.array([1], pa.int64()), "points": ["many"]}))
    with pytest.raises(StorageError, match=r"column points in .*previous-0\.parquet is string") as caught:
        export.merge(a_ledger({}))
    assert caught.value.exit_code is Exit.STORAGE
    assert caught.value.hint


def test_a_flipped_bit_in_the_last_snapshot_is_told(export: Export) -> None:
    """A page with a bad checksum is not copied into the new snapshot with a fresh one."""
    export.add_previous(
        [(one, f"text {one}") for one in range(500)], write_page_checksum=True, compression="none"
    )
    path = export.previous[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"text 77")] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"previous-0\.parquet") as caught:
        export.merge(a_ledger({}))
    assert "rollback" in caught.value.hint


def test_a_full_file_is_followed_by_the_next(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are rotated at their size; no row is lost or doubled, and no file but a lone one is empty."""
    monkeypatch.setattr(merge, "FILE_BYTES", 2_000)
    monkeypatch.setattr(merge, "ROW_GROUP_BYTES", 1)
    monkeypatch.setattr(merge, "BUFFERED_ROWS", 1)  # batches of 1,024 rows, the fewest there are
    expected = [(one, f"text {one * 7919 % 10_007}") for one in range(10_000)]
    export.add_previous(expected[::2])
    export.add_part(expected[1::2])
    merged, rows = export.merge(a_ledger({one: Outcome.EXPORTED for one, _ in expected[1::2]}))
    assert rows == expected
    assert len(merged.table.files) > 3
    assert all(file.rows for file in merged.table.files)


@pytest.mark.parametrize("parts", [4, 5, 40])
def test_more_parts_than_may_be_open_are_merged_in_runs(
    export: Export, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """At three at a time, four and forty parts give what one would; what a death left of a run is not read."""
    monkeypatch.setattr(merge, "FAN_IN", 3)
    left = export.root / "parts" / "t" / "runs" / "0-00000"
    left.mkdir(parents=True)
    (left / "part-00000.parquet").write_bytes(b"half")
    export.add_previous([(0, "old"), (50, "old"), (10_000, "old")])
    for part in range(parts):
        export.add_part([(part + parts * at, f"{part}.{at}") for at in range(5)])
    _, rows = export.merge(a_ledger(dict.fromkeys(range(parts * 5), Outcome.EXPORTED)))
    new = [(part + parts * at, f"{part}.{at}") for at in range(5) for part in range(parts)]
    assert rows == new + [(one, "old") for one in (50, 10_000) if one >= parts * 5]


def test_a_disk_without_room_is_told(export: Export) -> None:
    """The kernel refuses more bytes: a StorageError with the folder, and nothing left open that warns later."""
    rows = [(one, hashlib.sha256(b"%d" % one).hexdigest()) for one in range(5_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match="Cannot write the table in") as caught:
            write_files(table_of(rows).to_batches(), SCHEMA, export.root / "t", "zstd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(export.root / "t") in caught.value.message


def test_parts_come_in_the_order_of_their_chunks(tmp_path: Path) -> None:
    """By number, not by name; what the night itself made comes last, hidden leftovers not at all."""
    folder = tmp_path / "outcomes"
    folder.mkdir()
    for name in (
        "deferred.parquet",
        "chunk-100000.parquet",
        "chunk-99999.parquet",
        ".chunk-00001.parquet.7.tmp",
    ):
        (folder / name).write_bytes(b"")
    found = [path.name for path in part_paths(tmp_path, "outcomes")]
    assert found == ["chunk-99999.parquet", "chunk-100000.parquet", "deferred.parquet"]


def batches_of(rows: list[Row], cuts: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows, cut into batches anywhere; two equal cuts give an empty batch."""
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in pairwise(edges):
        yield from table_of(rows[start:end]).to_batches() or [pa.RecordBatch.from_pylist([], SCHEMA)]


INPUTS = st.lists(
    st.tuples(st.lists(st.integers(1, 8), max_size=12).map(sorted), st.lists(st.integers(0, 12), max_size=5)),
    max_size=4,
)


@settings(max_examples=200)
@given(inputs=INPUTS)
def test_however_inputs_are_cut_into_batches_the_rows_are_the_same(
    inputs: list[tuple[list[int], list[int]]],
) -> None:
    """Sorted, none lost, none doubled; rows of one customer from one input keep their order across batches."""
    rows = [[(one, f"{number}:{at}") for at, one in enumerate(ids)] for number, (ids, _) in enumerate(inputs)]
    sources = [batches_of(some, cuts) for some, (_, cuts) in zip(rows, inputs, strict=True)]
    table = pa.Table.from_batches(merge._merge_sorted(sources), SCHEMA)
    found = plain(table)
    assert [one for one, _ in found] == sorted(one for one, _ in found)
    assert sorted(found) == sorted(row for some in rows for row in some)
    for number, some in enumerate(rows):
        assert [row for row in found if row[1].startswith(f"{number}:")] == some


OUTCOMES = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.RETRIED])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    previous=st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=3),
    verdicts=st.dictionaries(
        st.integers(1, 9), st.tuples(OUTCOMES, st.integers(0, 2), st.integers(0, 3)), max_size=9
    ),
)
def test_any_night_on_any_snapshot_is_the_plain_answer(
    tmp_path_factory: pytest.TempPathFactory,
    previous: list[list[int]],
    verdicts: dict[int, tuple[Outcome, int, int]],
) -> None:
    """Random last rows over several files, random verdicts with rows over several parts: as a plain loop has it."""
    export = Export(tmp_path_factory.mktemp("export"))
    ids = sorted(one for some in previous for one in some)
    old = [(one, f"old {at}") for at, one in enumerate(ids)]
    for some in previous:
        export.add_previous([old.pop(0) for _ in some])
    new = {
        one: [(one, f"new {at}") for at in range(count)] if outcome.has_data else []
        for one, (outcome, _, count) in verdicts.items()
    }
    for part in range(3):
        export.add_part([row for one in sorted(verdicts) if verdicts[one][1] == part for row in new[one]])
    _, found = export.merge(a_ledger({one: outcome for one, (outcome, _, _) in verdicts.items()}))
    leaves = {
        one
        for one, (outcome, _, _) in verdicts.items()
        if outcome in (Outcome.EXPORTED, Outcome.DELETED, Outcome.MERGED) or new[one]
    }
    expected = [(one, f"old {at}") for at, one in enumerate(ids) if one not in leaves]
    assert sorted(found) == sorted([*expected, *(row for rows in new.values() for row in rows)])
