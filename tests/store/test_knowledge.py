"""What is known across nights: written, damaged, looked up, and brought up to date as a plain loop would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.outcome import Outcome
from pipeline.store import columns
from pipeline.store.knowledge import (
    DTYPES,
    Knowledge,
    KnowledgeError,
    Known,
    apply,
    nothing_known,
    read_applied,
    read_knowledge,
    write_knowledge,
)
from pipeline.store.ledger import Verdicts

Verdict = tuple[int, int, Outcome, int, int]
"""ID, seconds, outcome, hash, next date."""


def verdicts_of(rows: list[Verdict]) -> Verdicts:
    ids, seconds, outcomes, hashes, dates = list(zip(*rows, strict=True)) or [()] * 5
    return Verdicts(
        np.array(ids, np.int64),
        np.array(seconds, np.int64) * 1_000_000 + 999_999,
        np.array(outcomes, np.int8),
        np.array(hashes, np.uint64),
        np.array(dates, np.int32),
    )


def rows_of(knowledge: Knowledge) -> dict[int, list[int]]:
    told = [getattr(knowledge, name).tolist() for name in DTYPES]
    return {row[0]: list(row[1:]) for row in zip(*told, strict=True)}


def some_knowledge(count: int = 1000) -> Knowledge:
    dice = np.random.default_rng(7)
    ids = np.unique(dice.integers(-(2**62), 2**62, count))
    rest = {name: dice.integers(0, 100, len(ids)).astype(dtype) for name, dtype in DTYPES.items()}
    return Knowledge(**{**rest, "customer_ids": ids})


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    """Every column with its type, and the nights it was made from."""
    knowledge = some_knowledge()
    write_knowledge(tmp_path / "n.known", Known(knowledge, {"2026-11-21": 12}))
    found = read_knowledge(tmp_path / "n.known")
    assert found.applied == read_applied(tmp_path / "n.known") == {"2026-11-21": 12}
    assert rows_of(found.knowledge) == rows_of(knowledge)
    assert {name: getattr(found.knowledge, name).dtype for name in DTYPES} == DTYPES


def test_nothing_known_is_written_and_read_too(tmp_path: Path) -> None:
    """Before the first answer the file has no rows."""
    write_knowledge(tmp_path / "n.known", Known(nothing_known(), {}))
    assert len(read_knowledge(tmp_path / "n.known").knowledge) == 0


def test_any_damage_is_noticed(tmp_path: Path) -> None:
    """A flipped bit in any column or in the head, a cut file, another version, no file: KnowledgeError each time."""
    path = tmp_path / "n.known"
    with pytest.raises(KnowledgeError):
        read_knowledge(path)
    knowledge = some_knowledge()
    write_knowledge(path, Known(knowledge, {}))
    whole = path.read_bytes()
    starts = [whole.index(getattr(knowledge, name).tobytes()[:40]) for name in DTYPES]
    flipped = (
        whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        for at in (0, 9, 13, 30, *starts, len(whole) - 1)
    )
    cut = (whole[:length] for length in (0, 5, 14, 100, starts[3], len(whole) - 1))
    for data in [*flipped, *cut]:
        path.write_bytes(data)
        with pytest.raises(KnowledgeError):
            read_knowledge(path)


def test_places_tell_who_is_known(tmp_path: Path) -> None:
    """In any order, repeated, unknown below, between and above; nobody is known where nothing is."""
    knowledge = some_knowledge()
    wanted = np.concatenate(
        [knowledge.customer_ids[::-7], [-(2**63), 0, 2**63 - 1], knowledge.customer_ids[:3]]
    )
    places, is_known = knowledge.places_of(wanted)
    assert is_known.tolist() == np.isin(wanted, knowledge.customer_ids).tolist()
    assert (knowledge.customer_ids[places][is_known] == wanted[is_known]).all()
    assert not nothing_known().places_of(wanted)[1].any()


@dataclass
class Plain:
    """One customer, as a loop would keep it."""

    outcome: int = 0
    seen_at: int = 0
    first_seen_at: int = 0
    body: int = 0
    answers: int = 0
    changes: int = 0
    next_date: int = 0

    def night(self, rows: list[Verdict]) -> None:
        known_at = self.seen_at
        final = [row for row in rows if row[2] is not Outcome.FAILED]
        last = (final or rows)[-1]
        if last[1] >= known_at:
            self.outcome = int(last[2])
        for _, seconds, outcome, body, next_date in rows:
            if outcome is Outcome.FAILED:
                continue
            self.seen_at = max(self.seen_at, seconds)
            self.first_seen_at = min(self.first_seen_at or seconds, seconds)
            if body:
                self.answer(seconds < known_at, max(body & ~1, 2) | (outcome is Outcome.PARTIAL), next_date)

    def answer(self, is_late: bool, marked: int, next_date: int) -> None:
        if is_late:
            self.answers += 1
        elif not (self.body and not self.body & 1 and marked & 1):
            self.answers += 1
            self.changes += bool(self.body) and self.body & 1 == marked & 1 and self.body != marked
            self.body, self.next_date = marked, next_date

    def row(self) -> list[int]:
        return [
            self.outcome,
            self.seen_at,
            self.first_seen_at,
            self.body,
            self.answers,
            self.changes,
            self.next_date,
        ]


WITH_BODY = st.tuples(
    st.integers(-2, 3),
    st.integers(1, 40),
    st.sampled_from([Outcome.EXPORTED, Outcome.PARTIAL]),
    st.sampled_from([0, 2, 4, 2**63 + 6]),
    st.integers(0, 3),
)
WITHOUT = st.tuples(
    st.integers(-2, 3),
    st.integers(1, 40),
    st.sampled_from([Outcome.ABSENT, Outcome.FAILED, Outcome.MERGED]),
    st.just(0),
    st.just(0),
)


@given(
    nights=st.lists(st.lists(WITH_BODY | WITHOUT, max_size=12), max_size=5),
    at_once=st.sampled_from([1, 3, 1_000]),
)
def test_any_nights_give_the_plain_answer(
    tmp_path_factory: pytest.TempPathFactory, nights: list[list[Verdict]], at_once: int
) -> None:
    """Whatever came, in any order of times, and however many are worked on at once: as a loop over calls has it."""
    scratch = tmp_path_factory.mktemp("scratch")
    knowledge, plain = nothing_known(), dict[int, Plain]()
    for night in nights:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.store.knowledge.SLICE", at_once)
            for name in ("SHORT", "RUN_ROWS", "SLICE", "_FEWEST_ROWS"):
                patch.setattr(columns, name, at_once)
            knowledge = apply(knowledge, verdicts_of(night), scratch)
        for one in {row[0] for row in night}:
            plain.setdefault(one, Plain()).night([row for row in night if row[0] == one])
    assert rows_of(knowledge) == {one: found.row() for one, found in plain.items()}
    assert knowledge.customer_ids.tolist() == sorted(plain)
    assert {name: getattr(knowledge, name).dtype for name in DTYPES} == DTYPES


def seen(knowledge: Knowledge, customer_id: int = 1) -> dict[str, Any]:
    return dict(zip(list(DTYPES)[1:], rows_of(knowledge)[customer_id], strict=True))


def test_a_change_is_a_body_that_differs_from_the_one_before() -> None:
    """Four nights, two bodies: three changes less the night that brought the same again."""
    knowledge = nothing_known()
    for seconds, body in enumerate((10, 20, 20, 10), 1):
        knowledge = apply(knowledge, verdicts_of([(1, seconds, Outcome.EXPORTED, body, 0)]))
    assert (seen(knowledge)["answers"], seen(knowledge)["changes"]) == (4, 2)
    assert (seen(knowledge)["first_seen_at"], seen(knowledge)["seen_at"]) == (1, 4)


def test_a_partial_answer_between_full_ones_is_no_change() -> None:
    """What a partial answer lacks has not changed; only when it was seen is taken from it."""
    night = [(1, 5, Outcome.PARTIAL, 99 << 1, 0), (1, 6, Outcome.EXPORTED, 10, 7)]
    before = apply(nothing_known(), verdicts_of([(1, 1, Outcome.EXPORTED, 10, 3)]))
    partial = apply(before, verdicts_of(night[:1]))
    assert (seen(partial)["seen_at"], seen(partial)["answers"], seen(partial)["next_dates"]) == (5, 1, 3)
    both = apply(before, verdicts_of(night))
    assert (seen(both)["answers"], seen(both)["changes"], seen(both)["next_dates"]) == (2, 0, 7)


def test_counts_stop_at_their_largest() -> None:
    """A column of 16 bits does not start again at 0."""
    full = apply(nothing_known(), verdicts_of([(1, 1, Outcome.EXPORTED, 10, 0)]))
    full = Knowledge(
        **{**vars(full), "answers": np.array([65_535], np.uint16), "changes": np.array([65_534], np.uint16)}
    )
    more = apply(full, verdicts_of([(1, 2 + n, Outcome.EXPORTED, 20 + 10 * n, 0) for n in range(3)]))
    assert (seen(more)["answers"], seen(more)["changes"]) == (65_535, 65_535)


def test_a_hundred_thousand_ids_are_brought_up_to_date(tmp_path: Path) -> None:
    """The bench's night in its short form: known and new IDs, through the file."""
    ids = np.arange(0, 200_000, 2)
    count = len(ids)
    first = Verdicts(
        ids,
        np.full(count, 10**15),
        np.ones(count, np.int8),
        ids.astype(np.uint64) * 4 + 4,
        np.zeros(count, np.int32),
    )
    write_knowledge(tmp_path / "n.known", Known(apply(nothing_known(), first), {}))
    tonight = np.random.default_rng(1).permutation(np.arange(0, 30_000))
    second = Verdicts(
        tonight,
        np.full(30_000, 2 * 10**15),
        np.ones(30_000, np.int8),
        tonight.astype(np.uint64) * 4 + 8,
        np.ones(30_000, np.int32),
    )
    found = apply(read_knowledge(tmp_path / "n.known").knowledge, second)
    assert found.customer_ids.tolist() == np.union1d(ids, tonight).tolist()
    asked_twice = (found.customer_ids < 30_000) & (found.customer_ids % 2 == 0)
    assert (found.answers == np.where(asked_twice, 2, 1)).all()
    assert (found.changes == asked_twice).all()
    assert (found.next_dates == (found.customer_ids < 30_000)).all()
