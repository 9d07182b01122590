"""One row per warning of an answer."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Code and words."""
    assert own_rows(full(), "warnings") == [
        {"list": "warnings", "ordinal": 0, "status": False, "code": 8076, "message": "Gap details missing"}
    ]


def test_errors_beside_a_body() -> None:
    """They are told apart by their list."""
    doc = {"warnings": [{"code": 1}], "errors": [{"code": 2}]}
    assert [(row["list"], row["code"]) for row in own_rows(doc, "warnings")] == [
        ("warnings", 1),
        ("errors", 2),
    ]
