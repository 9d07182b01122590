"""Who may ask, and what the others are told."""

import json

import pytest

from pipeline.sandbox import TOKEN_HEADER, basic, customer_id
from pipeline.sandbox.answers import UNAUTHORIZED
from pipeline.sandbox.auth import Credentials, Doorkeeper
from tests.sandbox.conftest import Start

PATH = f"/v2/customers/{customer_id(0)}?source=INSTORE"


def test_basic_is_the_till_and_the_md5_of_its_password() -> None:
    """The header holds the computed MD5, not the one of the docs' wrong example."""
    assert basic("store123", "Pass123") == ("Basic c3RvcmUxMjM6MmYyM2ZhMzU3OWYzZjc1MTc1NzkzNjQ5MTE1YzFiMjU=")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": basic("till.01", "wrong")},
        {"Authorization": "Basic dGlsbC4wMTpzYW5kYm94"},  # the password itself instead of its MD5
        {TOKEN_HEADER: "eyJ.made-up"},
        {"Authorization": basic("till.01", "sandbox"), TOKEN_HEADER: ""},
    ],
)
async def test_a_stranger_gets_401_in_xml(start: Start, headers: dict[str, str]) -> None:
    """Without a right password or token the reply is XML, as the API's clients have seen it."""
    caller = await start()

    reply = await caller.path(PATH, headers)

    assert reply.status == 401
    assert reply.headers["Content-Type"].startswith("application/xml")
    assert b"<success>false</success>" in reply.body
    assert reply.headers["X-Cap-Requestid"]


async def test_a_till_without_access_gets_403_and_4000(start: Start) -> None:
    """A right password isn't enough when the access group lacks the endpoint."""
    caller = await start()

    reply = await caller.path(PATH, {"Authorization": basic("till.forbidden", "sandbox")})

    assert (reply.status, reply.codes()) == (403, [4000])


async def test_a_token_opens_the_door(start: Start) -> None:
    """The token comes with its lifetime and without errors, and stands in for the password."""
    caller = await start(token_ttl_s=300)
    answer = (await caller.token({"key": "key", "secret": "secret"})).json()

    assert (answer["data"]["ttlSeconds"], answer["errors"]) == (300, None)
    assert (await caller.path(PATH, {TOKEN_HEADER: answer["data"]["accessToken"]})).status == 200


async def test_a_token_past_its_time_gets_401(start: Start) -> None:
    """A token that lives for 0 seconds is dead when it is first shown."""
    caller = await start(token_ttl_s=0)
    token = (await caller.token({"key": "key", "secret": "secret"})).json()["data"]["accessToken"]

    assert (await caller.path(PATH, {TOKEN_HEADER: token})).status == 401


def test_a_token_lives_exactly_as_long_as_told() -> None:
    """Given at 1000 for 300 s, it opens at 1299.9 and not at 1300."""
    door = Doorkeeper(Credentials("till", "word", "other", "key", "secret", ttl_s=300), seed=1)
    token = json.loads(door.give_token(b'{"key": "key", "secret": "secret"}', 1000.0).body)["data"][
        "accessToken"
    ]

    assert door.refusal(None, token, 1299.9) is None
    assert door.refusal(None, token, 1300.0) is UNAUTHORIZED


async def test_revoked_tokens_are_dead_and_new_ones_live(start: Start) -> None:
    """After revoke_tokens a client has to fetch a new token, and that one works."""
    caller = await start()
    credentials = {"key": "key", "secret": "secret"}
    old = (await caller.token(credentials)).json()["data"]["accessToken"]
    caller.sandbox.revoke_tokens()
    new = (await caller.token(credentials)).json()["data"]["accessToken"]

    assert (await caller.path(PATH, {TOKEN_HEADER: old})).status == 401
    assert (await caller.path(PATH, {TOKEN_HEADER: new})).status == 200
    assert caller.sandbox.judge.token_calls == 2


@pytest.mark.parametrize(
    ("body", "status"), [({"key": "key", "secret": "no"}, 401), ({"key": "key"}, 400), (["key"], 400)]
)
async def test_wrong_credentials_get_no_token(start: Start, body: object, status: int) -> None:
    """The refusal has no data, and says why in errors."""
    reply = await (await start()).token(body)

    assert reply.status == status
    assert reply.json()["data"] is None
    assert reply.codes() == [status]


async def test_the_judge_and_health_ask_nobody_who_they_are(start: Start) -> None:
    """The sandbox's own paths need no credentials and aren't customer calls."""
    caller = await start()

    health = await caller.path("/sandbox/healthz", {})
    report = await caller.path("/sandbox/judge", {})

    assert health.json() == {"ok": True, "day": "2026-11-22"}
    assert (report.status, report.json()["calls"]) == (200, 0)
