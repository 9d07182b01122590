"""Which customers are looked at, and whether their rows are found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.checks.sample import (
    ROWS_EACH,
    WINDOW_CUSTOMERS,
    WINDOWS,
    Sample,
    choose,
    first_rows,
    ids_of,
    sampled_rows,
)
from pipeline.checks.whole import ages, orphans, repeated_keys, usual_age
from tests.checks.rows import BEFORE, NIGHT, members, written


def test_few_customers_are_all_looked_at(tmp_path: Path) -> None:
    """And of others no row is read."""
    asked = np.arange(100, 300, 2)
    sample = choose(asked, np.arange(100, 400))
    found = sampled_rows(written(tmp_path, "members", members(300), group_rows=50), sample)
    assert found is not None
    assert ids_of(found).tolist() == asked.tolist()


def test_texts_come_as_they_are_in_the_table(tmp_path: Path) -> None:
    """Whether the file has a dictionary of them or not, in one row group or several; the schema is the table's."""
    fields: list[pa.Field[Any]] = [
        pa.field("customer_id", pa.int64(), nullable=False, metadata={"description": "Whose row it is."}),
        pa.field("tier", pa.string(), metadata={"privacy": "none"}),
        pa.field("note", pa.string()),
    ]
    texts: list[list[Any]] = [
        [None if one % 5 == 0 else f"{one % few}" for one in range(9_000)] for few in (3, 9_000)
    ]
    rows = pa.table(
        [pa.array(np.arange(9_000)), *(pa.array(one, pa.string()) for one in texts)],
        schema=pa.schema(fields, {"key": '["customer_id"]'}),
    )
    wanted = np.arange(2_000, 7_000, 3)
    some: Any = ["tier"]
    for group_rows in (9_000, 2_500):
        path = tmp_path / f"{group_rows}.parquet"
        pq.write_table(rows, path, row_group_size=group_rows, use_dictionary=some)
        found = sampled_rows([path], Sample(wanted, ((2_000, 7_000),)))
        assert found is not None
        assert found.equals(rows.take(pa.array(wanted, pa.int64())), check_metadata=True)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_several_windows_of_a_file_are_found_whole(tmp_path: Path, is_sorted: bool) -> None:
    """At both ends of the file, over the end of a batch, several rows of one customer; also in a file out of order,
    in which the checks have to find what is wrong.
    """
    ids = np.repeat(np.arange(10_000), 3)
    if not is_sorted:
        np.random.default_rng(1).shuffle(ids)
    pq.write_table(pa.table({"customer_id": ids, "place": np.arange(len(ids))}), tmp_path / "rows.parquet")
    windows = ((0, 10), (2_700, 2_760), (2_765, 2_765), (9_990, 9_999))
    wanted = np.concatenate([np.arange(first, last + 1) for first, last in windows])[1::2]
    found = sampled_rows([tmp_path / "rows.parquet"], Sample(wanted, windows))
    assert found is not None
    assert found["place"].to_pylist() == np.flatnonzero(np.isin(ids, wanted)).tolist()


def test_of_many_customers_a_bounded_number_is_looked_at_all_over_the_base() -> None:
    """However many there are, the sample is as large, and has them from the first to the last stretch."""
    for count in (100_000, 1_000_000):
        ids = np.arange(count) * 7
        sample = choose(ids, ids)
        assert len(sample.customers) == WINDOWS * WINDOW_CUSTOMERS
        assert sample.customers[0] < count * 7 / WINDOWS
        assert sample.customers[-1] > count * 7 * (1 - 1 / WINDOWS)


def test_a_few_asked_of_very_many_do_not_make_wide_windows() -> None:
    """The last snapshot is not read from end to end for them."""
    listed = np.arange(10_000_000)
    sample = choose(listed[::1000], listed)
    assert sum(last - first for first, last in sample.windows) < WINDOWS * 20_000


def test_a_table_that_the_last_snapshot_lacked_has_no_rows() -> None:
    """None, which is something else than an empty table."""
    assert sampled_rows([], choose(np.arange(5), np.arange(5))) is None


def test_of_one_customer_not_more_than_some_rows_count() -> None:
    """A member with a thousand promotions is one member."""
    rows = members(100, customer_id=lambda n: 7 if n < 60 else 100 + n)
    assert np.count_nonzero(ids_of(first_rows(rows)) == 7) == ROWS_EACH
    assert first_rows(rows).num_rows == 40 + ROWS_EACH


def test_repeated_keys_and_orphans_are_counted() -> None:
    """Rows whose key another row has; rows of customers that are nowhere else."""
    rows = members(10, customer_id=lambda n: 100 + n // 2)
    assert repeated_keys(rows) == 5
    assert repeated_keys(members(10)) == 0
    assert orphans(members(10), np.arange(100, 107)) == 3


@pytest.mark.parametrize("words", ["", "aab", "aba", "abc"])
@pytest.mark.parametrize(
    "numbers", [(0, 1, 2), (2, 1, 0), (0, 0, 1), (1, 0, 1), (0, None, 1), (None, None, 0)]
)
def test_repeated_keys_of_several_columns_are_counted(words: str, numbers: Sequence[int | None]) -> None:
    """In whatever order the rows are: the quick way for keys that rise finds what counting them finds."""
    columns: dict[str, Any] = {"customer_id": [7] * 3 + [8] * 3, "ordinal": [*numbers, *numbers]}
    columns |= {"list": [*words, *words]} if words else {}
    rows = pa.table(columns, metadata={"key": json.dumps(list(columns))})
    keys = list(zip(*columns.values(), strict=True))
    assert repeated_keys(rows) == len(keys) - len(set(keys))


def test_the_age_of_a_snapshot_is_that_of_its_old_rows_and_order_is_seen(tmp_path: Path) -> None:
    """As a logarithm of the nights; a customer that is there twice is out of order."""
    good = written(tmp_path, "good", members(100, night=BEFORE))
    bad = written(tmp_path, "bad", members(100, customer_id=lambda n: 100 + min(n, 98)))
    by_day, out_of_order = ages(good, NIGHT)
    assert (usual_age(by_day), out_of_order) == (float(np.log10(2)), 0)
    assert by_day[:3].tolist() == [0, 100, 0]
    assert ages(bad, NIGHT)[1] == 1
