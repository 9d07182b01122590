"""The base: the same customer for the same ID and day, and a believable mix of fates and oddities."""

import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from pipeline.sandbox import customer_id, known_ids
from pipeline.sandbox.answers import DELETED_MESSAGE
from pipeline.sandbox.ask import Ask, parse_ask
from pipeline.sandbox.bodies import answer_for
from pipeline.sandbox.customers import Base, Customer, Fate
from tests.sandbox.conftest import DAY, FULL, Start

N = 2000
BASE = Base(N, seed=1)
QUERY = f"source=ALL&embed={FULL}&gapToUpgrade=0&gapToRenew=0"


def ask(query: str = QUERY) -> Ask:
    parsed = parse_ask(query, False, False)
    assert isinstance(parsed, Ask)
    return parsed


def bodies(day: date, query: str = QUERY, base: Base = BASE) -> list[bytes]:
    return [answer_for(base, day, k, ask(query), 0, None).body for k in range(base.customers)]


@pytest.fixture(scope="module")
def tonight() -> list[bytes]:
    return bodies(DAY)


@pytest.fixture(scope="module")
def tomorrow() -> list[bytes]:
    return bodies(DAY + timedelta(days=1))


@pytest.fixture(scope="module")
def everybody() -> list[bytes]:
    return bodies(DAY, base=Base(4500, seed=1))


def documents(found: list[bytes]) -> list[dict[str, Any]]:
    """The customers' bodies among the answers."""
    parsed = (json.loads(body) for body in found if body)
    return [body for body in parsed if body.get("profiles")]


def test_ids_are_known_and_apart() -> None:
    """known_ids and customer_id agree; an ID between two of them is nobody's."""
    ids = known_ids(10)

    assert list(ids) == [customer_id(k) for k in range(10)] == list(range(300_000_000, 300_000_070, 7))
    assert [BASE.number(one) for one in (ids[3], ids[3] + 1, customer_id(N), 17)] == [3, None, None, None]


async def test_the_same_id_and_day_give_the_same_bytes_from_another_server(start: Start) -> None:
    """Two servers of one seed agree on every byte, asked in any order; another seed doesn't."""
    one, two, other = await start(), await start(), await start(seed=2)
    ids = list(known_ids(40))

    first = {customer: (await one.customer(customer, QUERY)).body for customer in ids}
    second = {customer: (await two.customer(customer, QUERY)).body for customer in reversed(ids)}
    third = {customer: (await other.customer(customer, QUERY)).body for customer in ids}

    assert first == second
    assert sum(first[customer] != third[customer] for customer in ids) > 35


def test_the_next_day_changes_some_and_leaves_the_others_to_the_byte(
    tonight: list[bytes], tomorrow: list[bytes]
) -> None:
    """About 8 in 100 have a visit, 4 more move in points only; the rest are byte-identical."""
    plain = (
        sum(
            a != b
            for a, b in zip(
                bodies(DAY, "source=ALL"), bodies(DAY + timedelta(days=1), "source=ALL"), strict=True
            )
        )
        / N
    )
    full = sum(a != b for a, b in zip(tonight, tomorrow, strict=True)) / N

    assert 0.06 < plain < 0.10
    assert plain + 0.02 < full < 0.15


def test_purchases_grow_but_for_returns() -> None:
    """Over a month most customers' purchases move up or stay; a few fall, because goods came back."""
    moves: Counter[str] = Counter()
    for k in range(1000):
        before, after = (Customer(BASE, k, DAY + timedelta(days=days)).purchases for days in (0, 30))
        moves["up" if after > before else "same" if after == before else "down"] += 1

    assert moves["up"] > 600
    assert 0 < moves["down"] < 60


def test_autoupdatetime_moves_with_a_visit(tonight: list[bytes], tomorrow: list[bytes]) -> None:
    """A profile that says it wasn't touched has the money it had."""
    old, new = documents(tonight), documents(tomorrow)
    by_id = {int(body["id"]): body for body in new}
    pairs = [(body, by_id[int(body["id"])]) for body in old if int(body["id"]) in by_id]
    untouched = [
        (a, b) for a, b in pairs if a["profiles"][0]["autoUpdateTime"] == b["profiles"][0]["autoUpdateTime"]
    ]

    assert 0 < len(untouched) < len(pairs)
    assert all(
        a["loyaltyInfo"].get("lifetimePurchases") == b["loyaltyInfo"].get("lifetimePurchases")
        for a, b in untouched
    )


def test_fates_have_their_shares() -> None:
    """Of a large base, each fate takes about the share it is meant to."""
    base = Base(40_000, seed=3)
    fates = Counter(base.fate(k, base.first_day - timedelta(days=1)) for k in range(base.customers))

    assert 0.017 < fates[Fate.ABSENT] / 40_000 < 0.023  # never there, or not yet
    assert 0.003 < fates[Fate.MERGED] / 40_000 < 0.007
    assert 0.003 < fates[Fate.DELETED] / 40_000 < 0.007
    assert 0.008 < fates[Fate.PARTIAL] / 40_000 < 0.012


def test_newcomers_come_and_leavers_leave() -> None:
    """Over the moving days the unknown become known, and some known are merged or deleted; none comes
    back."""
    first, last = BASE.first_day - timedelta(days=1), BASE.first_day + timedelta(days=60)
    changes = Counter((BASE.fate(k, first), BASE.fate(k, last)) for k in range(N))
    moved = {change for change in changes if change[0] is not change[1]}

    assert moved == {
        (Fate.ABSENT, Fate.REGULAR), (Fate.REGULAR, Fate.MERGED), (Fate.REGULAR, Fate.DELETED),
    }  # fmt: skip
    assert 10 < changes[Fate.ABSENT, Fate.REGULAR] < 35


async def test_a_newcomer_is_unknown_the_day_before(start: Start) -> None:
    """8015 on the eve, a body on the day; the server turns its calendar between."""
    k = next(
        k for k in range(N) if BASE.fate(k, BASE.first_day) is not BASE.fate(k, BASE.born(k)) is Fate.REGULAR
    )
    born = BASE.born(k)
    caller = await start(customers=N, day=born - timedelta(days=1))
    assert (await caller.customer(customer_id(k))).codes() == [8015]

    caller.sandbox.day = born

    assert int((await caller.customer(customer_id(k))).json()["id"]) == customer_id(k)


def of_fate(fate: Fate) -> list[int]:
    return [k for k in range(N) if BASE.fate(k, DAY) is fate]


async def test_a_merged_customer_answers_as_its_survivor(start: Start) -> None:
    """Warning 8069, and a body whose id isn't the one asked for but that of an ordinary customer."""
    caller = await start(customers=N)
    for k in of_fate(Fate.MERGED)[:5]:
        reply = await caller.customer(customer_id(k))
        survivor = (int(reply.json()["id"]) - 300_000_000) // 7
        assert 8069 in reply.codes("warnings")
        assert survivor != k
        assert BASE.fate(survivor, DAY) is Fate.REGULAR


async def test_a_deleted_customer_has_several_wrappers_and_one_message(start: Start) -> None:
    """Statuses and wrappers differ, the message doesn't, and no name is left."""
    caller = await start(customers=N)
    replies = [await caller.customer(customer_id(k)) for k in of_fate(Fate.DELETED)]

    assert {reply.status for reply in replies} == {200, 400, 404}
    assert all(DELETED_MESSAGE.encode() in reply.body for reply in replies)
    assert not any(b"firstName" in reply.body for reply in replies)
    assert {tuple(sorted(reply.json())) for reply in replies} >= {("errors", "warnings"), ("message",)}


async def test_half_of_the_partial_answers_heal_on_the_second_ask(start: Start) -> None:
    """The first answer lacks a block and warns; the second is whole for some, and the next day starts
    anew."""
    caller = await start(customers=N)
    partial = of_fate(Fate.PARTIAL)
    first = [await caller.customer(customer_id(k), QUERY) for k in partial]
    second = [await caller.customer(customer_id(k), QUERY) for k in partial]
    caller.sandbox.day = DAY
    third = [await caller.customer(customer_id(k), QUERY) for k in partial]

    codes = {8062, 8063, 8076, 91001, 91004, 91013, 91014}
    assert all(set(reply.codes("warnings")) & codes for reply in first)
    healed = sum(not reply.codes("warnings") for reply in second)
    assert 0.2 < healed / len(partial) < 0.8
    assert [reply.body for reply in third] == [reply.body for reply in first]


async def test_an_id_outside_the_base_is_not_found(start: Start) -> None:
    """8015 under HTTP 200, as for anyone the API doesn't know."""
    reply = await (await start()).customer(17)

    assert (reply.status, reply.codes()) == (200, [8015])


def test_profiles_follow_the_source(tonight: list[bytes]) -> None:
    """ALL shows every profile; a source is shown first; includedOnlyCurrentProfile hides the others."""
    several = [body for body in documents(tonight) if len(body["profiles"]) > 1]
    assert 0.11 < len(several) / N < 0.18
    k = next(k for k in range(N) if BASE.fate(k, DAY) is Fate.REGULAR and Customer(BASE, k, DAY).others)
    source, account = Customer(BASE, k, DAY).others[0]

    first = json.loads(answer_for(BASE, DAY, k, ask(f"source={source}&accountId={account}"), 0, None).body)
    only = json.loads(
        answer_for(BASE, DAY, k, ask("source=INSTORE&includedOnlyCurrentProfile=true"), 0, None).body
    )

    assert [one["source"] for one in first["profiles"]][:2] == [source, "INSTORE"]
    assert [one["source"] for one in only["profiles"]] == ["INSTORE"]


def test_loyalty_types_have_their_shares(tonight: list[bytes]) -> None:
    """One in ten isn't in the programme, and has neither points nor programmes."""
    outside = [body for body in documents(tonight) if body["loyaltyInfo"]["loyaltyType"] == "non_loyalty"]

    assert 0.07 < len(outside) / N < 0.13
    assert not any("pointsSummary" in body for body in outside)
    assert not any(body.get("loyaltyProgramDetails") for body in outside)


@pytest.mark.parametrize(
    "trace",
    [
        b'"cumulativePurchases":-1.1996371E9', b'"loyaltyPoints":-0.01', b"E9,", b"E4,",
        b'"lifetimePurchases":0.000', b'"firstName":""', b'"firstName":null',
        b'"upgrade_based_on"', b'"upgradeBasedOn"', b'"cardnumber"', b'"cardNumber"', b'"primary":"true"',
        b'"setUpgradeBasedOn":true', b'"preferencesV2"', b'"consentV3"', b'"tierBenefitsV2"',
        b'"upgradeStrategies":{', b'"upgradeStrategies":[{', b'"gapToRenewSummary":[{',
        b'"gapToRenewSummary":{', b'+08:00"', b'+05:30"', b'"slabExpiryDate":"2119',
        b'{"extendedFields":{},"id"', "अनिता".encode(), "小明".encode(), "ليلى".encode(), "☀️".encode(),
        "Jose\u0301".encode(), b'"id":"300', b'"city":null', b'"userId":299999999', ], )  # fmt: skip
def test_an_oddity_of_real_bodies_is_in_the_base(trace: bytes, everybody: list[bytes]) -> None:
    """Every trap that the API's bodies are known for occurs somewhere in a base of a few thousand."""
    assert any(trace in body for body in everybody)


def test_points_are_mostly_positive_and_say_one_thing(everybody: list[bytes]) -> None:
    """Available points are the loyalty points; below zero is a cent, for a few; purchases overflowed for
    fewer, and nowhere else."""
    standings = [one for body in documents(everybody) for one in body.get("loyaltyProgramDetails", [])]
    points = [one["loyaltyPoints"] for one in standings]
    negative = [one for one in points if one < 0]
    overflowed = [one for one in standings if one["cumulativePurchases"] < 0]

    assert all(
        one.get("totalAvailablePoints", one["loyaltyPoints"]) == one["loyaltyPoints"] for one in standings
    )
    assert all(
        one[amount] >= 0
        for one in standings
        for amount in ("lifetimePoints", "redeemed", "expired", "returned")
    )
    assert all(one == pytest.approx(-0.01) for one in negative)
    assert 0.0005 < len(negative) / len(points) < 0.01
    assert 0.0003 < len(overflowed) / len(standings) < 0.004
    assert {one["cumulativePurchases"] for one in overflowed} == {-1.1996371e9}
    assert sum(body.count(b"-1.1996371E9") for body in everybody) == sum(
        body.count(b'"cumulativePurchases":-1.1996371E9') for body in everybody
    )


def test_points_add_up_to_the_cent() -> None:
    """What is left is what was earned, less what went, in every programme."""
    for k in range(1000):
        customer = Customer(BASE, k, DAY)
        for program in customer.programs:
            one = customer.standing(program)
            assert one.points == one.lifetime - one.redeemed - one.expired - one.returned + one.adjusted
            assert one.points >= (-1 if customer.owes_a_cent else 0)


def test_every_body_is_json_and_of_believable_size(tonight: list[bytes]) -> None:
    """All parse; a usual one with points, programmes, segments and gaps has 3 to 8 kB."""
    sizes = sorted(len(body) for body in tonight if body and "profiles" in json.loads(body))

    assert 3000 < sizes[len(sizes) // 2] < 8000


def test_people_are_made_up(tonight: list[bytes]) -> None:
    """Mail goes to example domains, phones to a country code that nobody has."""
    for body in documents(tonight):
        for profile in body["profiles"]:
            for one in profile.get("identifiers", []):
                if one["type"] == "email":
                    assert one["value"].endswith(("@example.com", "@example.org"))
                if one["type"] == "mobile":
                    assert one["value"].startswith("999")
