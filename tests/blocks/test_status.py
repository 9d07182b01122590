"""One row per customer with a status label or a fraud mark."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.blocks.bodies import SMALL, full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """Label, reason, mark and who gave it."""
    assert own_rows(full(), "customer_status") == [
        {
            "status_label": "Regular",
            "status_label_reason": "Signed up",
            "fraud_status": "NOT_FRAUD",
            "fraud_modified_on": datetime(2023, 9, 23, 9, 43, 14, tzinfo=UTC),
            "fraud_marked_by_id": 70011,
            "fraud_marked_by_code": "harbour.till1",
            "fraud_marked_by_name": "Harbour Till 1",
            "fraud_marked_by_type": "TILL",
            "fraud_marked_by_description": "",
            "fraud_marked_by_reference_id": -1,
            "fraud_marked_by_default": False,
            "fraud_marked_by_admin_type": "GENERAL",
            "fraud_marked_by_is_active": True,
            "fraud_marked_by_is_ou_enabled": True,
            "fraud_marked_by_time_zone_id": 0,
            "fraud_marked_by_currency_id": 95,
            "fraud_marked_by_language_id": -1,
        }
    ]


def test_customers_without_status_have_no_row() -> None:
    """Neither label nor reason nor mark; null is none."""
    assert own_rows(SMALL, "customer_status") == []
    assert own_rows({"statusLabel": None, "fraudDetails": None}, "customer_status") == []


@pytest.mark.parametrize(
    "doc", [{"statusLabel": "A"}, {"statusLabelReason": "B"}, {"fraudDetails": {"status": "C"}}]
)
def test_any_of_them_is_a_row(doc: dict[str, object]) -> None:
    """One value is enough."""
    assert len(own_rows(doc, "customer_status")) == 1


def test_unknown_key_of_the_fraud_mark() -> None:
    """It is kept with the customer, who always has a row."""
    doc = {"fraudDetails": {"status": "C", "why": "x"}}
    assert own_rows(doc, "customers")[0]["extra"] == '{"fraudDetails.why":"x"}'
