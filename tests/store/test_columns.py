"""Columns longer than memory is meant to hold: in files without a name, sorted in runs, their memory given back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import columns
from pipeline.store.columns import (
    Column,
    Ints,
    Sorter,
    column_of,
    let_go,
    let_go_of,
    scratch_in,
    slices,
    sorted_column,
    united,
)

PIECES = st.lists(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 9), max_size=12).map(
        lambda ids: np.array(ids, np.int64)
    ),
    max_size=8,
)
FOLDERS = st.booleans()
"""Whether there is one to write in."""


@pytest.fixture(scope="module", autouse=True)
def _everything_is_long() -> Iterator[None]:
    """Three values are a long column, four rows a run, two of them a slice."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("SHORT", 3), ("RUN_ROWS", 4), ("SLICE", 2), ("_FEWEST_ROWS", 1)):
            patch.setattr(columns, name, size)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(pieces=PIECES, writes=FOLDERS)
def test_a_column_is_its_pieces_one_after_the_other(folder: Path, pieces: list[Ints], writes: bool) -> None:
    """In memory or in a file, and again after its memory was given back."""
    column = column_of(pieces, folder if writes else None)
    expected = [value for piece in pieces for value in piece.tolist()]
    assert column.tolist() == expected
    let_go()
    let_go_of(column[1:])
    assert column.tolist() == expected
    assert column.dtype == np.int64


@given(pieces=PIECES, writes=FOLDERS)
def test_rows_come_sorted_and_those_of_a_key_together(folder: Path, pieces: list[Ints], writes: bool) -> None:
    """As Python sorts them, which is stable; no key is in two slices, and none is empty."""
    sorter = Sorter({"key": np.int64, "number": np.int32}, folder if writes else None)
    expected: list[tuple[int, int]] = []
    for piece in pieces:
        numbers = np.arange(len(expected), len(expected) + len(piece))
        expected += zip(piece.tolist(), numbers.tolist(), strict=True)
        sorter.add(key=piece, number=numbers)
    found = [rows.tolist() for rows in sorter.slices()]
    assert [row for rows in found for row in rows] == sorted(expected, key=lambda row: row[0])
    keys = [{key for key, _ in rows} for rows in found]
    assert all(keys)
    assert sum(map(len, keys)) == len(set().union(*keys))
    assert [rows.tolist() for rows in sorter.slices()] == found  # it can be read again


@given(first=PIECES, second=PIECES, third=PIECES)
def test_a_copy_goes_its_own_way(
    folder: Path, first: list[Ints], second: list[Ints], third: list[Ints]
) -> None:
    """What is added to one of them later is not in the other, though they have a file together."""

    def content(sorter: Sorter) -> list[int]:
        return [key for rows in sorter.slices() for key in rows["key"].tolist()]

    def added(sorter: Sorter, pieces: list[Ints]) -> list[int]:
        for piece in pieces:
            sorter.add(key=piece)
        return [key for piece in pieces for key in piece.tolist()]

    one = Sorter({"key": np.int64}, folder)
    both = added(one, first)
    other = one.copy()
    mine, others = added(one, second), added(other, third)
    assert content(one) == sorted(both + mine)
    assert content(other) == sorted(both + others)


@given(pieces=PIECES, writes=FOLDERS)
def test_sets_are_what_pythons_are(folder: Path, pieces: list[Ints], writes: bool) -> None:
    """Sorted, each value once."""
    expected = sorted({value for piece in pieces for value in piece.tolist()})
    assert sorted_column(pieces, folder if writes else None).tolist() == expected
    assert united(pieces, folder if writes else None).tolist() == expected


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    """Its files have no name, so that a death leaves none; and the descriptors go with the columns."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    column = sorted_column([np.arange(10)], tmp_path)
    assert column.tolist() == list(range(10))
    assert not list(tmp_path.iterdir())
    del column
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_mapped_column_is_not_resident_until_it_is_read(tmp_path: Path) -> None:
    """Made without its pages in memory; read, it has them; let go, it has them no more."""

    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssFile")) << 10

    size, piece = 64 << 20, np.ones(1 << 17)
    made = resident()
    column = Column(np.float64, tmp_path)
    for _ in range(size // piece.nbytes):
        column.add(piece)
    found = column.finished()
    assert resident() - made < size // 8
    assert found.sum() == size / 8
    assert resident() - made > size // 2
    let_go()
    assert resident() - made < size // 8


def test_where_nothing_may_be_written_columns_stay_in_memory(tmp_path: Path) -> None:
    """`plan` of another user looks at a workspace that is not its own; a folder that is missing has no calls."""
    assert scratch_in(tmp_path) == tmp_path
    assert scratch_in(tmp_path / "none") is None
    if os.geteuid():
        tmp_path.chmod(0o500)
        assert scratch_in(tmp_path) is None


def test_slices_cover_everything_once() -> None:
    """Also where nothing is, and where the last is shorter."""
    assert list(slices(0)) == []
    assert [range(5)[one] for one in slices(5, 2)] == [range(2), range(2, 4), range(4, 5)]
