"""One row per communication channel of a profile."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Booleans as text count too; meta and attributes are kept."""
    assert own_rows(full(), "comm_channels") == [
        {
            "profile_ordinal": 0,
            "source": "INSTORE",
            "account_id": "",
            "ordinal": 0,
            "type": "email",
            "value": "mira@example.com",
            "is_primary": True,
            "verified": False,
            "residence": False,
            "office": True,
            "last_viewed_date": "2026-01-01",
            "attributes": '{"tone":"short"}',
        }
    ]
