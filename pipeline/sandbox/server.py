"""The stand-in for the API: a real HTTP server on a real port, with its quota, its locks, its faults and a
judge.

It shares no code with the exporter, so the two can't agree by mistake. All of it runs in one event loop."""

import asyncio
import math
import re
import signal
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from aiohttp import web

from pipeline.sandbox import delivery
from pipeline.sandbox.answers import (
    BLANK_400,
    EMPTY_400,
    NOT_FOUND,
    Answer,
    dump,
    gateway,
    too_many,
)
from pipeline.sandbox.ask import Ask, parse_ask
from pipeline.sandbox.auth import TOKEN_HEADER, Credentials, Doorkeeper
from pipeline.sandbox.bodies import Change, answer_for
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.customers import Base, Fate, customer_id
from pipeline.sandbox.datafaults import DATA_FAULTS, STORES
from pipeline.sandbox.faults import Moment, Rule, parse_plan, ready_made
from pipeline.sandbox.hostile import HOSTILE
from pipeline.sandbox.judge import Judge
from pipeline.sandbox.lookup import find_customer
from pipeline.sandbox.quota import Quota
from pipeline.sandbox.rawjson import Document

_MOST_ATTEMPTS = 255
_ID = re.compile(r"\d{1,18}", re.ASCII)
_GRACE_S = 0.5  # for calls in flight when the server stops
_ROUNDS_TO_ACCEPT = 4  # of the loop: a connection accepted while its server closes would be nobody's to close


@dataclass(frozen=True)
class Target:
    """The customer that a call names; k is None for an ID outside the base."""

    customer: int
    k: int | None


class Sandbox:
    """`async with Sandbox(config) as sandbox:` starts the server at `sandbox.url` and stops it.

    Between nights, set `day` and `faults`; the judge goes on counting."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.url = ""  # known once started
        self.base = Base(config.customers, config.seed, config.first_day, config.group_block)
        self.judge = Judge(config.customers, config.window_s, config.calls_per_minute)
        started = time.monotonic()
        self._quota = Quota(config.calls_per_minute, config.window_s, config.window, started)
        self._door = Doorkeeper(_credentials(config), config.seed)
        self._runner: web.AppRunner | None = None
        self._requests = 0
        self._bodies: OrderedDict[tuple[int, Ask], Answer] = OrderedDict()  # this day's last, without faults
        self.day = config.day or datetime.now(UTC).date()
        self.faults = config.faults

    # -- between nights ---------------------------------------------------------------------------------

    @property
    def day(self) -> date:
        """The day that customers are shown as of."""
        return self._day

    @day.setter
    def day(self, day: date) -> None:
        self._day = day
        self._bodies.clear()
        self._attempts = bytearray(self.config.customers)  # today, by k, up to 255
        self._strangers: Counter[int] = Counter()  # the same for IDs outside the base
        self._answered: dict[int, int] = {}  # today's answers to customers whose answers are partial

    @property
    def faults(self) -> str:
        """The fault plan's text. Setting it starts the plan's clock and call count anew."""
        return self._faults

    @faults.setter
    def faults(self, text: str) -> None:
        self._plan = parse_plan(text, self.config.seed)
        self._faults = text
        self._plan_calls = self._plan_token_calls = 0
        self._plan_start: float | None = None

    def revoke_tokens(self) -> None:
        """Every token given so far stops working."""
        self._door.revoke_tokens()

    # -- life -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([
            web.get("/v2/customers/lookup/customerDetails", self._by_identifier, allow_head=False),
            web.get("/v2/customers/{id}", self._by_id, allow_head=False),
            web.post("/v3/oauth/token/generate", self._token),
            web.get("/sandbox/judge", self._report, allow_head=False),
            web.get("/sandbox/healthz", self._health, allow_head=False),
        ])  # fmt: skip
        # A client that gives up ends its call here too: else a fault that hangs would be in flight for ever.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_GRACE_S, handle_signals=False, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        self.url = f"http://{self.config.host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is None:
            return
        for _ in range(_ROUNDS_TO_ACCEPT):
            await asyncio.sleep(0)
        await self._runner.cleanup()

    # -- the API's paths --------------------------------------------------------------------------------

    async def _by_id(self, request: web.Request) -> web.StreamResponse:
        return await self._judged(request, False, self._target_by_id(request))

    async def _by_identifier(self, request: web.Request) -> web.StreamResponse:
        return await self._judged(request, True, self._target_by_identifier(request))

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.judge.token_calls += 1
        self._plan_token_calls += 1
        if self._plan.token_fails(self._plan_token_calls, self._elapsed_s(time.monotonic())):
            self.judge.faults["token-fail"] += 1
            return self._whole(request, gateway(503))
        return self._whole(request, self._door.give_token(await request.read(), time.monotonic()))

    async def _report(self, request: web.Request) -> web.StreamResponse:
        return self._whole(request, Answer(200, dump(self.judge.report())))

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return self._whole(request, Answer(200, dump({"ok": True, "day": str(self.day)})))

    def _target_by_id(self, request: web.Request) -> Target | Answer:
        text = request.match_info["id"]
        if not _ID.fullmatch(text):
            # Both have been told of; one ID always gets the same.
            return BLANK_400 if len(text) % 2 else EMPTY_400
        return Target(int(text), self.base.number(int(text)))

    def _target_by_identifier(self, request: web.Request) -> Target | Answer:
        found = find_customer(self.base, self.day, dict(parse_qsl(request.query_string)))
        return found if isinstance(found, Answer) else Target(customer_id(found), found)

    # -- one customer call ------------------------------------------------------------------------------

    async def _judged(
        self, request: web.Request, is_lookup: bool, target: Target | Answer
    ) -> web.StreamResponse:
        now = time.monotonic()
        self.judge.arrive(now)
        if isinstance(target, Target):
            self.judge.asked_for(target.customer, target.k)
        outcome = "gone"
        try:
            refusal = self._refusal(request, now)
            if refusal is not None:
                response: web.StreamResponse = self._whole(request, refusal)
            else:
                response = await self._asked(request, is_lookup, target)
            outcome = _outcome(request, response)
            return response
        finally:
            self.judge.leave(outcome)

    def _refusal(self, request: web.Request, now: float) -> Answer | None:
        """What stops a call at the door: no right to ask, or too many calls."""
        headers = request.headers
        refusal = self._door.refusal(headers.get("Authorization"), headers.get(TOKEN_HEADER), now)
        if refusal is not None:
            return refusal
        wait_s = self._quota.wait_s(now)
        if wait_s > 0:
            return too_many(self._retry_after(wait_s))
        self.judge.admitted.append(now)
        return None

    def _retry_after(self, wait_s: float) -> dict[str, str]:
        seconds = max(1, math.ceil(wait_s))
        if self.config.retry_after == "none":
            return {}
        if self.config.retry_after == "seconds":
            return {"Retry-After": str(seconds)}
        # The date has no fractions: rounded up, so that who comes back then isn't early.
        free_at = datetime.now(UTC) + timedelta(seconds=seconds + 1)
        return {"Retry-After": format_datetime(free_at, usegmt=True)}

    async def _asked(
        self, request: web.Request, is_lookup: bool, target: Target | Answer
    ) -> web.StreamResponse:
        ask = parse_ask(request.query_string, is_lookup, self.config.missing_account_warns)
        if isinstance(ask, Answer):
            return self._whole(request, ask)
        if isinstance(target, Answer):
            return self._whole(request, target)
        moment = self._moment(target)
        # Decided before the wait: a plan set meanwhile is for later calls.
        rule, latency_s = self._plan.strike(moment), self._plan.latency_s(moment)
        if latency_s:
            await asyncio.sleep(latency_s)
        if rule is None:
            return self._whole(request, self._padded(self._answer(target, ask, moment), target, moment))
        self.judge.faults[rule.name] += 1
        return await self._spoiled(request, target, ask, moment, rule)

    def _moment(self, target: Target) -> Moment:
        self._plan_calls += 1
        elapsed_s = self._elapsed_s(time.monotonic())
        return Moment(target.customer, self._attempt(target), self._plan_calls, elapsed_s)

    def _elapsed_s(self, now: float) -> float:
        """Since the first call under the plan, for a customer or a token."""
        if self._plan_start is None:
            self._plan_start = now
        return now - self._plan_start

    def _attempt(self, target: Target) -> int:
        """How often this customer has been asked for today, this call included."""
        if target.k is None:
            self._strangers[target.customer] += 1
            return self._strangers[target.customer]
        attempt = min(self._attempts[target.k] + 1, _MOST_ATTEMPTS)
        self._attempts[target.k] = attempt
        return attempt

    # -- good answers -----------------------------------------------------------------------------------

    def _answer(self, target: Target, ask: Ask, moment: Moment, change: Change | None = None) -> Answer:
        """The answer as the API would give it, but for the plan's data faults and one more change if
        given."""
        if target.k is None:
            return NOT_FOUND
        rules = self._plan.data_faults(moment)
        for rule in rules:
            self.judge.faults[rule.name] += 1
        names = {rule.name: rule for rule in rules}
        if "half-missing" in names or _lost_with_its_store(target.k, names.get("store-missing")):
            return NOT_FOUND
        if "groups-stuck" in names:
            ask = replace(ask, groups_stuck=True)
        is_partial = self.base.fate(target.k, self.day) is Fate.PARTIAL
        before = self._answered.get(target.k, 0) if is_partial else 0
        if is_partial:
            self._answered[target.k] = before + 1
        if rules or change is not None:
            return self._wrong_answer(target.k, ask, before, names, _all_changes(rules, change))
        if is_partial:
            return answer_for(self.base, self.day, target.k, ask, before, None)
        return self._cached(target.k, ask)

    def _padded(self, answer: Answer, target: Target, moment: Moment) -> Answer:
        """A customer's answer as long as the plan wants it at the least: JSON may end in spaces."""
        least = self._plan.least_bytes(moment) if target.k is not None else 0
        return replace(answer, body=answer.body.ljust(least)) if len(answer.body) < least else answer

    def _wrong_answer(
        self, k: int, ask: Ask, before: int, rules: Mapping[str, Rule], change: Change
    ) -> Answer:
        """The answer of another day, or with another customer's body, and changed."""
        stale = rules.get("stale")
        day = self.day - timedelta(days=stale.number) if stale else self.day
        if "duplicate-bodies" not in rules or self.base.fate(k, day) is not Fate.REGULAR:
            return answer_for(self.base, day, k, ask, before, change)

        def change_and_sign(body: Document) -> None:
            change(body)
            body["id"] = customer_id(k)

        return answer_for(self.base, day, self.base.survivor(0), ask, 0, change_and_sign)

    def _cached(self, k: int, ask: Ask) -> Answer:
        found = self._bodies.get((k, ask))
        if found is None:
            found = self._bodies[k, ask] = answer_for(self.base, self.day, k, ask, 0, None)
            if len(self._bodies) > self.config.cached_bodies:
                self._bodies.popitem(last=False)
        else:
            self._bodies.move_to_end((k, ask))
        return found

    # -- faults -----------------------------------------------------------------------------------------

    async def _spoiled(
        self, request: web.Request, target: Target, ask: Ask, moment: Moment, rule: Rule
    ) -> web.StreamResponse:
        if rule.name == "reset":
            return delivery.reset(request)
        if rule.name == "hang":
            await asyncio.sleep(rule.number)
        answer = self._spoiled_answer(target, ask, moment, rule)
        if rule.name == "cut":
            return await delivery.cut(request, answer, self._request_id(), rule.number)
        if rule.name == "slow-body":
            return await delivery.slow(request, answer, self._request_id(), rule.number)
        return self._whole(request, answer)

    def _spoiled_answer(self, target: Target, ask: Ask, moment: Moment, rule: Rule) -> Answer:
        if rule.name == "429":
            return too_many(self._retry_after(rule.number))
        answer = ready_made(rule)
        if answer is not None:
            return answer
        if rule.name == "wrong-type":
            return self._answer(target, ask, moment, self._plan.wrong_type(moment))
        if rule.name == "other-id" and target.k is not None:
            other = self.base.survivor(target.k)
            return self._answer(Target(customer_id(other), other), ask, moment)
        good = self._answer(target, ask, moment)
        spoil = HOSTILE.get(rule.name)
        return replace(good, body=spoil(good.body, rule.number)) if spoil else good

    # -- the wire ---------------------------------------------------------------------------------------

    def _whole(self, request: web.Request, answer: Answer) -> web.Response:
        compress = self.config.gzip and "gzip" in request.headers.get("Accept-Encoding", "")
        return delivery.whole(answer, self._request_id(), compress)

    def _request_id(self) -> str:
        self._requests += 1
        return f"sandbox-{self._requests:012x}"


def _credentials(config: SandboxConfig) -> Credentials:
    return Credentials(
        config.till,
        config.password,
        config.forbidden_till,
        config.oauth_key,
        config.oauth_secret,
        config.token_ttl_s,
    )


def _lost_with_its_store(k: int, rule: Rule | None) -> bool:
    return rule is not None and k % STORES == int(rule.number) % STORES


def _all_changes(rules: list[Rule], last: Change | None) -> Change:
    def change(body: Document) -> None:
        for rule in rules:
            DATA_FAULTS[rule.name](body, rule.argument)
        if last is not None:
            last(body)

    return change


def _outcome(request: web.Request, response: web.StreamResponse) -> str:
    """The name that the judge counts a call under."""
    if request.transport is None:
        return "gone"
    if request.transport.is_closing():
        return "cut" if response.prepared else "reset"
    return str(response.status)


async def serve(config: SandboxConfig, ready: Callable[[str], None] | None = None) -> None:
    """Runs a sandbox until SIGINT or SIGTERM. `ready` is told the URL once it answers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Sandbox(config) as sandbox:
            if ready is not None:
                ready(sandbox.url)
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def run_sandbox(config: SandboxConfig) -> None:
    """Blocks until the sandbox is told to stop; the first line on stdout is its URL."""
    asyncio.run(serve(config, _announce))


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
