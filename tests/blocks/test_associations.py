"""One row per customer in a hierarchy."""

from __future__ import annotations

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_full_answer() -> None:
    """The place in the hierarchy; the customers below as JSON text."""
    assert own_rows(full(), "associations") == [
        {
            "hierarchy_code": "fleet",
            "hierarchy_id": 21,
            "role_code": "FA",
            "child_role_code": "FC",
            "parent_role_id": 83,
            "fleet_company_external_id": "ex-7",
            "fleet_company_company_id": 71,
            "skip_level_allowed": False,
            "is_new": True,
            "child_customer": False,
            "child_customer_count": 1,
            "child_customers": '[{"profiles":[{"firstName":"Ola","source":"INSTORE"}]}]',
        }
    ]
