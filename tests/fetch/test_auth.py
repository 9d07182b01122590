"""Who we are to the API: Basic headers, and OAuth tokens against the sandbox's own endpoint."""

from __future__ import annotations

import asyncio
import base64
import traceback
from collections.abc import Iterable, Iterator

import pytest
from aiohttp import web
from pydantic import SecretStr

from pipeline.errors import RefusedError, RetriableError
from pipeline.fetch.auth import TOKEN_HEADER, BasicAuth, OAuth
from pipeline.fetch.client import Client, ClientOptions, Question, open_session
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests.fetch.conftest import HandClock, Night, StartSandbox, serving, unused_port

SECRET = SandboxConfig().oauth_secret
KEY = SandboxConfig().oauth_key


def revoking(sandbox: Sandbox, ids: Iterable[int], after: int) -> Iterator[int]:
    """The IDs; when so many have been taken, all tokens die."""
    for number, customer_id in enumerate(ids):
        if number == after:
            sandbox.revoke_tokens()
        yield customer_id


async def test_basic_sends_the_md5_of_the_password() -> None:
    """`till:md5hex(password)`; computed, for the docs' own example (Pass123) has the MD5 of something else."""
    auth = BasicAuth("store123", SecretStr("Pass123"))
    expected = "Basic c3RvcmUxMjM6MmYyM2ZhMzU3OWYzZjc1MTc1NzkzNjQ5MTE1YzFiMjU="
    assert await auth.headers() == {"Authorization": expected}
    assert base64.b64decode(expected.split()[1]) == b"store123:2f23fa3579f3f75175793649115c1b25"


async def test_a_refused_password_stays_refused() -> None:
    """There is nothing to renew about a password."""
    auth = BasicAuth("till", SecretStr("pw"))
    assert not await auth.renew(await auth.headers())


async def test_a_token_is_used_until_shortly_before_its_end(start_sandbox: StartSandbox) -> None:
    """300 s of life: the token is renewed 30 s before it ends, not sooner."""
    sandbox = await start_sandbox(token_ttl_s=300)
    clock = HandClock()
    async with open_session(1) as session:
        auth = OAuth(session, sandbox.url, KEY, SecretStr(SECRET), clock)
        assert auth.at_hand() is None
        first = await auth.headers()
        clock.now = 269.0
        assert (
            await auth.headers() is first is auth.at_hand()
        )  # one object: requests are made anew for another
        clock.now = 270.0
        assert auth.at_hand() is None
        assert await auth.headers() != first
    assert sandbox.judge.token_calls == 2


async def test_a_short_token_is_used_for_four_fifths_of_its_life(start_sandbox: StartSandbox) -> None:
    """30 s early would be too early for a token of 60 s: 48 s is when it goes."""
    sandbox = await start_sandbox(token_ttl_s=60)
    clock = HandClock()
    async with open_session(1) as session:
        auth = OAuth(session, sandbox.url, KEY, SecretStr(SECRET), clock)
        first = await auth.headers()
        clock.now = 47.9
        assert await auth.headers() == first
        clock.now = 48.0
        assert await auth.headers() != first


async def test_fifty_callers_share_one_renewal(start_sandbox: StartSandbox) -> None:
    """However many calls find the token run out, or are refused with it, one asks for the next."""
    sandbox = await start_sandbox()
    async with open_session(50) as session:
        auth = OAuth(session, sandbox.url, KEY, SecretStr(SECRET))
        headers = await asyncio.gather(*(auth.headers() for _ in range(50)))
        assert sandbox.judge.token_calls == 1
        renewed = await asyncio.gather(*(auth.renew(used) for used in headers))
        assert all(renewed)
        assert sandbox.judge.token_calls == 2
        assert await auth.headers() != headers[0]


async def test_the_token_opens_the_api(start_sandbox: StartSandbox) -> None:
    """The documented header, without a Bearer."""
    sandbox = await start_sandbox()
    async with open_session(1) as session:
        headers = await OAuth(session, sandbox.url + "/", KEY, SecretStr(SECRET)).headers()
        reply = await Client(session, ClientOptions(sandbox.url, "source=INSTORE")).get(
            Question(known_ids(1)[0]), headers
        )
    assert list(headers) == [TOKEN_HEADER]
    assert reply.status == 200


async def test_a_wrong_secret_is_told_without_telling_it(start_sandbox: StartSandbox) -> None:
    """The error names the key to check; the secret stands neither in it nor in its traceback."""
    sandbox = await start_sandbox()
    async with open_session(1) as session:
        auth = OAuth(session, sandbox.url, KEY, SecretStr("hunter2-secret"))
        with pytest.raises(RefusedError, match=r"api\.auth\.key") as caught:
            await auth.headers()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + repr(vars(auth))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b'{"data":null}',
        b'{"data":{"accessToken":"hunter2"}}',
        b'{"data":{"accessToken":"","ttlSeconds":300}}',
        b'{"data":{"accessToken":"hunter2\\r\\nX: y","ttlSeconds":300}}',
        b'{"data":{"accessToken":"hunter2","ttlSeconds":"soon"}}',
    ],
)
async def test_a_reply_without_a_usable_token_is_a_refusal(answer: bytes) -> None:
    """Whatever the token endpoint says instead of a token ends in our own words, and no token in them."""

    async def token(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answer, content_type="application/json")

    async with serving(token) as url, open_session(1) as session:
        with pytest.raises(RefusedError) as caught:
            await OAuth(session, url, KEY, SecretStr(SECRET)).headers()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_token_endpoint_in_trouble_is_asked_again(start_sandbox: StartSandbox) -> None:
    """503, silence and nobody there may pass: none of them is a refusal."""

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    sandbox = await start_sandbox(faults="token-fail")
    async with serving(silent) as mute, open_session(1) as session, asyncio.timeout(10):
        for url in (sandbox.url, mute, f"http://127.0.0.1:{unused_port()}"):
            with pytest.raises(RetriableError):
                await OAuth(session, url, KEY, SecretStr(SECRET), timeout_s=0.2).headers()


async def test_revoked_tokens_cost_one_renewal(start_sandbox: StartSandbox) -> None:
    """When all tokens die in mid-night, all the calls in flight share one new token and no ID is lost."""
    sandbox = await start_sandbox(faults="latency=30ms")
    ids = known_ids(200)
    night = Night(
        sandbox.url, workers=20, auth=lambda session: OAuth(session, sandbox.url, KEY, SecretStr(SECRET))
    )

    stopped = await night.run(revoking(sandbox, ids, after=60))
    assert stopped is None
    assert set(night.other_side.verdicts()) == set(ids)
    assert sandbox.judge.token_calls == 2
    assert sandbox.judge.statuses["401"] >= 1


async def test_a_token_that_never_opens_ends_the_night() -> None:
    """One new token for a 401; if that is refused as well, the night stops instead of asking for ever."""
    tokens = calls = 0

    async def api(request: web.Request) -> web.StreamResponse:
        nonlocal tokens, calls
        if request.method == "POST":
            tokens += 1
            return web.json_response({"data": {"accessToken": f"t{tokens}", "ttlSeconds": 300}})
        calls += 1
        return web.Response(status=401, body=b"<success>false</success>")

    async with serving(api) as url:
        night = Night(url, workers=1, auth=lambda session: OAuth(session, url, KEY, SecretStr(SECRET)))
        assert isinstance(await night.run(known_ids(50)), RefusedError)
    assert (tokens, calls) == (2, 2)


async def test_an_outage_of_the_token_endpoint_is_waited_out(start_sandbox: StartSandbox) -> None:
    """A renewal that fails for a while costs no ID its verdict, and the night goes on with the next token."""
    sandbox = await start_sandbox(faults="token-fail=100% from call 2 to 9")
    ids = known_ids(100)
    night = Night(
        sandbox.url, workers=4, auth=lambda session: OAuth(session, sandbox.url, KEY, SecretStr(SECRET))
    )

    stopped = await night.run(revoking(sandbox, ids, after=30))
    assert stopped is None
    assert set(night.other_side.verdicts()) == set(ids)
    assert night.other_side.calls().total() == len(sandbox.judge.arrivals)
