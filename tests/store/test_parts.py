"""Parts on the disk: what was written is read back, and what is not as it was written is never taken for rows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.store.parts import (
    PartWriter,
    bytes_as_parquet,
    chunk_files,
    chunk_parts,
    part_name,
    part_paths,
    read_part,
    write_part,
)

ROWS = pa.table(
    {
        "customer_id": pa.array([1, 2, 3], pa.int64()),
        "points": pa.array([Decimal("1.5"), None, Decimal("-0.000000001")], pa.decimal128(38, 9)),
        "at": pa.array([datetime(2026, 11, 22, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "local": pa.array([None, 1_790_000_000_000_001, None], pa.timestamp("us")),
        "day": pa.array([date(2026, 11, 22), None, date(1, 1, 1)], pa.date32()),
        "is_new": pa.array([True, None, False], pa.bool_()),
        "name": pa.array(["", None, "ü" * 100], pa.string()),
        "nothing": pa.nulls(3, pa.string()),
    }
)


def written(path: Path, *tables: pa.Table) -> Path:
    """A part of so many frames."""
    with path.open("wb") as file:
        writer = PartWriter(file)
        for table in tables:
            for batch in table.to_batches():
                writer.write(batch)
        writer.end()
    return path


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """All types of ours, nulls and empty texts apart, batch by batch; a part of no rows has none."""
    path = written(tmp_path / part_name(1), ROWS, ROWS.slice(1), ROWS)
    assert pa.Table.from_batches(read_part(path)).equals(pa.concat_tables([ROWS, ROWS.slice(1), ROWS]))
    assert [batch.num_rows for batch in read_part(path)] == [3, 2, 3]
    assert [batch.num_rows for batch in read_part(path, batch_rows=2)] == [2, 1, 2, 2, 1]
    assert list(read_part(written(tmp_path / part_name(2)))) == []


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    """In the file's order; one that it lacks, as an older version's may, is passed over."""
    path = written(tmp_path / part_name(1), ROWS, ROWS)
    found = pa.Table.from_batches(read_part(path, ["name", "customer_id", "next_date"]))
    assert found.equals(pa.concat_tables([ROWS, ROWS]).select(["customer_id", "name"]))


def test_whatever_bit_is_flipped_the_part_is_refused(tmp_path: Path) -> None:
    """Every bit of the file, in heads, checksums and rows alike: StorageError, never other rows."""
    path = written(tmp_path / part_name(1), ROWS.select(["customer_id"]), ROWS.select(["customer_id"]))
    whole = path.read_bytes()
    for at in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(StorageError):
            list(read_part(path))


def test_a_part_that_is_cut_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """At every byte, also between two frames, and a part with something behind its end."""
    path = written(tmp_path / part_name(1), ROWS, ROWS)
    whole = path.read_bytes()
    for data in [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + whole]:
        path.write_bytes(data)
        with pytest.raises(StorageError) as caught:
            list(read_part(path))
        assert str(path) in caught.value.message
        assert "rebuild" in caught.value.hint


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_anything_else_is_no_part(tmp_path: Path, data: bytes) -> None:
    """Random bytes, with the right beginning or not."""
    path = tmp_path / part_name(1)
    for found in (data, b"CAPPART\n" + data):
        path.write_bytes(found)
        with pytest.raises(StorageError):
            list(read_part(path))


def test_frames_in_another_order_are_refused(tmp_path: Path) -> None:
    """Two sound frames that changed places, or one that is there twice, or not at all."""
    path = tmp_path / part_name(1)
    one, other = ROWS.slice(0, 1), ROWS.slice(1, 1)
    ends = [len(written(path, *tables).read_bytes()) - 12 for tables in ((), (one,), (one, other))]
    whole = written(path, one, other).read_bytes()
    magic, first, second, end = (
        whole[: ends[0]],
        whole[ends[0] : ends[1]],
        whole[ends[1] : ends[2]],
        whole[ends[2] :],
    )
    for frames in (second + first, first + first + second, second, first, b""):
        path.write_bytes(magic + frames + end)
        with pytest.raises(StorageError):
            list(read_part(path))


def test_what_an_older_version_left_is_read(tmp_path: Path) -> None:
    """Parquet under the same names: its rows, some of its columns, its place among the parts."""
    for chunk in (0, 2):
        path = tmp_path / "t" / f"chunk-{chunk:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(ROWS, path, store_schema=False)
    write_part(tmp_path / "t" / part_name(1), ROWS)
    write_part(tmp_path / "other" / "deferred.part", ROWS)
    (tmp_path / "t" / ".chunk-00003.part.7.tmp").write_bytes(b"")
    old, new, _ = paths = chunk_parts(tmp_path, "t")
    assert [path.name for path in paths] == ["chunk-00000.parquet", "chunk-00001.part", "chunk-00002.parquet"]
    assert part_paths(tmp_path) == [*paths, tmp_path / "other" / "deferred.part"]
    assert chunk_files(tmp_path, 1) == [new]
    assert pa.Table.from_batches(read_part(old)).equals(pa.Table.from_batches(read_part(new)))
    assert [batch.schema.names for batch in read_part(old, ["day"])] == [["day"]]
    assert bytes_as_parquet(old) == old.stat().st_size
    assert 0 < bytes_as_parquet(new) < new.stat().st_size


def test_a_part_that_an_older_version_wrote_again_beside_ours_counts_once(tmp_path: Path) -> None:
    """The newer version was taken back for an hour of the night."""
    (tmp_path / "profiles").mkdir()
    ours = written(tmp_path / "profiles" / part_name(3), ROWS)
    theirs = ours.with_suffix(".parquet")
    pq.write_table(ROWS, theirs)
    alone = tmp_path / "profiles" / "chunk-00004.parquet"
    pq.write_table(ROWS, alone)
    assert part_paths(tmp_path, "profiles") == chunk_parts(tmp_path, "profiles") == [ours, alone]
    assert set(chunk_files(tmp_path, 3)) == {theirs, ours}
