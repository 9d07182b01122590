"""Finding a customer by what it is known by."""

from urllib.parse import urlencode

from pipeline.sandbox import customer_id, known_ids
from tests.sandbox.conftest import Start


def query(name: str, value: str) -> str:
    return urlencode({"source": "INSTORE", "identifierName": name, "identifierValue": value})


async def test_every_identifier_in_a_body_finds_that_body_again(start: Start) -> None:
    """Mobile, e-mail, card, WeChat and all others lead back to the same bytes as the ID."""
    caller = await start()
    kinds = set()
    for customer in list(known_ids(400))[:120]:
        by_id = await caller.customer(customer)
        if by_id.status != 200 or by_id.json().get("id") not in (customer, str(customer)):
            continue
        for profile in by_id.json()["profiles"]:
            for one in profile.get("identifiers", []):
                kinds.add(one["type"].lower())
                found = await caller.lookup(query(one["type"], one["value"]))
                assert found.body == by_id.body

    assert kinds >= {"mobile", "email", "externalid", "cardnumber", "wechat", "line", "martjackid", "cuid"}


async def test_a_wrong_identifier_finds_nobody(start: Start) -> None:
    """8015 for a number of nobody's, for the right value under another type, for another one's mail name."""
    caller = await start()

    for name, value in (
        ("mobile", "999999999999"),
        ("email", "999000000003"),
        ("email", "nobody.3@example.com"),
    ):
        assert (await caller.lookup(query(name, value))).codes() == [8015]


async def test_a_lookup_without_identifier_says_which_part_is_missing(start: Start) -> None:
    """8092 without a name, 8093 without a value, 8003 for a bad source."""
    caller = await start()

    assert (await caller.lookup("source=INSTORE")).codes() == [8092]
    assert (await caller.lookup("source=INSTORE&identifierName=mobile")).codes() == [8093]
    bad = await caller.lookup("source=MARS&identifierName=mobile&identifierValue=999000000003")
    assert bad.codes() == [8003]
    assert "warnings" not in bad.json()


async def test_two_identifiers_have_to_agree(start: Start) -> None:
    """A comma list finds the customer they share, and nobody if they don't."""
    caller = await start()
    mobile, other = "999000000003", "999000000004"

    both = await caller.lookup(query("mobile,id", f"{mobile},{customer_id(3)}"))

    assert int(both.json()["id"]) == customer_id(3)
    assert (await caller.lookup(query("mobile,mobile", f"{mobile},{other}"))).codes() == [8015]
    assert caller.sandbox.judge.calls_for(customer_id(3), 3) == 1
