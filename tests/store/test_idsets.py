"""Sets of IDs as sorted arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import idsets
from pipeline.store.idsets import Ints, common, distinct, is_among, without

IDS = st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(1, 9)).map(
    lambda ids: np.array(ids, np.int64)
)


@given(first=IDS, second=IDS)
def test_they_are_what_pythons_sets_say(first: Ints, second: Ints) -> None:
    """United, picked and left out, with empty ones, repeated ones and the largest numbers there are."""
    ordered, there = distinct(second), set(second.tolist())
    assert ordered.tolist() == sorted(there)
    assert distinct(first, second).tolist() == sorted(set(first.tolist()) | there)
    assert is_among(first, ordered).tolist() == [one in there for one in first.tolist()]
    assert without(first, ordered).tolist() == [one for one in first.tolist() if one not in there]
    assert common(first, ordered).tolist() == [one for one in first.tolist() if one in there]


def test_many_are_looked_for_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were few."""
    monkeypatch.setattr(idsets, "BLOCK", 3)
    assert is_among(np.arange(10), np.array([0, 2, 3, 9])).tolist() == [
        one in (0, 2, 3, 9) for one in range(10)
    ]
