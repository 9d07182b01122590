"""One row per user group; block and shape are not documented."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline.jsontext import dump
from tests.blocks.bodies import GROUP, full
from tests.blocks.collecting import own_rows

RAW = dump(GROUP)


def test_full_answer() -> None:
    """The fields of the API's page on user groups, and the whole element."""
    assert own_rows(full(), "user_groups") == [
        {
            "block": "userGroup2",
            "ordinal": 0,
            "id": 3100,
            "external_id": "crew-1",
            "group_name": "The crew",
            "group_status": "ACTIVE",
            "max_group_size": 30,
            "total_active_members": 3,
            "total_exited_members": 1,
            "life_time_purchases": Decimal(70100),
            "created_by": 70011,
            "created_on": datetime(2025, 9, 27, 9, 37, 22, tzinfo=UTC),
            "extended_fields": '{"boat":"Tern"}',
            "fleet_group_users": '[{"userId":4711,"groupId":3100,"primaryMember":true}]',
            "points_summaries": '[{"programId":501,"loyaltyPoints":54500.0}]',
            "warnings": "[]",
            "raw": RAW,
        }
    ]


@pytest.mark.parametrize("block", ["userGroup", "userGroups", "userGroup2", "userGroups2", "fleetGroups"])
def test_likely_names_are_read(block: str) -> None:
    """As a list and as a lone object."""
    wanted = [
        {
            "block": block,
            "ordinal": 0,
            "group_id": 7,
            "role": "PRIMARY",
            "raw": '{"groupId":7,"role":"PRIMARY"}',
        }
    ]
    assert own_rows({block: [{"groupId": 7, "role": "PRIMARY"}]}, "user_groups") == wanted
    assert own_rows({block: {"groupId": 7, "role": "PRIMARY"}}, "user_groups") == wanted
