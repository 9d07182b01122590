"""Rows as records of a fixed width: whatever a table may hold comes back as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.merge import coding as coding_module
from pipeline.merge import columns, packing, rounds, runs
from pipeline.merge.coding import Coding
from pipeline.merge.packing import Packing
from pipeline.merge.records.library import records_library, why_not
from pipeline.merge.rows import Rows, joined
from pipeline.merge.runs import sorted_rows

FIELDS: list[pa.Field[Any]] = [
    pa.field("customer_id", pa.int64(), nullable=False),
    pa.field("amount", pa.decimal128(38, 9)),
    pa.field("text", pa.string()),
    pa.field("is_so", pa.bool_()),
    pa.field("at", pa.timestamp("us", "UTC")),
    pa.field("local", pa.timestamp("us")),
    pa.field("day", pa.date32()),
    pa.field("count", pa.int64()),
    pa.field("share", pa.float64()),
]
SCHEMA = pa.schema(FIELDS)
SMALLEST = -(1 << 63)
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
MOMENTS = st.datetimes()
LARGEST = 10**38 - 1  # of the smallest unit
AMOUNTS = st.one_of(
    st.integers(-LARGEST, LARGEST).map(lambda one: Decimal(f"{one}E-9")),
    st.sampled_from([Decimal("9223372036.854775807"), Decimal("-9223372036.854775808"), Decimal(0)]),
)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.none() | AMOUNTS,
        st.none() | st.sampled_from(["", "gold", "a text"]) | st.text(max_size=3),
        st.none() | st.booleans(),
        st.none() | MOMENTS.map(lambda one: one.replace(tzinfo=UTC)),
        st.none() | MOMENTS,
        st.none() | st.dates(),
        st.none() | st.sampled_from([SMALLEST, SMALLEST + 1, -1, 0, (1 << 63) - 1]),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=12,
)


WAYS = pytest.mark.parametrize("is_native", [True, False], ids=["in C", "by numpy"])


def go(patch: pytest.MonkeyPatch, is_native: bool) -> None:
    """From now on rows are coded this way."""
    if is_native and why_not():
        pytest.skip(why_not())
    for room in (coding_module, packing, rounds):
        patch.setattr(room, "records_library", records_library if is_native else lambda: None)


def a_batch(rows: list[Any]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@WAYS
@pytest.mark.parametrize("words", [2, 16_384])
@given(first=ROWS, second=ROWS, cut=st.integers(0, 12))
def test_what_is_done_with_records_is_done_with_the_rows(
    is_native: bool, words: int, first: list[Any], second: list[Any], cut: int
) -> None:
    """Joined, cut, taken, picked, packed: as Arrow does it, with every value, null, and text beyond the vocabulary."""
    with pytest.MonkeyPatch.context() as patch:
        go(patch, is_native)
        patch.setattr(columns, "MOST_WORDS", words)
        coding = Coding(SCHEMA)
        both = a_batch([*first, *second])
        rows = joined([coding.rows(a_batch(first)), coding.rows(a_batch(second))])
    assert coding.batch(rows).equals(both)
    assert rows.ids.tolist() == both["customer_id"].to_pylist()
    assert coding.batch(coding.rows(both.slice(cut))).equals(both.slice(cut))
    assert coding.batch(rows.cut(cut, cut + 5)).equals(both.slice(cut, 5))
    backwards: Any = np.arange(both.num_rows)[::-1]
    assert coding.batch(rows.taken(backwards)).equals(both.take(pa.array(backwards)))
    odd = np.arange(both.num_rows) % 2 == 1
    assert coding.batch(rows.only(odd)).equals(both.filter(pa.array(odd)))
    waiting = Packing(coding)
    waiting.add(rows)
    assert waiting.drained().cast(SCHEMA).equals(pa.Table.from_batches([both]))


def many_rows(count: int, seed: int) -> pa.RecordBatch:
    """Rows of every kind, out of order: small amounts and large ones, texts that repeat themselves and that do not."""
    random = np.random.default_rng(seed)
    ids, kinds = random.integers(0, count, count).tolist(), random.integers(0, 6, count).tolist()
    rows = [
        (
            one,
            [None, Decimal(one), Decimal(one) * 10**18, Decimal("0.01"), Decimal(0), Decimal(-7)][kind],
            [None, "gold", f"note {one}", "", f"word {one % 50}", "silver"][kind],
            [None, True, False][kind % 3],
            datetime.fromtimestamp(one, UTC) if kind else None,
            EPOCH - timedelta(days=one) if kind > 1 else None,
            date(2026, 11, kind + 1),
            [one, SMALLEST][kind // 5],
            one / 7,
        )
        for one, kind in zip(ids, kinds, strict=True)
    ]
    return a_batch(rows)


@WAYS
@pytest.mark.parametrize("most_words", [16_384, 20])
def test_by_way_of_the_disk_or_not_sorted_rows_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_native: bool, most_words: int
) -> None:
    """Runs hold what is in the records and what lies beside them; a customer's rows keep their order."""
    go(monkeypatch, is_native)
    monkeypatch.setattr(columns, "MOST_WORDS", most_words)
    monkeypatch.setattr(columns, "FEW_WORDS", 2_000)
    monkeypatch.setattr(runs, "RUN_BYTES", 40_000)
    batches = [many_rows(700, seed) for seed in range(5)]
    coding = Coding(SCHEMA)
    with sorted_rows([batches[:2], batches[2:3], batches[3:]], coding, tmp_path / "runs") as rows:
        assert len(list((tmp_path / "runs").iterdir())) > 2
        found = [coding.batch(joined(list(source))) for source in rows.sources]
    expected = pa.Table.from_batches(batches)
    together = pa.Table.from_batches(found)
    order: Any = np.argsort(expected["customer_id"].to_numpy(), kind="stable")
    again: Any = np.argsort(together["customer_id"].to_numpy(), kind="stable")
    assert together.take(pa.array(again)).equals(expected.take(pa.array(order)))
    assert not (tmp_path / "runs").exists()


@WAYS
@pytest.mark.parametrize("most_words", [16_384, 20])
@pytest.mark.parametrize("small", [1, 1 << 20])
def test_rows_are_packed_in_lots_whatever_lies_beside(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, most_words: int, small: int
) -> None:
    """A lot whose dictionary is too large is halved; a large amount among small ones is packed with them."""
    go(monkeypatch, is_native)
    monkeypatch.setattr(columns, "MOST_WORDS", most_words)
    monkeypatch.setattr(packing, "LOOSE_BYTES", 1)
    monkeypatch.setattr(packing, "LOT_BYTES", 100_000)
    monkeypatch.setattr(packing, "_PACKED_SHARE", 1.0)
    monkeypatch.setattr(packing, "_SMALL", small)
    batches, coding = [many_rows(900, seed) for seed in range(4)], Coding(SCHEMA)
    waiting = Packing(coding)
    for batch in batches:
        waiting.add(coding.rows(batch))
    assert waiting.drained().cast(SCHEMA).equals(pa.Table.from_batches(batches))
    assert (waiting.rows, waiting.bytes) == (0, 0)


@WAYS
def test_a_vocabulary_takes_no_more_than_it_has_room_for(
    monkeypatch: pytest.MonkeyPatch, is_native: bool
) -> None:
    """Texts that are like no other lie beside the records, as they are."""
    go(monkeypatch, is_native)
    monkeypatch.setattr(columns, "FEW_WORDS", 2)
    batch = pa.RecordBatch.from_pydict({"customer_id": [1, 2, 3, 4], "text": ["a", "b", "c", "d"]})
    coding = Coding(batch.schema)
    rows = coding.rows(batch)
    assert rows.beside["text"].to_pylist() == ["a", "b", "c", "d"]
    assert len(coding.columns[1].words) == 0


WORDS = st.none() | st.sampled_from(["", "a", "b", "ab", "ä", "日本", "twelve bytes", "x" * 40])
"""Few that come often, of one byte a letter and of more, shorter and longer than a hash takes at once."""


@pytest.mark.parametrize("few", [0, 256])
@given(
    groups=st.lists(st.lists(st.lists(WORDS, max_size=9), min_size=1, max_size=3), max_size=5),
    most_words=st.integers(1, 9),
    most_letters=st.integers(0, 60),
)
def test_both_ways_have_the_same_words(
    few: int, groups: list[list[list[str | None]]], most_words: int, most_letters: int
) -> None:
    """Which texts become words, in which order, when there is no room for more; and so what lies beside."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FEW_WORDS", few), ("MOST_WORDS", most_words), ("MOST_LETTERS", most_letters)):
            patch.setattr(columns, name, value)
        found = []
        for is_native in (True, False):
            go(patch, is_native)
            found.append(coded_texts(groups))
    assert found[0] == found[1]


def coded_texts(groups: list[list[list[str | None]]]) -> Any:
    """The words, and of each group the records' numbers and what lies beside them."""
    fields: list[pa.Field[Any]] = [pa.field("customer_id", pa.int64()), pa.field("text", pa.string())]
    schema = pa.schema(fields)
    coding, told = Coding(schema), []
    for group in groups:
        batches = [
            pa.RecordBatch.from_arrays(
                [pa.array([7] * len(texts)), pa.array(texts, pa.string())], schema=schema
            )
            for texts in group
        ]
        rows = coding.rows(*batches)
        beside = {name: values.to_pylist() for name, values in rows.beside.items()}
        told.append((rows.records["text"].tolist(), beside, rows.nbytes))
    return coding.columns[1].words.to_pylist(), told


@given(first=ROWS, second=ROWS, third=ROWS, cut=st.integers(0, 12))
def test_both_ways_make_the_same_records(
    first: list[Any], second: list[Any], third: list[Any], cut: int
) -> None:
    """Of every kind, with what has no place in them; also of batches that are a part of others."""
    batches = [a_batch(first), a_batch([*second, *third]).slice(cut), a_batch(third)]
    with pytest.MonkeyPatch.context() as patch:
        found: list[Rows] = []
        for is_native in (True, False):
            go(patch, is_native)
            found.append(Coding(SCHEMA).rows(*batches))
    native, by_numpy = found
    for name in native.records.dtype.names or ():
        assert native.records[name].tolist() == by_numpy.records[name].tolist()
    assert native.beside.keys() == by_numpy.beside.keys()
    assert all(values.equals(by_numpy.beside[name]) for name, values in native.beside.items())
