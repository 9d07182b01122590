"""One row per picture of a customer; the way to it stays out (test_secrets has the rest)."""

from __future__ import annotations

from datetime import datetime

from tests.blocks.bodies import full
from tests.blocks.collecting import collect, own_rows, rows_of


def test_full_answer() -> None:
    """The file's description; size and status come as text."""
    assert own_rows(full(), "customer_images") == [
        {
            "ordinal": 0,
            "code": 200,
            "status": True,
            "message": "Success",
            "file_handle": "11111111-2222-3333-4444-555555555555",
            "file_namespace": "customerImage",
            "file_name": "7/4711/0",
            "file_size": 209859,
            "file_version": 1,
            "file_latest_version": 2,
            "file_last_modified": datetime(2026, 4, 30, 12, 25, 56),  # noqa: DTZ001 - as given
            "file_acl": "PRIVATE",
        }
    ]


def test_secrets_are_known() -> None:
    """Left out by declaration: neither in extra nor counted as unknown."""
    collected = collect(full())
    assert [row["extra"] for row in rows_of(collected, "customer_images")] == [None]
    assert collected.unknown == {}
