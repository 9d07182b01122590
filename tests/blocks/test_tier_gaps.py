"""Upgrade gaps, renewal gaps and trackers, wherever the strategies stand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def of_block(name: str, block: str) -> list[dict[str, Any]]:
    """The full answer's rows of one place, without its name."""
    rows = own_rows(full(), name)
    return [
        {column: row[column] for column in row if column != "block"} for row in rows if row["block"] == block
    ]


PROGRAM = {"program_ordinal": 0, "program_id": 501}
POINTS = {
    "ordinal": 0,
    "upgrade_based_on": "CURRENT_POINTS",
    "upgrade_threshold": Decimal(2000),
    "current_value": Decimal("979.71"),
    "gap_to_upgrade": Decimal("1020.29"),
    "value_valid_upto": date(2026, 12, 31),
}
TRACKED = {
    "ordinal": 1,
    "upgrade_based_on": "TRACKER_VALUE_BASED",
    "upgrade_threshold": Decimal(25000),
    "current_value": Decimal(1),
    "gap_to_upgrade": Decimal(24999),
    "custom_expression": "(A AND B)",
    "expression_relation": "[[1,2]]",
}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("loyaltyProgramDetails", [PROGRAM | POINTS, PROGRAM | TRACKED]),
        ("pointsSummary", [{"program_id": 500} | POINTS, {"program_id": 500} | TRACKED]),
        (
            "groupLoyaltyProgramDetails",
            [
                {
                    "program_ordinal": 0,
                    "group_program_id": 600,
                    "ordinal": 0,
                    "upgrade_based_on": "LIFETIME_POINTS",
                    "upgrade_threshold": Decimal(1000),
                }
            ],
        ),
        ("upgradeStrategies", [{"ordinal": 0, "upgrade_based_on": "LIFETIME_PURCHASES"}]),
        (
            "gapToUpgrade",
            [{"ordinal": 0, "upgrade_based_on": "CUMULATIVE_PURCHASES", "upgrade_threshold": Decimal(10000)}],
        ),
    ],
)
def test_upgrade_gaps(block: str, wanted: list[dict[str, Any]]) -> None:
    """With the programme they belong to, numbers from text too."""
    assert of_block("tier_upgrade_gaps", block) == wanted


SUMMARY = {"summary_ordinal": 0, "tier_expiry_date": date(2026, 12, 31), "renew_confirmed": False}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (
            "loyaltyProgramDetails",
            [
                {
                    **PROGRAM,
                    **SUMMARY,
                    "ordinal": 0,
                    "renew_based_on": "TRACKER",
                    "renew_threshold": Decimal(3),
                    "customer_renew_entity_value": Decimal(1),
                    "customer_gap_to_renew_value": Decimal(2),
                },
                {
                    **PROGRAM,
                    **SUMMARY,
                    "ordinal": 1,
                    "renew_based_on": "PURCHASE",
                    "renew_threshold": Decimal(5000),
                },
                {
                    "program_ordinal": 1,
                    "program_id": 502,
                    "summary_ordinal": 0,
                    "tier_expiry_date": date(2125, 11, 19),
                    "renew_confirmed": True,
                    "ordinal": 0,
                },
            ],
        ),
        (
            "pointsSummary",
            [{"program_id": 500, "summary_ordinal": 0, "tier_expiry_date": date(2027, 1, 31), "ordinal": 0}],
        ),
        (
            "gapToRenewSummary",
            [
                {
                    "summary_ordinal": 0,
                    "tier_expiry_date": date(2026, 12, 31),
                    "ordinal": 0,
                    "renew_based_on": "VISITS",
                }
            ],
        ),
    ],
)
def test_renewal_gaps(block: str, wanted: list[dict[str, Any]]) -> None:
    """A summary is an object or a list; one without strategies has a row of its own."""
    assert of_block("tier_renewal_gaps", block) == wanted


VISITS = {
    "tracker_name": "visits",
    "tracker_type": "CUSTOMER_VISITS",
    "tracker_mode": "MOVING_WINDOW",
    "tracker_case_name": "all",
    "tracker_case_period_type": "DAYS",
    "tracker_case_period_value": 730,
}
UPGRADE = {"strategy": "upgradeStrategies", "strategy_ordinal": 1, "list": "trackerEntityIdentifiers"}
BILLS = {"tracker_name": "bills", "tracker_type": "BILL_AMOUNT"}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (
            "loyaltyProgramDetails",
            [
                {**PROGRAM, **UPGRADE, "ordinal": 0, **VISITS},
                {**PROGRAM, **UPGRADE, "ordinal": 1, **BILLS},
                {
                    **PROGRAM,
                    "summary_ordinal": 0,
                    "strategy": "renewStrategies",
                    "strategy_ordinal": 0,
                    "list": "trackerEntityIdentifiers",
                    "ordinal": 0,
                    "tracker_name": "visits",
                    "tracker_case_period_value": 12,
                },
            ],
        ),
        (
            "pointsSummary",
            [
                {"program_id": 500, **UPGRADE, "ordinal": 0, **VISITS},
                {"program_id": 500, **UPGRADE, "ordinal": 1, **BILLS},
            ],
        ),
        (
            "upgradeStrategies",
            [
                {
                    "strategy": "upgradeStrategies",
                    "strategy_ordinal": 0,
                    "list": "upgradeEntityIdentifiers",
                    "ordinal": 0,
                    "tracker_name": "t",
                }
            ],
        ),
    ],
)
def test_trackers(block: str, wanted: list[dict[str, Any]]) -> None:
    """Of upgrade and of renewal strategies, with the programme and the strategy they belong to."""
    assert of_block("tier_trackers", block) == wanted


def test_thrift_dump() -> None:
    """The old shape with its `setX` booleans has the same row, and nothing beside."""
    strategy = {
        "upgradeBasedOn": "CUMULATIVE_PURCHASES",
        "customerUpgradeEntityValues": {"currentValue": 0, "setCurrentValue": True},
        "setUpgradeBasedOn": True,
        "setUpgradeEntityIdentifiers": False,
    }
    assert own_rows({"gapDetails": strategy}, "tier_upgrade_gaps") == [
        {
            "block": "gapDetails",
            "ordinal": 0,
            "upgrade_based_on": "CUMULATIVE_PURCHASES",
            "current_value": Decimal(0),
        }
    ]


@pytest.mark.parametrize("strategies", [None, [], {}, [None], [{}]])
def test_summary_without_strategies(strategies: object) -> None:
    """However nothing is said, the summary has one row."""
    doc = {"gapToRenew": {"tierExpiryDate": "2026-12-31", "renewStrategies": strategies}}
    assert own_rows(doc, "tier_renewal_gaps") == [
        {"block": "gapToRenew", "summary_ordinal": 0, "tier_expiry_date": date(2026, 12, 31), "ordinal": 0}
    ]


def test_odd_strategy_keeps_its_summary() -> None:
    """A strategy that is no object: told and kept, and the summary's row stands."""
    doc = {"gapToRenew": {"tierExpiryDate": "2026-12-31", "renewStrategies": ["VISITS"]}}
    assert len(own_rows(doc, "tier_renewal_gaps")) == 1
    assert own_rows(doc, "customers")[0]["extra"] == '{"gapToRenew[].renewStrategies":"VISITS"}'


def test_several_summaries() -> None:
    """Should a list of summaries come, each has its rows."""
    doc: dict[str, Any] = {"gapToRenewSummary": [{"renewStrategies": [{}, {}]}, {}]}
    rows = own_rows(doc, "tier_renewal_gaps")
    assert [(row["summary_ordinal"], row["ordinal"]) for row in rows] == [(0, 0), (0, 1), (1, 0)]
