"""The merge, on Parquet files that were really written, against a plain-Python oracle."""

from __future__ import annotations

import hashlib
import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date
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

from pipeline.config import SnapshotConfig
from pipeline.errors import Exit, StorageError
from pipeline.merge import (
    Leaving,
    MergedTable,
    TableInputs,
    codes_in,
    files,
    groups,
    merge_table,
    runs,
    table,
    write_files,
)
from pipeline.merge import rounds as rounds_module
from pipeline.merge.changes import changes_schema
from pipeline.merge.coding import Coding
from pipeline.merge.files import keep_in_place
from pipeline.merge.leaving import Leaves
from pipeline.merge.rounds import in_order, rounds
from pipeline.merge.runs import SortedRows
from pipeline.merge.sources import together
from pipeline.merge.table import SortedTable
from pipeline.night.abreast import BUDGET_BYTES
from pipeline.outcome import Outcome
from pipeline.store.ledger import RECORD, Ledger
from pipeline.store.parquet import fingerprint
from pipeline.store.parts import part_name, part_paths, write_part

FIELDS: list[pa.Field[Any]] = [
    pa.field("customer_id", pa.int64()),
    pa.field("points", pa.decimal128(38, 9)),
    pa.field("extra", pa.string()),
]
SCHEMA = pa.schema(FIELDS)
PART_SCHEMA = SCHEMA.append(pa.field(RECORD, pa.int64()))

Row = tuple[int, str]
Gaps = dict[int, list[int]]
MERGE = SnapshotConfig()


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
        write_part(self.root / "parts" / "t" / part_name(chunk), table_of(rows, numbers))

    def add_previous(self, rows: Sequence[Row] | pa.Table, **options: Any) -> None:
        path = self.root / f"previous-{len(self.previous)}.parquet"
        pq.write_table(rows if isinstance(rows, pa.Table) else table_of(rows), path, **options)
        self.previous.append(path)

    @property
    def parts(self) -> list[Path]:
        return part_paths(self.root / "parts", "t")

    def merge(
        self,
        ledger: Ledger,
        snapshot: SnapshotConfig = MERGE,
        gaps: Gaps | None = None,
        table: str = "segments",
    ) -> tuple[MergedTable, list[Row]]:
        """The new table, and its rows as they stand in its files; every promise of a manifest is checked.

        It goes by the rules of `table`; `gaps` are the customers by their warnings' codes.
        """
        self.runs += 1
        folder = self.root / f"snapshot-{self.runs}" / "t"
        inputs = TableInputs(SCHEMA, self.parts, self.previous, "zstd")
        told = {code: np.array(ids, np.int64) for code, ids in (gaps or {}).items()}
        merged = merge_table(inputs, ledger, Leaving(ledger, snapshot, told).of(table), folder)
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
    monkeypatch.setattr(files, "FILE_BYTES", 2_000)
    monkeypatch.setattr(groups, "WAITING_BYTES", 1)
    for room in (table, runs):
        monkeypatch.setattr(room, "SOURCES_BYTES", 1)  # batches of 1,024 rows, the fewest there are
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
    monkeypatch.setattr(runs, "FAN_IN", 3)
    monkeypatch.setattr(runs, "RUN_BYTES", 1)
    left = export.root / "parts" / "t" / "runs"
    left.mkdir(parents=True)
    (left / "0-00000").write_bytes(b"half")
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
        "deferred.part",
        "chunk-100000.part",
        "chunk-99999.parquet",
        ".chunk-00001.part.7.tmp",
    ):
        (folder / name).write_bytes(b"")
    found = [path.name for path in part_paths(tmp_path, "outcomes")]
    assert found == ["chunk-99999.parquet", "chunk-100000.part", "deferred.part"]


def batches_of(rows: list[Row], cuts: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows, cut into batches anywhere; two equal cuts give an empty batch."""
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in pairwise(edges):
        yield from table_of(rows[start:end]).to_batches() or [pa.RecordBatch.from_pylist([], SCHEMA)]


INPUTS = st.lists(
    st.tuples(st.lists(st.integers(1, 8), max_size=12).map(sorted), st.lists(st.integers(0, 12), max_size=5)),
    max_size=4,
)


@pytest.mark.parametrize("is_native", [True, False], ids=["in C", "by numpy"])
@settings(max_examples=200)
@given(inputs=INPUTS, enough=st.integers(0, 100))
def test_however_inputs_are_cut_into_batches_the_rows_are_the_same(
    is_native: bool, inputs: list[tuple[list[int], list[int]]], enough: int
) -> None:
    """Sorted, none lost, none doubled; rows of one customer from one input keep their order across batches."""
    rows = [[(one, f"{number}:{at}") for at, one in enumerate(ids)] for number, (ids, _) in enumerate(inputs)]
    coding = Coding(SCHEMA)
    sources = [map(coding.rows, batches_of(some, cuts)) for some, (_, cuts) in zip(rows, inputs, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        if not is_native:
            patch.setattr(rounds_module, "records_library", lambda: None)
        merged = [
            coding.batch(in_order([rows for pieces in one for rows in pieces], coding.none()))
            for one in rounds(sources, enough)
        ]
    for one, following in pairwise(merged):
        assert one["customer_id"][-1].as_py() < following["customer_id"][0].as_py()
    found = plain(pa.Table.from_batches(merged, SCHEMA))
    assert [one for one, _ in found] == sorted(one for one, _ in found)
    assert sorted(found) == sorted(row for some in rows for row in some)
    for number, some in enumerate(rows):
        assert [row for row in found if row[1].startswith(f"{number}:")] == some


OUTCOMES = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.RETRIED])
KEEP_OR_DROP = st.sampled_from(["keep", "drop"])
SNAPSHOTS = st.builds(
    SnapshotConfig, mode=st.sampled_from(["merge", "merge", "full"]), absent=KEEP_OR_DROP, failed=KEEP_OR_DROP
)
CODES = st.sampled_from([8063, 8088, 91001, 91005])
"""For the table `customer_status`: three that do not concern it, or tear it, or may concern any table."""


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    previous=st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=3),
    verdicts=st.dictionaries(
        st.integers(1, 9), st.tuples(OUTCOMES, st.integers(0, 2), st.integers(0, 3)), max_size=9
    ),
    codes=st.dictionaries(st.integers(1, 9), st.sets(CODES, max_size=2), max_size=9),
    snapshot=SNAPSHOTS,
)
def test_any_night_on_any_snapshot_is_the_plain_answer(
    tmp_path_factory: pytest.TempPathFactory,
    previous: list[list[int]],
    verdicts: dict[int, tuple[Outcome, int, int]],
    codes: dict[int, set[int]],
    snapshot: SnapshotConfig,
) -> None:
    """Random last rows over several files, verdicts, warnings and policies, with rows over several parts."""
    export = Export(tmp_path_factory.mktemp("export"))
    ids = sorted(one for some in previous for one in some)
    old = [(one, f"old {at}") for at, one in enumerate(ids)]
    new = {
        one: [(one, f"new {at}") for at in range(count)] if outcome.has_data else []
        for one, (outcome, _, count) in verdicts.items()
    }
    outcomes = {one: outcome for one, (outcome, _, _) in verdicts.items()}
    expected = [
        row
        for one in sorted({*ids, *verdicts})
        for row in rows_that_stand(
            [row for row in old if row[0] == one],
            new.get(one, []),
            outcomes.get(one),
            codes.get(one, set()),
            snapshot,
        )
    ]
    rest = list(old)
    for some in previous:
        export.add_previous([rest.pop(0) for _ in some])
    for part in range(3):
        export.add_part([row for one in sorted(verdicts) if verdicts[one][1] == part for row in new[one]])
    gaps = {code: sorted(one for one in codes if code in codes[one]) for code in (8063, 8088, 91001, 91005)}
    _, found = export.merge(a_ledger(outcomes), snapshot, gaps, "customer_status")
    assert found == expected


def rows_that_stand(
    old: list[Row], new: list[Row], outcome: Outcome | None, codes: set[int], snapshot: SnapshotConfig
) -> list[Row]:
    """The rules, for one customer of `customer_status`, in plain words."""
    if snapshot.mode == "full" or outcome in (Outcome.EXPORTED, Outcome.DELETED, Outcome.MERGED):
        return new
    if outcome is Outcome.ABSENT:
        return old if snapshot.absent == "keep" else []
    if outcome is Outcome.FAILED:
        return old if snapshot.failed == "keep" else []
    if outcome is not Outcome.PARTIAL:
        return old
    if 8088 in codes:  # its row is torn
        return old or new
    if 91005 in codes or not codes:  # nobody knows what is missing
        return new or old
    return new


# Policies


@pytest.mark.parametrize("outcome", [Outcome.ABSENT, Outcome.FAILED])
@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_absent_and_failed_ones_stay_or_leave_as_the_config_says(
    export: Export, outcome: Outcome, policy: Any
) -> None:
    """Each policy is for its own verdict; the other one's customers stay."""
    export.add_previous([(1, "old"), (2, "old"), (3, "old")])
    other = Outcome.FAILED if outcome is Outcome.ABSENT else Outcome.ABSENT
    snapshot = SnapshotConfig.model_validate({outcome.word: policy})
    _, rows = export.merge(a_ledger({1: outcome, 2: other}), snapshot)
    assert rows == [(1, "old")] * (policy == "keep") + [(2, "old"), (3, "old")]


def test_full_is_tonight_alone(export: Export) -> None:
    """`snapshot.mode: full`: nobody stays, whatever became of him; the sums hold."""
    export.add_previous([(1, "old"), (2, "old"), (3, "old")])
    export.add_part([(1, "new")])
    merged, rows = export.merge(
        a_ledger({1: Outcome.EXPORTED, 2: Outcome.FAILED}), SnapshotConfig(mode="full")
    )
    assert rows == [(1, "new")]
    assert (merged.tonight, merged.kept, merged.dropped) == (1, 0, 3)


def test_a_gap_keeps_the_last_rows_of_the_table_that_it_costs(export: Export) -> None:
    """1 lacks segments, 2 lacks something else and has none any more, 3 lacks them and has some all the same."""
    export.add_previous([(1, "old"), (2, "old"), (3, "old"), (3, "old, too")])
    export.add_part([(3, "new")])
    ledger = a_ledger(dict.fromkeys((1, 2, 3), Outcome.PARTIAL))
    _, rows = export.merge(ledger, gaps={8063: [1, 3], 91002: [2]})
    assert rows == [(1, "old"), (3, "new")]


def test_of_several_gaps_each_counts(export: Export) -> None:
    """A second warning beside the first one is no less a gap."""
    export.add_previous([(1, "old")])
    _, rows = export.merge(a_ledger({1: Outcome.PARTIAL}), gaps={8062: [1], 91004: [1]})
    assert rows == [(1, "old")]


def test_a_warning_of_a_full_answer_keeps_nothing(export: Export) -> None:
    """What the second look healed is a full answer: the gap of the first one counts for nothing."""
    export.add_previous([(1, "old")])
    _, rows = export.merge(a_ledger({1: Outcome.EXPORTED}), gaps={8063: [1]})
    assert rows == []


def test_a_row_that_a_gap_tore_does_not_replace_a_whole_one(export: Export) -> None:
    """The status failed (8088), its row came for the fraud mark: it counts only where there was no row before."""
    export.add_previous([(1, "old"), (3, "old")])
    export.add_part([(1, "torn"), (2, "torn"), (3, "new")])
    ledger = a_ledger({1: Outcome.PARTIAL, 2: Outcome.PARTIAL, 3: Outcome.EXPORTED})
    merged, rows = export.merge(ledger, gaps={8088: [1, 2]}, table="customer_status")
    assert rows == [(1, "old"), (2, "torn"), (3, "new")]
    assert (merged.tonight, merged.kept, merged.dropped) == (2, 1, 1)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_few_rows_are_brought_together(sizes: list[int], wanted: int) -> None:
    """The same rows in the same order; each group but the last has as many as wanted, or a few more."""
    rows = pa.table({"customer_id": pa.array(range(sum(sizes)), pa.int64())})
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    cut = [
        batch
        for start, size in zip(starts, sizes, strict=True)
        for batch in rows.slice(start, size).to_batches()
    ]
    found = list(together(cut, wanted))
    assert pa.Table.from_batches((one for group in found for one in group), rows.schema).equals(rows)
    counts = [sum(batch.num_rows for batch in group) for group in found]
    assert all(wanted <= count < wanted + 9 for count in counts[:-1])
    assert not counts or counts[-1] < wanted + 9


def test_gaps_are_read_from_the_warnings_of_answers_that_count(tmp_path: Path) -> None:
    """Codes that are no gap, codes that are missing, and stale answers are passed over."""
    columns = {
        "customer_id": [1, 1, 2, 3, 4],
        "code": pa.array([8063, 521, 8063, None, 91001], pa.int64()),
        RECORD: [10, 10, 11, 12, 13],
    }
    write_part(tmp_path / "warnings" / part_name(0), pa.table(columns))
    ledger = a_ledger(dict.fromkeys((1, 2, 3, 4), Outcome.PARTIAL), stale=[11])
    found = codes_in(part_paths(tmp_path, "warnings"), ledger)
    assert {code: ids.tolist() for code, ids in found.items()} == {8063: [1], 91001: [4]}


# Changes


def the_changes(
    export: Export, ledger: Ledger, snapshot: SnapshotConfig = MERGE
) -> list[tuple[int, str, str]]:
    """The changes of a merge as (customer, points: the key's second half, what became of it), in their order."""
    folder = export.root / "told" / "t"
    inputs = TableInputs(
        SCHEMA_OF_CHANGES,
        export.parts,
        export.previous,
        "zstd",
        changes_key=("customer_id", "points"),
        night=date(2026, 11, 22),
    )
    merged = merge_table(inputs, ledger, Leaving(ledger, snapshot, {}).of("segments"), folder)
    assert merged.changed is not None
    (file,) = merged.changed.table.files
    assert file.path == "changes/t/part-00000.parquet"
    table = pq.read_table(export.root / "told" / file.path)
    assert table.schema == changes_schema(SCHEMA_OF_CHANGES)
    assert merged.before + merged.changed.inserted - merged.changed.deleted == merged.table.rows
    assert table.num_rows == merged.changed.inserted + merged.changed.updated + merged.changed.deleted
    rows: list[dict[str, Any]] = table.to_pylist()
    assert [row["customer_id"] for row in rows] == sorted(row["customer_id"] for row in rows)
    assert all(row["extra"] is None for row in rows if row["_change"] == "delete")
    return [(row["customer_id"], str(int(row["points"])), row["_change"]) for row in rows]


NIGHT_FIELDS: list[pa.Field[Any]] = [
    *FIELDS,
    pa.field("_fetched_at", pa.timestamp("us", "UTC")),
    pa.field("_night", pa.date32(), nullable=False),
]
SCHEMA_OF_CHANGES = pa.schema(NIGHT_FIELDS)
Told = tuple[int, int, str | None]


def told_table(rows: Sequence[Told], night: int, number: int | None = None) -> pa.Table:
    """Rows of (customer, points, extra), fetched in a night of that number."""
    ids, points, texts = zip(*rows, strict=True) if rows else ((), (), ())
    nights = [night] * len(rows)
    arrays: list[Any] = [
        pa.array(ids, pa.int64()),
        pa.array([Decimal(one) for one in points], pa.decimal128(38, 9)),
        pa.array(texts, pa.string()),
        pa.array(nights, pa.timestamp("us", "UTC")),
        pa.array(nights, pa.date32()),
    ]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA_OF_CHANGES)
    return (
        table if number is None else table.append_column(RECORD, pa.array([number] * len(rows), pa.int64()))
    )


def test_changes_are_what_the_night_made_different(export: Export) -> None:
    """Same again: no change. Another text, null for a text: updates. New keys are inserted, missing ones deleted."""
    old = [
        (1, 1, "same"),
        (1, 2, "text"),
        (1, 3, "text"),
        (1, 4, "gone"),
        (2, 1, "not asked"),
        (3, 1, "left"),
    ]
    new = [(1, 1, "same"), (1, 2, "other"), (1, 3, None), (1, 5, "new"), (4, 1, "new")]
    export.add_previous(told_table(old, 1))
    write_part(export.root / "parts" / "t" / part_name(0), told_table(new, 2, 0))
    ledger = a_ledger({1: Outcome.EXPORTED, 3: Outcome.DELETED, 4: Outcome.EXPORTED})
    assert sorted(the_changes(export, ledger)) == [
        (1, "2", "update"),
        (1, "3", "update"),
        (1, "4", "delete"),
        (1, "5", "insert"),
        (3, "1", "delete"),
        (4, "1", "insert"),
    ]


def test_in_full_mode_whoever_was_not_asked_is_deleted(export: Export) -> None:
    """The changes tell how to get from the last snapshot to this one, whatever the mode."""
    export.add_previous(told_table([(1, 1, "a"), (2, 1, "b")], 1))
    write_part(export.root / "parts" / "t" / part_name(0), told_table([(1, 1, "a")], 2, 0))
    told = the_changes(export, a_ledger({1: Outcome.EXPORTED}), SnapshotConfig(mode="full"))
    assert told == [(2, "1", "delete")]


SOME_ROWS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 3), st.sampled_from(["a", "b", None])), max_size=12
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(old=SOME_ROWS, new=SOME_ROWS, asked=st.sets(st.integers(1, 5)), small=st.booleans())
def test_the_changes_applied_to_the_last_snapshot_give_this_one(
    tmp_path_factory: pytest.TempPathFactory, old: list[Told], new: list[Told], asked: set[int], small: bool
) -> None:
    """By a plain loop: delete and update by key, insert; keys that stand twice included."""
    export = Export(tmp_path_factory.mktemp("changes"))
    old, new = sorted(old, key=lambda row: row[0]), sorted(new, key=lambda row: row[0])
    new = [row for row in new if row[0] in asked]
    export.add_previous(told_table(old, 1))
    write_part(export.root / "parts" / "t" / part_name(0), told_table(new, 2, 0))
    told = Counter(the_changes(export, a_ledger(dict.fromkeys(asked, Outcome.EXPORTED))))
    assert told == expected_changes([row for row in old if row[0] in asked], new)


def expected_changes(left: list[Told], came: list[Told]) -> Counter[tuple[int, str, str]]:
    """The i-th row of a key is compared with the i-th that it had."""
    by_key: dict[tuple[int, int], tuple[list[str | None], list[str | None]]] = {}
    for side, rows in enumerate((left, came)):
        for one, points, text in rows:
            by_key.setdefault((one, points), ([], []))[side].append(text)
    found: Counter[tuple[int, str, str]] = Counter()
    for (one, points), (was, now) in by_key.items():
        pairs = list(zip(was, now, strict=False))
        found[one, str(points), "update"] += sum(before != after for before, after in pairs)
        found[one, str(points), "insert"] += len(now) - len(pairs)
        found[one, str(points), "delete"] += len(was) - len(pairs)
    return +found


# Sizes


def test_a_night_that_does_not_fit_into_memory_gives_the_same_bytes(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By runs on the disk or in memory: file by file the same."""
    export.add_previous([(one, f"old {one}") for one in range(0, 9_000, 3)])
    for part in range(6):
        export.add_part([(one, f"new {one}") for one in range(part, 9_000, 12)])
    ledger = a_ledger({one: Outcome.EXPORTED for part in range(6) for one in range(part, 9_000, 12)})
    first, _ = export.merge(ledger)
    monkeypatch.setattr(runs, "RUN_BYTES", 20_000)
    second, _ = export.merge(ledger)
    assert first == second


@pytest.mark.parametrize(
    "expected", [0, 10 << 20, 300 << 20, 383 << 20, 500 << 20, 700 << 20, 5 << 30, 50 << 30]
)
def test_files_have_128_to_512_mb(expected: int) -> None:
    """A table that is as large as expected has files of that size, the last one too; a smaller one has one file."""
    full, left = files.full_at(expected), expected
    while left > full:
        left -= full
    assert full <= 512 << 20
    if expected > 384 << 20:
        assert min(full, left) >= 128 << 20
    elif expected:
        assert left == expected


def test_an_error_in_the_middle_leaves_no_open_file(export: Export) -> None:
    """The rows end in an error: it is the one that is told, and the file is closed."""

    def broken() -> Iterator[pa.RecordBatch]:
        yield from table_of([(1, "x")]).to_batches()
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError, match="the disk is gone"):
        write_files(broken(), SCHEMA, export.root / "t", "zstd")


def test_statistics_page_index_and_checksums_are_there(export: Export) -> None:
    """Readers skip what they do not need: min and max of each column, where each page is."""
    export.add_part([(one, f"text {one}") for one in range(5_000)])
    merged, _ = export.merge(a_ledger(dict.fromkeys(range(5_000), Outcome.EXPORTED)))
    meta = pq.ParquetFile(export.root / "snapshot-1" / merged.table.files[0].path).metadata
    group = meta.row_group(0)
    for at in range(meta.num_columns):
        column = group.column(at)
        assert column.has_offset_index and column.has_column_index
        assert column.statistics is not None
        assert column.compression == "ZSTD"
    ids: Any = group.column(0).statistics
    assert (ids.min, ids.max) == (0, 4_999)


def test_many_rows_that_repeat_want_the_memory_of_many_rows() -> None:
    """Of very repetitive rows the last file is small and tells nothing: two such tables are not written at once."""
    inputs = TableInputs(SCHEMA, (), (), "zstd", previous_bytes=1_000_000, previous_rows=2_000_000)
    nobody = Leaves(np.empty(0, np.int64))
    table = SortedTable(
        inputs, nobody, Path(), keep_in_place, Coding(SCHEMA), SortedRows([], 0, 0), ExitStack()
    )
    assert table.writing_bytes > BUDGET_BYTES // 2
