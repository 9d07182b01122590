"""Faults on a plan: what strikes, whom, when, and how it looks on the wire."""

import asyncio
import errno
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from pipeline.sandbox import customer_id, known_ids, parse_plan
from pipeline.sandbox.faults import Moment
from tests.sandbox.conftest import Caller, DroppedError, Reply, Start


def moment(customer: int = 1, attempt: int = 1, call: int = 1, elapsed_s: float = 0.0) -> Moment:
    return Moment(customer, attempt, call, elapsed_s)


def victims(plan: str, attempt: int = 1, seed: int = 1) -> list[int]:
    parsed = parse_plan(plan, seed)
    return [k for k in range(10_000) if parsed.strike(moment(k, attempt))]


# -- the plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        ("5x=1%", "'5x' is not one of"),
        ("500=1", "share from 0% to 100%"),
        ("500=101%", "share from 0% to 100%"),
        ("500 = 1% on tuesday", "must read name"),
        ("latency=fast", "'fast' must be a time"),
        ("latency", "'' must be a time"),
        ("outage=20s", "how-long@when"),
        ("500=1% from call x", "must be a call's number"),
        ("500=1% from call 5 to 9s", "must be a call's number|both be calls"),
        ("500=1% from 5s to call 9", "both be calls or both be times"),
        ("embed-missing", "say which block"),
        ("nan:7=1%", "takes no argument"),
        ("huge-body:big", "must be a number"),
        ("latency=80ms/20ms", "from the least to the most"),
        ("pad=6", "must be a length"),
        ("pad=9kB/6kB", "from the least to the most"),
    ],
)
def test_a_mistake_in_a_plan_is_named(plan: str, word: str) -> None:
    """The message quotes the rule and says what is wrong with it."""
    with pytest.raises(ValueError, match=word) as caught:
        parse_plan(f"429=1%, {plan}")

    assert repr(plan) in str(caught.value)


def test_a_plan_of_every_kind_is_read() -> None:
    """A bad night's plan parses whole, and each of its parts can strike."""
    plan = parse_plan(
        "latency=80ms±40ms, 429=1%, 429-bare=0.5%, 500=1%, 502-html=0.5%, 503-auth=0.2%, 520=0.1%, "
        "461-body=0.1%, 521-body=0.1%, cut=0.3%, reset=0.2%, slow-body=0.1%, wrong-type=0.5%, hang=0.1%, "
        "invalid-json=0.1%, empty-200=0.1%, other-id=0.1%, waf-403=0%, 401-xml=0%, outage=20s@30s, money-x100"
    )

    struck = {rule.name for k in range(20_000) if (rule := plan.strike(moment(k)))}

    assert struck == {
        "429", "429-bare", "500", "502-html", "503-auth", "520", "461-body", "521-body", "cut", "reset",
        "slow-body", "wrong-type", "hang", "invalid-json", "empty-200", "other-id",
    }  # fmt: skip


def test_an_empty_plan_does_nothing() -> None:
    """No text, no faults."""
    plan = parse_plan(" , ")

    assert (plan.strike(moment()), plan.latency_s(moment()), plan.data_faults(moment())) == (None, 0.0, [])


def test_a_share_strikes_its_share_and_a_retry_draws_anew() -> None:
    """2% is about 200 in 10,000; of those, about 2% are struck again on the second attempt."""
    first, second = set(victims("500=2%")), set(victims("500=2%", attempt=2))

    assert 150 < len(first) < 250
    assert 150 < len(second) < 250
    assert len(first & second) < 20


def test_victims_depend_on_the_seed_and_on_nothing_else() -> None:
    """The same plan and seed choose the same; a rule added at the end changes none; another seed does."""
    alone = victims("500=2%")

    assert victims("500=2%") == alone
    assert [k for k in victims("500=2%, cut=1%") if k in set(alone)] == alone
    assert victims("500=2%", seed=2) != alone


@pytest.mark.parametrize(
    ("plan", "struck"),
    [
        ("500 from call 3 to 5", [3, 4, 5]),
        ("500=100% from call 3 to call 4", [3, 4]),
        ("500 from call 9", [9, 10]),
        ("500 to call 2", [1, 2]),
        ("500 from 30s to 50s", [3, 4]),
        ("500 from 0.5m to 50000ms", [3, 4]),
        ("outage=20s@30s", [3, 4]),
        ("500 to 20s", [1]),
    ],
)
def test_a_span_bounds_a_rule(plan: str, struck: list[int]) -> None:
    """Calls are counted from 1 and both ends belong; times start with the first call and the end doesn't
    belong."""
    parsed = parse_plan(plan)

    # Call n comes after 10 n seconds, but for the first.
    assert [n for n in range(1, 11) if parsed.strike(moment(call=n, elapsed_s=10.0 * n))] == struck


@pytest.mark.parametrize("plan", ["latency=80ms±40ms", "latency=80ms+-40ms", "latency = 0.08s±40ms"])
def test_latency_spreads_around_its_middle(plan: str) -> None:
    """Between 40 and 120 ms, by customer and attempt, never the same for all."""
    parsed = parse_plan(plan)

    delays = [parsed.latency_s(moment(k)) for k in range(1000)]

    assert 0.040 <= min(delays) < 0.045
    assert 0.115 < max(delays) <= 0.120
    assert parsed.latency_s(moment(5)) == parsed.latency_s(moment(5)) == delays[5]


# -- on the wire ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "status", "kind", "piece"),
    [
        ("500", 500, "application/json", b'"code":500'),
        ("461", 461, "application/json", b'"code":461'),
        ("502-html", 502, "text/html", b"Error 502"),
        ("520", 520, "text/html", b"Error 520"),
        ("outage=60s@0s", 503, "text/html", b"Error 503"),
        ("503-auth", 503, "application/json", b'"code":4001'),
        ("461-body", 200, "application/json", b'"code":461'),
        ("521-body", 200, "application/json", b'"code":521'),
        ("401-xml", 401, "application/xml", b"<success>false"),
        ("waf-403", 403, "text/html", b"Error 1020"),
        ("429", 429, "application/json", b"Rate limit"),
        ("empty-200", 200, "application/json", b""),
        ("null-body", 200, "application/json", b"null"),
        ("list-body", 200, "application/json", b'[{"id":'),
        ("nan", 200, "application/json", b":NaN"),
        ("huge-number", 200, "application/json", b"7" * 400),
        ("tiny-number", 200, "application/json", b":1E-999999999"),
        ("int-beyond-int64", 200, "application/json", b'"userId":18446744073709551617'),
        ("lone-surrogate", 200, "application/json", rb"\ud800"),
        ("invalid-utf8", 200, "application/json", b"\xff\xfe"),
        ("deep-nesting", 200, "application/json", b"[" * 10_000),
        ("huge-body:2MB", 200, "application/json", b"x" * 2_000_000),
        ("duplicate-keys", 200, "application/json", b'{"loyaltyInfo":{"loyaltyType":"first"}'),
    ],
)
async def test_a_fault_looks_as_it_should(
    start: Start, plan: str, status: int, kind: str, piece: bytes
) -> None:
    """Status, content type and the tell-tale piece of the body; and the judge knows its name."""
    caller = await start(faults=plan)

    reply = await caller.customer(customer_id(0))

    assert (reply.status, reply.headers["Content-Type"]) == (status, kind)
    assert piece in reply.body
    assert reply.headers["X-Cap-Requestid"]
    name = plan.partition("=")[0].partition(":")[0]
    assert caller.sandbox.judge.faults == {name: 1}


@pytest.mark.parametrize(("plan", "header"), [("429", "1"), ("429:7", "7"), ("429-bare", None)])
async def test_a_planned_429_says_when_to_come_back_or_not(
    start: Start, plan: str, header: str | None
) -> None:
    """With the seconds given, one by default, or bare; it was admitted by the quota."""
    caller = await start(faults=plan)

    reply = await caller.customer(customer_id(0))

    assert (reply.status, reply.headers.get("Retry-After")) == (429, header)
    assert len(caller.sandbox.judge.admitted) == 1


async def test_bodies_that_no_parser_takes(start: Start) -> None:
    """invalid-json breaks off; invalid-utf8 can't be decoded; both under the right Content-Length."""
    caller = await start(faults="invalid-json")
    with pytest.raises(json.JSONDecodeError):
        (await caller.customer(customer_id(0))).json()

    caller.sandbox.faults = "invalid-utf8"
    with pytest.raises(UnicodeDecodeError):
        (await caller.customer(customer_id(0))).json()


async def test_a_cut_body_ends_before_its_length(start: Start) -> None:
    """The client sees a payload shorter than announced."""
    caller = await start(faults="cut")

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.customer(customer_id(0))

    assert caller.sandbox.judge.statuses == {"cut": 1}


async def test_a_reset_comes_before_any_byte(start: Start) -> None:
    """The client's connection is reset, not closed."""
    caller = await start(faults="reset")

    with pytest.raises(DroppedError) as caught:
        await caller.customer(customer_id(0))

    cause = caught.value.__cause__
    assert isinstance(cause, OSError)
    assert cause.errno == errno.ECONNRESET
    assert caller.sandbox.judge.statuses == {"reset": 1}


async def test_a_slow_body_arrives_whole(start: Start) -> None:
    """Dripping takes its time and loses nothing."""
    caller = await start(faults="slow-body:0.2s")
    loop = asyncio.get_running_loop()
    before = loop.time()
    slow = await caller.customer(customer_id(0))
    took_s = loop.time() - before

    caller.sandbox.faults = ""

    assert took_s >= 0.19
    assert slow.body == (await caller.customer(customer_id(0))).body


async def test_a_client_that_leaves_a_hanging_call_ends_it(start: Start) -> None:
    """No byte comes; when the client gives up, the judge sees it go and has nothing in flight."""
    caller = await start(faults="hang")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.customer(customer_id(0)), 0.2)

    judge = caller.sandbox.judge
    async with asyncio.timeout(5):
        while judge.in_flight:  # noqa: ASYNC110, the server has no event for it
            await asyncio.sleep(0.01)
    assert judge.statuses == {"gone": 1}


async def test_the_token_endpoint_can_fail(start: Start) -> None:
    """token-fail strikes the token endpoint only, by its own count of calls."""
    caller = await start(faults="token-fail to call 2")
    statuses = [(await caller.token({"key": "key", "secret": "secret"})).status for _ in range(3)]

    assert statuses == [503, 503, 200]
    assert (await caller.customer(customer_id(0))).status == 200


async def test_another_customers_body_under_this_id(start: Start) -> None:
    """other-id answers well formed, with no warning, and with the wrong id."""
    reply = await (await start(faults="other-id")).customer(customer_id(0))

    assert reply.status == 200
    assert int(reply.json()["id"]) != customer_id(0)
    assert 8069 not in reply.codes("warnings")


async def test_wrong_types_are_of_several_kinds(start: Start) -> None:
    """Over a few customers, profiles, loyaltyInfo, segments, cards and programmes all break."""
    caller = await start(faults="wrong-type")

    bodies = [await usual_body(caller, customer) for customer in known_ids(60)]

    kinds = Counter(
        (key, type(body[key]).__name__)
        for body in bodies
        for key in ("profiles", "loyaltyInfo", "segments", "cardDetails")
        if key in body
    )
    assert {
        ("profiles", "dict"),
        ("loyaltyInfo", "str"),
        ("segments", "list"),
        ("cardDetails", "str"),
    } <= set(kinds)


async def usual_body(
    caller: Caller, customer: int, query: str = "embed=points,mlp,segments"
) -> dict[str, Any]:
    reply = await caller.customer(customer, f"source=INSTORE&{query}")
    body: dict[str, Any] = reply.json() if reply.status == 200 else {}
    return body


async def replies_of(caller: Caller, customers: list[int]) -> dict[int, Reply | str]:
    """By customer; the name of the error where no reply came."""
    found: dict[int, Reply | str] = {}
    for customer in customers:
        try:
            found[customer] = await caller.customer(customer)
        except aiohttp.ClientError as error:
            found[customer] = type(error).__name__
    return found


async def test_a_run_with_faults_is_the_same_in_any_order(start: Start) -> None:
    """Two servers, one asked forwards and one backwards, spoil the same customers the same way, twice
    over."""
    plan = "500=10%, cut=5%, 429=5%, wrong-type=10%, latency=1ms±1ms"
    one, two = await start(faults=plan), await start(faults=plan)
    ids = list(known_ids(100))

    for _ in range(2):
        forwards, backwards = await replies_of(one, ids), await replies_of(two, ids[::-1])
        assert {i: outcome(reply) for i, reply in forwards.items()} == {
            i: outcome(reply) for i, reply in backwards.items()
        }
    assert one.sandbox.judge.faults == two.sandbox.judge.faults
    assert set(one.sandbox.judge.faults) == {"500", "cut", "429", "wrong-type"}


def outcome(reply: Reply | str) -> object:
    return reply if isinstance(reply, str) else (reply.status, reply.body)


async def test_a_new_plan_starts_its_own_count(start: Start) -> None:
    """Setting the plan again makes the next call its first."""
    caller = await start(faults="500 to call 1")
    statuses = [(await caller.customer(customer_id(0))).status for _ in range(2)]

    caller.sandbox.faults = "502 to call 1"

    assert statuses == [500, 200]
    assert [(await caller.customer(customer_id(0))).status for _ in range(2)] == [502, 200]


# -- the data ---------------------------------------------------------------------------------------------


async def compared(caller: Caller, plan: str, query: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Bodies without and with a plan."""
    ids = list(known_ids(60))
    caller.sandbox.faults = ""
    plain = [await usual_body(caller, customer, query) for customer in ids]
    caller.sandbox.faults = plan
    spoiled = [await usual_body(caller, customer, query) for customer in ids]
    return [
        (a, b) for a, b in zip(plain, spoiled, strict=True) if a.get("profiles") and not a.get("warnings")
    ]


async def test_money_x100_moves_money_only(start: Start) -> None:
    """Purchases are a hundred times what they were, in loyaltyInfo and in programmes; points are not."""
    pairs = await compared(await start(seed=4), "money-x100", "embed=mlp")
    pairs = [
        (a, b) for a, b in pairs if "lifetimePurchases" in a["loyaltyInfo"] and a["loyaltyProgramDetails"]
    ]

    assert len(pairs) > 30
    for a, b in pairs:
        before, after = a["loyaltyProgramDetails"][0], b["loyaltyProgramDetails"][0]
        assert b["loyaltyInfo"]["lifetimePurchases"] == pytest.approx(
            100 * a["loyaltyInfo"]["lifetimePurchases"]
        )
        assert after["cumulativePurchases"] == pytest.approx(100 * before["cumulativePurchases"])
        assert after["loyaltyPoints"] == before["loyaltyPoints"]


async def test_an_embed_can_go_missing_without_a_word(start: Start) -> None:
    """The block isn't there and no warning says so."""
    pairs = await compared(await start(seed=4), "embed-missing:mlp", "embed=points,mlp")

    assert len(pairs) > 30
    for a, b in pairs:
        assert {key: a[key] for key in a if key != "loyaltyProgramDetails"} == b


async def test_segments_can_empty_overnight(start: Start) -> None:
    """Everyone's segments are an empty object."""
    pairs = await compared(await start(seed=4), "segments-empty", "embed=segments")

    assert any(a["segments"] for a, _ in pairs)
    assert all(b["segments"] == {} for _, b in pairs)


async def test_tiers_can_be_renamed_overnight(start: Start) -> None:
    """Every tier has a new name, and keeps its number."""
    pairs = await compared(await start(seed=4), "tier-renamed", "embed=points")
    tiers = [(a["pointsSummary"], b["pointsSummary"]) for a, b in pairs if "pointsSummary" in a]

    assert len(tiers) > 30
    assert all(b["currentSlab"] == f"{a['currentSlab']} Club" for a, b in tiers)
    assert all(a["slabSNo"] == b["slabSNo"] for a, b in tiers)


async def test_dates_can_shift_overnight(start: Start) -> None:
    """Moments move by 5 h 30 min and keep their zone; plain dates stay."""
    pairs = await compared(await start(seed=4), "dates-shifted", "embed=mlp&gapToUpgrade=0")
    (before, after) = (
        [body["profiles"][0]["autoUpdateTime"] for body in side] for side in zip(*pairs, strict=True)
    )

    assert all(a[19:] == b[19:] and a != b for a, b in zip(before, after, strict=True))
    assert any(a[:10] == b[:10] for a, b in zip(before, after, strict=True))


async def test_half_of_the_base_can_vanish(start: Start) -> None:
    """About half get 8015, the same half on every attempt."""
    caller = await start(faults="half-missing")
    ids = list(known_ids(300))

    first = [b"8015" in (await caller.customer(customer)).body for customer in ids]
    second = [b"8015" in (await caller.customer(customer)).body for customer in ids]

    assert 110 < sum(first) < 190
    assert first == second


async def test_a_data_fault_can_strike_a_share(start: Start) -> None:
    """segments-empty=30% leaves most customers alone."""
    caller = await start(seed=4)
    pairs = await compared(caller, "segments-empty=30%", "embed=segments")

    struck = sum(bool(a["segments"]) and not b["segments"] for a, b in pairs)
    assert 5 < struck < 35


def test_quantiles_of_latency_are_drawn_evenly() -> None:
    """Half of the calls take between the least and the middle, half between the middle and the most."""
    parsed = parse_plan("latency=10ms/20ms/120ms")
    delays = sorted(parsed.latency_s(moment(k)) for k in range(2000))
    assert delays[0] >= 0.010
    assert delays[-1] <= 0.120
    assert delays[1000] == pytest.approx(0.020, rel=0.1)
    assert delays[1500] == pytest.approx(0.070, rel=0.1)


async def test_padded_bodies_are_as_long_as_the_plan_says_and_say_the_same(start: Start) -> None:
    """Spaces after the document; absent customers, and answers that are longer by themselves, stay as they are."""
    plain = await start()
    padded = await start(faults="pad=60kB")
    for customer in known_ids(20):
        bare, long = await plain.customer(customer), await padded.customer(customer)
        assert long.json() == bare.json()
        assert len(long.body) == max(60_000, len(bare.body))
    stranger = await padded.customer(1)
    assert len(stranger.body) < 1000
