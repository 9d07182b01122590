"""The blocks of an answer: there when asked for, absent when not."""

import json
from dataclasses import replace
from functools import cache
from typing import Any, get_args

import pytest

from pipeline.sandbox import customer_id
from pipeline.sandbox.ask import EMBEDS, Ask, parse_ask
from pipeline.sandbox.bodies import answer_for
from pipeline.sandbox.config import GroupBlock
from pipeline.sandbox.customers import Base, Customer
from pipeline.sandbox.groups import group_count
from tests.sandbox.conftest import DAY, Start

BASE = Base(600, seed=1)
FEW = Base(200, seed=1)
BLOCKS = {
    "points": "pointsSummary",
    "subscriptions": "subscriptionInfo",
    "mlp": "loyaltyProgramDetails",
    "promotionalPoints": "promotionalPoints",
    "expirySchedules": "expirySchedules",
    "expiredPoints": "expiredPoints",
    "returnedPoints": "returnedPoints",
    "userGroup": "userGroup",
    "gapDetails": "gapDetails",
    "customerImage": "customerImage",
    "associatedImages": "associatedImages",
    "cardLoyaltyDetails": "cardLoyaltyDetails",
    "fleetParentDetails": "associationDetails",
    "customerStatus": "statusLabel",
    "alternateCurrencies": "alternateCurrencyDetails",
}


@cache
def answers(query: str, base: Base = FEW) -> list[dict[str, Any]]:
    """All customers' bodies that hold a person. Remembered: don't change them."""
    ask = parse_ask(f"source=INSTORE&{query}", False, False)
    assert isinstance(ask, Ask)
    found = (answer_for(base, DAY, k, ask, 0, None) for k in range(base.customers))
    return [json.loads(one.body) for one in found if one.status == 200 and b'"profiles":[{' in one.body]


def with_key(bodies: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [body for body in bodies if key in body]


@pytest.mark.parametrize(("embed", "block"), BLOCKS.items())
def test_a_block_is_there_only_when_asked_for(embed: str, block: str) -> None:
    """With its embed some customers have the block; with all the other embeds none has."""
    others = ",".join(sorted(EMBEDS - {embed.lower()}))

    assert with_key(answers(f"embed={embed}"), block)
    assert not with_key(answers(f"embed={others}"), block)
    assert not with_key(answers(""), block)


def test_every_embed_is_tested() -> None:
    """The list above has all embeds but the two that don't bring a block of their own."""
    assert {embed.lower() for embed in BLOCKS} | {"segments", "ignorecarddetails"} == EMBEDS


def test_segments_is_empty_unless_asked_for() -> None:
    """The key is always there; only the embed fills it."""
    assert all(body["segments"] == {} for body in answers("embed=points"))
    assert sum(bool(body.get("segments")) for body in answers("embed=segments")) > 150


def test_ignore_card_details_takes_the_cards_away() -> None:
    """cardDetails comes unasked, and goes when told."""
    assert sum(bool(body.get("cardDetails")) for body in answers("")) > 25
    assert not with_key(answers("embed=ignoreCardDetails"), "cardDetails")


@pytest.mark.parametrize(
    ("flag", "block"),
    [
        ("includedFraudDetails", "fraudDetails"),
        ("ndncStatus", "ndncStatus"),
        ("optinStatus", "optinStatus"),
        ("slabHistory", "slabHistory"),
        ("tierUpgradeCriteria", "tierUpgradeCriteria"),
        ("membershipRetentionCriteria", "membershipRetentionCriteria"),
    ],
)
def test_a_flag_brings_its_block(flag: str, block: str) -> None:
    """True brings it to everyone, false and silence to no one."""
    bodies = answers(f"{flag}=true")

    assert len(with_key(bodies, block)) == len(bodies)
    assert not with_key(answers(f"{flag}=false"), block)


def programs(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [program for body in bodies for program in body.get("loyaltyProgramDetails", [])]


def test_gaps_are_inside_the_programs_and_only_with_mlp() -> None:
    """upgradeStrategies by gapToUpgrade, gapToRenewSummary by gapToRenew, neither without mlp."""
    both = programs(answers("embed=mlp&gapToUpgrade=0&gapToRenew=30"))
    upgrade = programs(answers("embed=mlp&gapToUpgrade=0"))

    assert with_key(both, "upgradeStrategies")
    assert with_key(both, "gapToRenewSummary")
    assert with_key(upgrade, "upgradeStrategies")
    assert not with_key(upgrade, "gapToRenewSummary")
    assert not with_key(programs(answers("embed=mlp")), "upgradeStrategies")
    assert b"upgradeStrategies" not in json.dumps(answers("embed=points&gapToUpgrade=0")).encode()


def test_the_base_tier_has_nothing_to_renew_and_the_top_nothing_to_gain() -> None:
    """No gapToRenewSummary in tier 1; an empty list of upgrades at the top."""
    for program in programs(answers("embed=mlp&gapToUpgrade=0&gapToRenew=0")):
        if program["slabSNo"] == 1:
            assert "gapToRenewSummary" not in program
        if program["nextSlab"] == "":
            assert program.get("upgradeStrategies", []) == []
            assert program["nextSlabSerialNumber"] == -1


def test_the_gap_is_what_is_missing_to_the_threshold() -> None:
    """Threshold minus current value, but for rounding; trackers come with their definition."""
    strategies = [
        strategy
        for program in programs(answers("embed=mlp&gapToUpgrade=0"))
        for strategy in program.get("upgradeStrategies", [])
        if isinstance(strategy, dict)
    ]
    assert len(strategies) > 100
    for strategy in strategies:
        values = strategy["customerUpgradeEntityValues"]
        gap = float(strategy["upgradeThreshold"]) - values["currentValue"]
        assert values["gapToUpgrade"] == pytest.approx(gap, rel=1e-6, abs=0.01)
        if strategy.get("upgradeBasedOn") == "TRACKER_VALUE_BASED":
            assert strategy.get("upgradeEntityIdentifiers") or strategy["trackerEntityIdentifiers"]


def test_image_addresses_look_signed_and_lead_nowhere() -> None:
    """A client must treat them as secrets, so each holds a signature; the host is an example."""
    images = [image for body in answers("embed=customerImage") for image in body["customerImage"]]

    assert images
    assert all("X-Amz-Signature=" in image["filePath"] for image in images)
    assert all(image["filePath"].startswith("https://images.example.com/") for image in images)
    assert {image["status"] for image in images} == {"true"}


def member_of(least: int, most: int) -> int:
    return next(k for k in range(600) if least <= group_count(Customer(BASE, k, DAY)) <= most and is_plain(k))


def is_plain(k: int) -> bool:
    return BASE.fate(k, DAY).value == "regular"


async def test_group_pages_hold_every_group_once(start: Start) -> None:
    """Paging by offset through more groups than a page holds finds all of them, newest first, none twice."""
    k = member_of(101, 200)
    caller = await start(customers=600)
    query = "source=INSTORE&embed=userGroup&includedAllUserGroup2=true&ug2PaginationDetails=true&ug2Limit=100"

    pages = [
        (await caller.customer(customer_id(k), f"{query}&ug2Offset={offset}")).json()
        for offset in (0, 100, 200)
    ]

    groups = [group for page in pages for group in page["userGroup"]]
    total = group_count(Customer(BASE, k, DAY))
    assert [page["ug2Pagination"]["total"] for page in pages] == [total] * 3
    assert [len(page["userGroup"]) for page in pages] == [100, total - 100, 0]
    assert len({group["id"] for group in groups}) == total
    assert [group["joinedOn"] for group in groups] == sorted((g["joinedOn"] for g in groups), reverse=True)


def test_some_are_in_more_groups_than_a_page_holds() -> None:
    """About one in a hundred; the page that comes unasked has ten of them, and its total tells of the rest."""
    base = Base(8000, seed=1)
    share = sum(group_count(Customer(base, k, DAY)) > 10 for k in range(8000)) / 8000
    body = group_answer(member_of(11, 200), "includedAllUserGroup2=true&ug2PaginationDetails=true")

    assert 0.007 < share < 0.015
    assert len(body["userGroup"]) == 10
    assert body["ug2Pagination"] == {
        "limit": 10, "offset": 0, "total": group_count(Customer(BASE, member_of(11, 200), DAY)),
        "sortBy": "JoinedDate", "sortOrder": "DESC",
    }  # fmt: skip


def group_answer(k: int, query: str, base: Base = BASE) -> dict[str, Any]:
    ask = parse_ask(f"source=INSTORE&embed=userGroup&{query}", False, False)
    assert isinstance(ask, Ask)
    body: dict[str, Any] = json.loads(answer_for(base, DAY, k, ask, 0, None).body)
    return body


@pytest.mark.parametrize("name", get_args(GroupBlock))
def test_the_block_of_groups_can_have_another_name(name: str) -> None:
    """The groups are the same, under the name that the base has for them and under no other."""
    k = member_of(2, 9)
    usual = group_answer(k, "includedAllUserGroup2=true")
    other = group_answer(k, "includedAllUserGroup2=true", replace(BASE, group_block=name))

    assert [key for key in get_args(GroupBlock) if key in other] == [name]
    assert other[name] == usual["userGroup"]


async def test_a_server_names_the_block_as_its_config_says(start: Start) -> None:
    """`group_block` reaches the wire; a name that isn't one of the likely ones is a mistake."""
    caller = await start(customers=600, group_block="fleetGroups")
    body = (await caller.customer(customer_id(member_of(2, 9)), "source=INSTORE&embed=userGroup")).json()

    assert "fleetGroups" in body
    assert "userGroup" not in body
    with pytest.raises(ValueError, match="group_block = 'groups': must be one of userGroup, "):
        await start(group_block="groups")


async def test_stuck_groups_make_no_progress(start: Start) -> None:
    """Every page is the first one, says that it is the asked one, and the total is never reached."""
    k = member_of(11, 200)
    caller = await start(customers=600, faults="groups-stuck")
    query = "source=INSTORE&embed=userGroup&includedAllUserGroup2=true&ug2PaginationDetails=true"
    pages = [
        (await caller.customer(customer_id(k), f"{query}&ug2Offset={offset}")).json()
        for offset in (0, 10, 500)
    ]

    assert len(pages[0]["userGroup"]) == 10
    assert pages[0]["userGroup"] == pages[1]["userGroup"] == pages[2]["userGroup"]
    assert [page["ug2Pagination"]["offset"] for page in pages] == [0, 10, 500]
    assert pages[0]["ug2Pagination"]["total"] > group_count(Customer(BASE, k, DAY))


def test_group_flags_narrow_and_widen() -> None:
    """Without includedAllUserGroup2 only the default group; userGroup2Id picks one; the loyalty flag adds
    points."""
    k = member_of(2, 9)
    everything = "includedAllUserGroup2=true"

    def groups(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = group_answer(k, query)["userGroup"]
        return found

    oldest = groups(f"{everything}&ug2SortOrder=ASC")
    assert [group["fleetGroupUsers"][0]["defaultGroup"] for group in groups("")] == [True]
    assert groups(f"userGroup2Id={oldest[1]['id']}") == [oldest[1]]
    assert "pointsSummaries" not in oldest[0]
    assert "pointsSummaries" in groups(f"{everything}&includedUserGroup2LoyaltyDetails=true")[0]
    joined = oldest[1]["joinedOn"][:19].replace("T", " ")
    assert groups(f"{everything}&ug2JoinedStartDate={joined}&ug2SortOrder=ASC") == oldest[1:]


def test_a_heavy_member_has_a_thousand_promotions() -> None:
    """Two in a thousand have an answer of hundreds of kB."""
    counts = [
        len(body["promotionalPoints"]["customerPromotionType"])
        for body in answers("embed=promotionalPoints", Base(1500, seed=1))
    ]

    assert counts.count(1000) in range(1, 15)
    assert sorted(counts)[len(counts) // 2] <= 4
