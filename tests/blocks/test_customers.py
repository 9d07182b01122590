"""The customers table: one row, whatever the answer holds."""

from __future__ import annotations

from tests.blocks.bodies import SMALL, full
from tests.blocks.collecting import collect, own_rows, rows_of


def test_full_answer() -> None:
    """Its single values and how many of each child came."""
    assert own_rows(full(), "customers") == [
        {
            "id": 4711,
            "loyalty_type": "loyalty",
            "associated_with": "harbour.till1",
            "status_label": "Regular",
            "referral_code": "MIRA7",
            "entity": 4711,
            "ug2_pagination": '{"limit":10,"offset":0,"total":1}',
            "profile_count": 2,
            "segment_count": 2,
            "extended_field_count": 4,
            "program_count": 2,
            "group_program_count": 1,
            "subscription_count": 2,
            "card_count": 2,
            "image_count": 1,
            "warning_count": 1,
            "body_hash": "hash-0",
        }
    ]


def test_small_answer() -> None:
    """Counts are 0 where nothing came; empty and missing lists alike."""
    row = own_rows(SMALL, "customers")[0]
    assert {column for column, value in row.items() if column.endswith("_count")} == {
        "profile_count",
        "segment_count",
        "extended_field_count",
        "program_count",
        "group_program_count",
        "subscription_count",
        "card_count",
        "image_count",
        "warning_count",
    }
    assert {value for column, value in row.items() if column.endswith("_count")} == {0}
    assert (row["id"], row["loyalty_type"]) == (12, "non_loyalty")


def test_id_as_text() -> None:
    """Some clients see the ID as text; the row is the customer's that was asked for."""
    row = rows_of(collect({"id": "12"}), "customers")[0]
    assert (row["customer_id"], row["id"]) == (4711, 12)
