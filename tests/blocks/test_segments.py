"""One row per customer and segment."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """A partition each; a list of them gives a row each."""
    assert own_rows(full(), "segments") == [
        {"segment": "Activity segment", "ordinal": 0, "partition": "Active", "partition_type": "string"},
        {"segment": "Taste", "ordinal": 0, "partition": "sweet", "partition_type": "string"},
        {"segment": "Taste", "ordinal": 1, "partition": "sour", "partition_type": "string"},
    ]


def test_unsegmented_customer() -> None:
    """An empty map is no row."""
    assert own_rows({"segments": {}}, "segments") == []
