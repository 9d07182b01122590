"""The ledger, read from parts that were really written: one verdict per ID, and what the calls amount to."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.outcome import Outcome
from pipeline.store import columns
from pipeline.store.ledger import (
    CALLS,
    CALLS_SCHEMA,
    RECORD_BITS,
    Ledger,
    chunks_without_parts,
    read_ledger,
)
from pipeline.store.parts import part_name, write_part

Call = tuple[int, Outcome]


def write_calls(
    parts: Path, chunk: int, calls: list[Call], status: int = 200, fetched_at: int = 1000
) -> None:
    """A chunk's list of calls, the n-th answered at `fetched_at` + n; a negative ID stands for a customer below 3."""
    rows = [
        (
            customer_id,
            fetched_at + at,
            int(outcome),
            status,
            0,
            5,
            10,
            customer_id % 3 if customer_id < 0 else 0,
            chunk << RECORD_BITS | at,
            0,
            0,
        )
        for at, (customer_id, outcome) in enumerate(calls)
    ]
    filled = list(zip(*rows, strict=True)) or [()] * len(CALLS_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(filled, CALLS_SCHEMA, strict=True)]
    write_part(parts / CALLS / part_name(chunk), pa.Table.from_arrays(arrays, schema=CALLS_SCHEMA))


def verdicts(ledger: Ledger) -> dict[int, Outcome]:
    return {
        int(one): Outcome(int(outcome))
        for one, outcome in zip(ledger.customer_ids, ledger.outcomes, strict=True)
    }


def test_a_night_without_calls_has_an_empty_ledger(tmp_path: Path) -> None:
    """No part at all, or one of a chunk without calls: no verdicts, no error."""
    assert (read_ledger(tmp_path).records, verdicts(read_ledger(tmp_path))) == (0, {})
    write_calls(tmp_path, 0, [])
    ledger = read_ledger(tmp_path)
    assert (ledger.calls, verdicts(ledger), len(ledger.stale_records)) == (0, {}, 0)


def test_the_last_verdict_counts_and_a_failure_replaces_no_answer(tmp_path: Path) -> None:
    """Across chunks: later answers win, failures only where there is nothing better; all others are stale."""
    write_calls(
        tmp_path, 0, [(7, Outcome.PARTIAL), (5, Outcome.FAILED), (9, Outcome.EXPORTED), (3, Outcome.RETRIED)]
    )
    write_calls(
        tmp_path, 1, [(7, Outcome.EXPORTED), (5, Outcome.ABSENT), (9, Outcome.FAILED), (3, Outcome.FAILED)]
    )
    ledger = read_ledger(tmp_path)
    assert verdicts(ledger) == {
        3: Outcome.FAILED,
        5: Outcome.ABSENT,
        7: Outcome.EXPORTED,
        9: Outcome.EXPORTED,
    }
    assert ledger.customer_ids.tolist() == [3, 5, 7, 9]
    assert ledger.fetched_at.tolist() == [1003, 1001, 1000, 1002]
    assert ledger.stale_records.tolist() == [0, 1, 1 << RECORD_BITS | 2]
    assert (ledger.calls, ledger.repeated, ledger.records) == (8, 4, 8)


def test_chunks_count_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Chunk 100000 is later than 99999, whatever their names' order."""
    write_calls(tmp_path, 100_000, [(1, Outcome.EXPORTED)])
    write_calls(tmp_path, 99_999, [(1, Outcome.DELETED)])
    assert verdicts(read_ledger(tmp_path)) == {1: Outcome.EXPORTED}


def test_throttled_calls_are_counted(tmp_path: Path) -> None:
    """Calls that were answered with 429."""
    write_calls(tmp_path, 0, [(1, Outcome.RETRIED), (2, Outcome.RETRIED)], status=429)
    write_calls(tmp_path, 1, [(1, Outcome.EXPORTED)])
    ledger = read_ledger(tmp_path)
    assert (ledger.calls, ledger.repeated, ledger.throttled) == (3, 1, 2)


def test_only_fresh_final_verdicts_are_done(tmp_path: Path) -> None:
    """Failed IDs are asked again, and so are those whose answer is older than wanted."""
    write_calls(
        tmp_path, 0, [(1, Outcome.EXPORTED), (2, Outcome.ABSENT), (3, Outcome.FAILED), (4, Outcome.MERGED)]
    )
    ledger = read_ledger(tmp_path)
    assert ledger.done(0).tolist() == [1, 2, 4]
    assert ledger.done(1001).tolist() == [2, 4]
    assert ledger.with_outcome(Outcome.FAILED, Outcome.MERGED).tolist() == [3, 4]


FINAL = [Outcome.EXPORTED, Outcome.PARTIAL, Outcome.ABSENT, Outcome.DELETED, Outcome.MERGED]


@given(
    calls=st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([*FINAL, Outcome.FAILED, Outcome.RETRIED])), max_size=30
    ),
    cut=st.integers(0, 30),
)
def test_any_calls_give_the_plain_answer(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Call], cut: int
) -> None:
    """However the calls fall into chunks, the verdicts are those of a plain loop."""
    parts = tmp_path_factory.mktemp("parts")
    write_calls(parts, 0, calls[:cut])
    write_calls(parts, 1, calls[cut:])
    expected: dict[int, Outcome] = {}
    for customer_id, outcome in calls:
        is_verdict = outcome is not Outcome.RETRIED
        if is_verdict and (
            outcome is not Outcome.FAILED or expected.get(customer_id) in (None, Outcome.FAILED)
        ):
            expected[customer_id] = outcome
    ledger = read_ledger(parts)
    assert verdicts(ledger) == expected
    verdicts_given = sum(outcome is not Outcome.RETRIED for _, outcome in calls)
    assert len(ledger.stale_records) == verdicts_given - len(expected)


@given(
    calls=st.lists(
        st.tuples(
            st.integers(-6, 6), st.sampled_from([*FINAL, Outcome.FAILED, Outcome.RETRIED, Outcome.PAGE])
        ),
        max_size=40,
    ),
    cut=st.integers(0, 40),
)
def test_millions_of_calls_are_read_as_a_few_are(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Call], cut: int
) -> None:
    """In slices of two, from runs of three in a file, mapped from three on: the same ledger, other identifiers too."""
    parts = tmp_path_factory.mktemp("parts")
    write_calls(parts, 0, calls[:cut])
    write_calls(parts, 1, calls[cut:])
    expected = told_by(read_ledger(parts))
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("SHORT", 2), ("RUN_ROWS", 3), ("SLICE", 2), ("_FEWEST_ROWS", 1)):
            patch.setattr(columns, name, size)
        assert told_by(read_ledger(parts)) == expected


def told_by(ledger: Ledger) -> list[object]:
    """Everything that a ledger tells."""
    found = [
        *(ledger.customer_ids, ledger.outcomes, ledger.fetched_at, ledger.verdicts, ledger.answered_ids),
        *(ledger.stale_records, ledger.shadowed_records, ledger.dropped_records),
        *(ledger.every_id(), ledger.partial_once(), ledger.done(1003), ledger.done(0, 1005)),
        *(ledger.with_outcome(Outcome.EXPORTED, Outcome.PARTIAL), ledger.keys_with_outcome(Outcome.DELETED)),
    ]
    sums = [ledger.calls, ledger.repeated, ledger.throttled, ledger.records]
    return [*((str(column.dtype), column.tolist()) for column in found), *sums]


def test_of_two_identifiers_of_a_customer_the_later_answer_counts(tmp_path: Path) -> None:
    """The other one's rows are shadowed; both identifiers keep their verdict, and the customer is there once."""
    write_calls(tmp_path, 0, [(-1, Outcome.EXPORTED), (-4, Outcome.EXPORTED), (-2, Outcome.ABSENT)])
    ledger = read_ledger(tmp_path)
    assert verdicts(ledger) == {-4: Outcome.EXPORTED, -2: Outcome.ABSENT, -1: Outcome.EXPORTED}
    assert (ledger.answered_ids.tolist(), ledger.shadowed_records.tolist()) == ([2, -2, 2], [0])
    assert ledger.with_outcome(Outcome.EXPORTED).tolist() == [2]
    assert ledger.every_id().tolist() == [-4, -2, -1, 2]


def test_chunks_without_parts_are_those_whose_list_of_calls_is_missing(tmp_path: Path) -> None:
    """Other parts of a chunk don't count: its list of calls is written last."""
    journal, parts = tmp_path / "journal", tmp_path / "parts"
    journal.mkdir()
    for name in ("chunk-00000.sealed", "chunk-00001.sealed", "chunk-00002.open"):
        (journal / name).write_bytes(b"")
    write_calls(parts, 0, [(1, Outcome.EXPORTED)])
    write_part(parts / "customers" / part_name(1), CALLS_SCHEMA.empty_table())
    assert chunks_without_parts(journal, parts) == [journal / "chunk-00001.sealed"]


def test_a_damaged_list_of_calls_is_told(tmp_path: Path) -> None:
    """A part that is none, is cut, or has a flipped bit, is named with the remedy; never misread."""
    write_calls(tmp_path, 0, [(number, Outcome.EXPORTED) for number in range(1000)])
    path = tmp_path / CALLS / part_name(0)
    whole = path.read_bytes()
    for data in (
        b"",
        b"CAPPART\n",
        whole[: len(whole) // 2],
        whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
    ):
        path.write_bytes(data)
        with pytest.raises(StorageError) as caught:
            read_ledger(tmp_path)
        assert str(path) in caught.value.message
        assert "rebuild" in caught.value.hint
