"""What the API says to a query it can't answer."""

import pytest

from pipeline.sandbox import customer_id, known_ids
from tests.sandbox.conftest import Start


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 8016),
        ("embed=points", 8016),
        ("source=MARS", 8012),
        ("source=WECHAT", 8091),
        ("source=WECHAT&accountId=nobody", 8127),
        ("source=INSTORE&ug2Offset=-1", 8100),
        ("source=INSTORE&ug2Limit=0", 8101),
        ("source=INSTORE&ug2Limit=101", 8102),
        ("source=INSTORE&ug2JoinedStartDate=22.11.2026", 8112),
    ],
)
async def test_a_business_error_comes_with_http_200(start: Start, query: str, code: int) -> None:
    """Mistakes in the query are told in errors[], under a status that looks like success."""
    reply = await (await start()).customer(customer_id(0), query)

    assert (reply.status, reply.codes()) == (200, [code])


@pytest.mark.parametrize(
    "query",
    ["embed=points,pints", "embed=mlp&gapToUpgrade=-1", "gapToRenew=soon", "includedFraudDetails=maybe"],
)
async def test_a_bad_parameter_gets_400_and_nothing_else(start: Start, query: str) -> None:
    """Values of the wrong kind get HTTP 400 with a blank object."""
    reply = await (await start()).customer(customer_id(0), f"source=INSTORE&{query}")

    assert (reply.status, reply.body) == (400, b"{}")


@pytest.mark.parametrize(("path", "body"), [("abc", b"{}"), ("12ab", b""), ("-1", b"")])
async def test_an_id_that_is_no_number_gets_400(start: Start, path: str, body: bytes) -> None:
    """The body is blank or empty; both have been told of."""
    reply = await (await start()).customer(path)

    assert (reply.status, reply.body) == (400, body)


async def test_embed_takes_any_case_and_spaces(start: Start) -> None:
    """`MLP`, `mlp` and ` Mlp` are one embed, and give the same bytes."""
    caller = await start()

    replies = [
        await caller.customer(customer_id(0), f"source=INSTORE&embed={e}") for e in ("mlp", "MLP", "%20Mlp,")
    ]

    assert "loyaltyProgramDetails" in replies[0].json()
    assert len({reply.body for reply in replies}) == 1


@pytest.mark.parametrize(
    "flag", ["ndncStatus", "optinStatus", "slabHistory", "tierUpgradeCriteria", "format"]
)
async def test_new_and_unknown_parameters_are_taken(start: Start, flag: str) -> None:
    """The newest flags, and parameters nobody knows, don't fail a call."""
    value = "json" if flag == "format" else "true"

    reply = await (await start()).customer(customer_id(0), f"source=INSTORE&{flag}={value}")

    assert reply.status == 200
    assert reply.json()["profiles"]


async def test_a_missing_account_can_be_a_warning_only(start: Start) -> None:
    """With missing_account_warns, customers of the source are answered, with 8054; the others aren't found in
    it."""
    caller = await start(missing_account_warns=True)

    replies = [await caller.customer(one, "source=WECHAT") for one in known_ids(150)]

    found = [reply for reply in replies if reply.status == 200 and reply.json().get("profiles")]
    assert found
    assert all(reply.json()["profiles"][0]["source"] == "WECHAT" for reply in found)
    assert all(8054 in reply.codes("warnings") for reply in found)
    assert any(reply.codes() == [8065] for reply in replies if b"errors" in reply.body)


async def test_another_method_or_path_is_not_the_api(start: Start) -> None:
    """Only the documented paths answer."""
    caller = await start()

    assert (await caller.path("/v2/customers/")).status == 404
    assert (await caller.path(f"/v2//customers/{customer_id(0)}")).status == 404
