"""What follows from a reply: the verdict is journalled, or the ID is due again, or all wait, or the night stops."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RefusedError, RetriableError, StoppedError, UsageError
from pipeline.events import Tell, tell_nobody
from pipeline.fetch.auth import Auth
from pipeline.fetch.breaker import Breaker
from pipeline.fetch.client import Client, Question, Reply, retry_after_s
from pipeline.fetch.due import Due
from pipeline.fetch.handoff import Handoff
from pipeline.fetch.item import Item, packed_with_pages
from pipeline.fetch.outcomes import Action, Judgement, Trouble
from pipeline.fetch.quota import Quota
from pipeline.fetch.retry import RetryPolicy, wait_before_retry
from pipeline.outcome import Outcome
from pipeline.stats import Tally

REFUSED_IN_A_ROW = 20
"""So many HTTP 4xx from the start, and no other answer: it is our request that is wrong, not the IDs."""
THROTTLED_AT_MOST = 20
"""An ID that is turned away so often while others are answered is failed: it would slow the night down."""
MIN_PAUSE_S = 1.0
"""The least pause after a 429, even one that says "now" (or one window, if that is shorter)."""
CHARGED_KEPT = 100
"""So many of the last attempts that failed for the server's fault are given back when it turns out to be an outage."""


@dataclass(frozen=True)
class Tools:
    """What the pool works with."""

    client: Client
    auth: Auth
    quota: Quota
    handoff: Handoff
    breaker: Breaker
    retry: RetryPolicy
    tally: Tally
    rng: random.Random
    tell: Tell = tell_nobody


class Settling:
    """Does what a judgement says. `stop` is called where the night has to end."""

    def __init__(self, tools: Tools, due: Due, stop: Callable[[Exception], None]) -> None:
        self._tools = tools
        self._due = due
        self._stop = stop
        self._refusals = 0
        self._is_down = False  # as was told last
        self._renewed: dict[str, str] = {}  # the headers that came of the last 401
        self._renewed_is_proven = False  # they have opened the API since
        self._charged: deque[Item] = deque(
            maxlen=CHARGED_KEPT
        )  # whose last attempt failed for the server's fault
        self.witness: Question | None = None  # whoever was answered last: fails only where the API does

    async def settle(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """Do what the judgement says."""
        if judged.is_outage:
            await self._settle_outage(item, reply, judged)
            return
        if judged.action is not Action.THROTTLE:
            self._tools.breaker.answered(reply.latency_us / 1e6, is_first=item.calls == 1)
            if self._is_down and not self._tools.breaker.is_open:
                self._is_down = False
                self._tools.tell("breaker.closed", request_id=reply.request_id)
        if judged.action not in (Action.REAUTHENTICATE, Action.THROTTLE):
            item.reauthenticated = False
            self._renewed_is_proven |= item.used_headers == self._renewed
        match judged.action:
            case Action.ACCEPT | Action.GIVE_UP:
                if judged.action is Action.ACCEPT:
                    self.witness = item.question
                item.attempts += 1
                await self._verdict(item, reply, judged)
            case Action.RETRY:
                await self._retry_or_fail(item, reply, judged)
            case Action.THROTTLE:
                await self._throttled(item, reply, judged)
            case Action.REAUTHENTICATE:
                await self._reauthenticate(item, reply, judged)
            case Action.REFUSED | Action.MISCONFIGURED:
                await self._refused(item, reply, judged)

    async def _settle_outage(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """The server's trouble. While the breaker is open, or nobody listens, it costs the ID no attempt."""
        may_be_the_id = judged.code != Trouble.CONNECT
        if not (may_be_the_id and self._fails_alone(item)) or self._tools.breaker.is_open:
            self.count_outage(judged.reason, reply.latency_us, is_first=item.calls == 1)
        is_open = self._tools.breaker.is_open
        if may_be_the_id and not is_open:
            self._charged.append(item)
            await self._retry_or_fail(item, reply, judged)
        else:
            await self.journal_repeat(item, reply, judged)
            self._due.retry_in(0.0 if is_open else self._tools.retry.base_s, item)

    def _fails_alone(self, item: Item) -> bool:
        """Whether others were answered between two failures of this ID: then they say nothing of the API."""
        answers = self._tools.breaker.answers
        item.fails_alone |= item.answers_at_trouble is not None and item.answers_at_trouble < answers
        item.answers_at_trouble = answers
        return item.fails_alone

    def count_outage(self, reason: str, latency_us: int = 0, *, is_first: bool = False) -> None:
        breaker = self._tools.breaker
        was_open = breaker.is_open
        breaker.failed(reason, latency_us / 1e6, is_first=is_first)
        if breaker.is_open and not was_open:
            self._is_down = True
            self._tools.tell("breaker.opened", reason=reason)
            self.give_attempts_back()
        if breaker.has_lasted_too_long():
            self._stop(_outage(breaker.last_reason))

    def give_attempts_back(self) -> None:
        """An outage has begun before it was told: what failed last has failed for it, too."""
        for item in self._charged:
            item.attempts = max(0, item.attempts - 1)
        self._charged.clear()

    async def _verdict(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """Journal the verdict. A second look that fails leaves the partial answer standing."""
        if self._tools.handoff.add(*packed_with_pages(item, reply, judged)):
            await self._tools.handoff.flush()
        self._count(item, judged)
        if judged.outcome is Outcome.FAILED:
            self._tools.tell("fetch.failed", **item.about(reply, judged))
        self._watch_for_misconfiguration(reply, judged)

    def _count(self, item: Item, judged: Judgement) -> None:
        outcomes = self._tools.tally.outcomes
        if item.is_second_look:
            if judged.outcome is Outcome.FAILED:
                return
            outcomes[Outcome.PARTIAL] -= 1
        elif judged.outcome is Outcome.PARTIAL:
            self._due.look_again(Item(item.question, calls=item.calls, is_second_look=True))
        outcomes[judged.outcome] += 1

    async def _retry_or_fail(self, item: Item, reply: Reply, judged: Judgement) -> None:
        item.attempts += 1
        asked_for = retry_after_s(reply.retry_after, time.time())
        wait = wait_before_retry(item.attempts, self._tools.retry, self._tools.rng, asked_for)
        if wait is None:
            failed = judged._replace(action=Action.GIVE_UP, outcome=Outcome.FAILED)
            await self._verdict(item, reply, failed)
            return
        await self.journal_repeat(item, reply, judged)
        self._tools.tell("fetch.retry", wait_s=round(wait, 3), **item.about(reply, judged))
        self._due.retry_in(wait, item)

    async def _throttled(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """Too fast: all wait, and this ID loses no attempt."""
        self.hold_back(reply, judged)
        if self._is_singled_out(item):
            await self._verdict(item, reply, judged._replace(action=Action.GIVE_UP, outcome=Outcome.FAILED))
            return
        await self.journal_repeat(item, reply, judged)
        self._due.retry_in(0.0, item)

    def hold_back(self, reply: Reply, judged: Judgement) -> None:
        """A pause for everyone, as long as the server asks for, and half the pace from then on."""
        self._tools.tally.throttled += 1
        self._tools.breaker.throttled(judged.reason)
        if self._tools.breaker.has_lasted_too_long():
            self._stop(_outage(judged.reason))
        window = self._tools.quota.seconds_to_next_window()
        asked_for = retry_after_s(reply.retry_after, time.time())
        wait = window if asked_for is None else max(asked_for, min(MIN_PAUSE_S, window))
        wait = min(wait, self._tools.retry.max_wait_s)
        self._tools.quota.slow_down()
        if self._tools.quota.pause(wait):
            about = {"code": judged.code, "reason": judged.reason, "request_id": reply.request_id}
            self._tools.tell("fetch.throttled", wait_s=wait, **about)

    def _is_singled_out(self, item: Item) -> bool:
        """Whether this ID is turned away again and again while others are answered."""
        answers = self._tools.breaker.answers
        item.throttles += item.answers_at_throttle is not None and item.answers_at_throttle < answers
        item.answers_at_throttle = answers
        return item.throttles >= THROTTLED_AT_MOST

    async def _reauthenticate(self, item: Item, reply: Reply, judged: Judgement) -> None:
        await self.journal_repeat(item, reply, judged)
        try:
            renewed = await self._renew(item)
        except RetriableError as exc:
            self.count_outage(exc.message)
            self._due.retry_in(self._tools.retry.base_s, item)
            return
        if renewed:
            item.reauthenticated = True
            self._due.retry_in(0.0, item)
            return
        raise RefusedError(
            "The API refuses our credentials (HTTP 401).",
            "Check api.auth: the till and its password, or the OAuth key and secret; "
            "`doctor` asks once and tells.",
        )

    async def _renew(self, item: Item) -> bool:
        """Whether the ID is worth another try. What a 401 brought and a 401 greets is not renewed once more."""
        is_unproven = item.used_headers == self._renewed and not self._renewed_is_proven
        if item.reauthenticated or is_unproven:
            return False
        if not await self._tools.auth.renew(item.used_headers):
            return self._tools.tally.done > 0  # others were answered as the same till: a stray one, perhaps
        headers = await self._tools.auth.headers()
        if headers != self._renewed:
            self._renewed, self._renewed_is_proven = headers, False
        return True

    async def _refused(self, item: Item, reply: Reply, judged: Judgement) -> None:
        tally = self._tools.tally
        if judged.action is Action.MISCONFIGURED and tally.done > tally.outcomes[Outcome.FAILED]:
            await self._verdict(item, reply, judged)  # others were answered: it is this ID, not our request
            return
        await self.journal_repeat(item, reply, judged)
        if judged.action is Action.REFUSED:
            raise RefusedError(
                f"The API refuses us ({judged.code}: {judged.reason}).",
                "Ask for read access to the resource Customer for this till or API client.",
            )
        raise UsageError(
            f"The API says that the request is wrong ({judged.code}: {judged.reason}).",
            "Check api.source, api.account_id and api.params in the config.",
        )

    def _watch_for_misconfiguration(self, reply: Reply, judged: Judgement) -> None:
        """A 4xx (or a redirect) for every ID from the start means that our request is wrong."""
        if judged.action is Action.GIVE_UP and 300 <= reply.status < 500 and self._refusals >= 0:
            self._refusals += 1
        else:
            self._refusals = -1
        if self._refusals >= REFUSED_IN_A_ROW:
            raise UsageError(
                f"The API answers HTTP {reply.status} to every request.",
                "Check api.host, api.source, api.embed and api.params in the config.",
            )

    async def journal_repeat(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """A call that has to be made again is journalled without its body: it was spent."""
        self._tools.tally.repeated += 1
        repeated = judged._replace(outcome=Outcome.RETRIED)
        await self._tools.handoff.put(*packed_with_pages(item, reply, repeated))


def _outage(reason: str) -> StoppedError:
    return StoppedError(
        f"The API does not answer ({reason}).",
        "Nothing is lost: `run` goes on where it stopped. "
        "`doctor` tells whether the host in the config is right.",
        publish=True,
    )
