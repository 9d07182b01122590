"""The server itself: starting, stopping, the command line."""

import asyncio
import gzip
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

import pipeline.sandbox
from pipeline.sandbox import Sandbox, SandboxConfig, basic, customer_id, known_ids, write_body
from pipeline.sandbox.__main__ import main
from tests.sandbox.conftest import DAY, Start


async def test_every_reply_has_a_request_id_of_its_own(start: Start) -> None:
    """Good or bad, each reply can be named to the server's keeper."""
    caller = await start(faults="500 to call 2")
    replies = [await caller.customer(customer_id(0)) for _ in range(4)]
    replies.append(await caller.path("/v2/customers/1?source=INSTORE", {}))

    assert [reply.status for reply in replies] == [500, 500, 200, 200, 401]
    assert len({reply.headers["X-Cap-Requestid"] for reply in replies}) == 5


@pytest.mark.parametrize("accepts", ["gzip", "identity"])
async def test_gzip_goes_to_those_who_take_it(accepts: str) -> None:
    """With gzip=True a client that accepts it gets fewer bytes of the same body."""
    config = SandboxConfig(customers=10, day=DAY, gzip=True)
    async with Sandbox(config) as sandbox, aiohttp.ClientSession(auto_decompress=False) as session:
        headers = {"Authorization": "none", "Accept-Encoding": accepts}
        async with session.get(f"{sandbox.url}/v2/customers/1", headers=headers) as response:
            body = await response.read()

    assert response.headers.get("Content-Encoding") == ("gzip" if accepts == "gzip" else None)
    assert (gzip.decompress(body) if accepts == "gzip" else body).startswith(b"<?xml")


async def test_a_sandbox_stops_with_calls_in_flight(start: Start) -> None:
    """Leaving the block ends the server within a moment, however slow its plan is."""
    config = SandboxConfig(customers=10, day=DAY, faults="latency=1m")
    async with aiohttp.ClientSession() as session:
        async with Sandbox(config) as sandbox:
            url = f"{sandbox.url}/v2/customers/{customer_id(0)}?source=INSTORE"
            headers = {"Authorization": basic(config.till, config.password)}
            call = asyncio.create_task(read_status(session, url, headers))
            await asyncio.sleep(0.05)
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(call, 5)


async def read_status(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as response:
        return response.status


@pytest.mark.parametrize(
    "settings",
    [
        {"customers": 0},
        {"calls_per_minute": -1},
        {"window_s": 0.0},
        {"window": "rolling"},
        {"retry_after": "soon"},
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object]) -> None:
    """The message begins with the setting's name."""
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} = "):
        SandboxConfig(**settings)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("flags", [["--faults", "5x=1%"], ["--customers", "0"], ["--day", "soon"]])
def test_the_command_refuses_a_wrong_flag(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the reason, before a server starts."""
    with pytest.raises(SystemExit) as caught:
        main(flags)

    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_serves_until_told_to_stop(number: signal.Signals) -> None:
    """Its first line is the URL, which answers at once; SIGTERM and SIGINT end it with code 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline.sandbox", "--customers", "20", "--day", "2026-11-22",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "0"},
    )  # fmt: skip
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/sandbox/healthz") as response:
        health = await response.json()
    process.send_signal(number)

    assert url.startswith("http://127.0.0.1:")
    assert health["day"] == "2026-11-22"
    assert await asyncio.wait_for(process.wait(), 10) == 0


def test_the_sandbox_shares_no_code_with_the_exporter() -> None:
    """Its modules import from pipeline.sandbox only, so that server and client can't agree by mistake."""
    room = Path(pipeline.sandbox.__file__).parent
    lines = [line.strip() for file in room.glob("*.py") for line in file.read_text().splitlines()]
    imports = [line for line in lines if line.startswith(("from pipeline", "import pipeline"))]

    assert len(imports) > 20
    assert all(line.startswith("from pipeline.sandbox") for line in imports)


async def test_a_body_can_be_had_without_a_server(start: Start) -> None:
    """write_body gives the bytes that go over the wire, for people and for strangers."""
    caller = await start(customers=50, seed=3)
    query = "source=ALL&embed=points,mlp"

    for customer in (*known_ids(50), 17):
        wire = (await caller.customer(customer, query)).body
        assert write_body(customer, DAY, query, customers=50, seed=3) == wire


async def test_a_night_over_all_ids_is_judged(start: Start) -> None:
    """Asking everybody once: as many customers as IDs, one call each, nothing left in flight."""
    caller = await start(customers=120)
    ids = list(known_ids(120))
    for first in range(0, 120, 12):
        await asyncio.gather(*(caller.customer(one) for one in ids[first : first + 12]))

    report = caller.sandbox.judge.report()

    assert (report["calls"], report["customers"], report["most_calls_per_customer"]) == (120, 120, 1)
    assert (report["in_flight"], report["limit"], report["used_share"]) == (0, 0, None)
