"""Faults of the data: well-formed answers whose content is wrong."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pipeline.sandbox.ask import Ask, parse_ask
from pipeline.sandbox.bodies import write_document
from pipeline.sandbox.customers import Base, Customer
from pipeline.sandbox.datafaults import BLOCKS, DATA_FAULTS
from pipeline.sandbox.faults import parse_plan
from pipeline.sandbox.rawjson import Document

QUERY = "source=INSTORE&embed=points,mlp,segments,promotionalPoints,userGroup&includedFraudDetails=true"
STRIKES_BEFORE_THE_BODY = {"half-missing", "groups-stuck", "stale", "store-missing", "duplicate-bodies"}


def body(k: int = 3) -> Document:
    """A customer's answer."""
    ask = parse_ask(QUERY, False, False)
    assert isinstance(ask, Ask)
    return write_document(Customer(Base(500, 1), k, date(2026, 11, 22)), ask)


def spoiled(name: str, argument: str = "", k: int = 3) -> Any:
    """The same with a fault."""
    found = body(k)
    DATA_FAULTS[name](found, argument)
    return found


@pytest.mark.parametrize("name", sorted(set(DATA_FAULTS) - STRIKES_BEFORE_THE_BODY - {"embed-missing"}))
def test_every_fault_changes_somebody(name: str) -> None:
    """And is a word of the plan's grammar."""
    assert any(spoiled(name, k=k) != body(k) for k in range(20))
    assert parse_plan(f"{name}=50%")


def test_of_lists_the_first_item_is_left() -> None:
    """At every depth."""
    found = spoiled("lists-truncated")
    assert len(found["profiles"]) == 1
    assert len(found["profiles"][0]["identifiers"]) == 1


def test_one_tier_can_be_renamed_by_its_name() -> None:
    """The others keep theirs."""
    tiers = {
        spoiled("tier-renamed", "Gold", k).get("pointsSummary", {}).get("currentSlab") for k in range(60)
    }
    assert "Gold Club" in tiers
    assert "Gold" not in tiers
    assert "Silver" in tiers


def test_without_embeds_no_block_is_left() -> None:
    """What always comes stays."""
    found = spoiled("embeds-missing")
    assert not set(found) & set(BLOCKS)
    assert found["profiles"]


@pytest.mark.parametrize(
    "plan", ["stale:2=10%", "store-missing:3", "purchases-low:1", "tier-renamed:Gold=5%"]
)
def test_arguments_and_shares_are_read(plan: str) -> None:
    """A fault may have both."""
    assert parse_plan(plan)
