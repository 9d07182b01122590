"""The worker pool: IDs in, journalled verdicts out. `fetch` is the door of this room.

One feeder puts IDs into a bounded queue, retries that are due first; as many workers as the gate lets in take
them, wait for their turn, ask, judge, and hand the reply over. The only way back is a retry.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.errors import ExportError, RefusedError, RetriableError, StoppedError, UsageError
from pipeline.events import Tell, tell_nobody
from pipeline.fetch.auth import Auth
from pipeline.fetch.breaker import Breaker
from pipeline.fetch.client import BodyTooLargeError, CallError, Client, Question, Reply, retry_after_s
from pipeline.fetch.concurrency import Gate
from pipeline.fetch.handoff import Handoff
from pipeline.fetch.outcomes import Action, Judgement, Trouble, brings_nothing_new, judge
from pipeline.fetch.quota import Quota, Turn
from pipeline.fetch.retry import RetryPolicy, wait_before_retry
from pipeline.outcome import Outcome
from pipeline.stats import Tally
from pipeline.store.journal import Record, pack_record

REFUSED_IN_A_ROW = 20
"""So many HTTP 4xx from the start, and no other answer: it is our request that is wrong, not the IDs."""
THROTTLED_AT_MOST = 20
"""An ID that is turned away so often while others are answered is failed: it would slow the night down."""
MIN_PAUSE_S = 1.0
"""The least pause after a 429, even one that says "now" (or one window, if that is shorter)."""
STALE_TURN_S = 0.05
"""A turn that had to wait longer than this for a token is let go."""
FAILED_BODY_BYTES = 64 * 1024
CHARGED_KEPT = 100
"""So many of the last attempts that failed for the server's fault are given back when it turns out to be an outage."""
NO_PROGRESS: dict[str, Any] = {
    "outcome": Outcome.PARTIAL,
    "code": Trouble.NO_PROGRESS,
    "reason": "a page of user groups brought nothing new",
}


@dataclass(slots=True, eq=False)
class Item:
    """An ID on its way. `attempts` failed for its own sake; `calls` were made in all."""

    question: Question
    attempts: int = 0
    calls: int = 0
    is_second_look: bool = False  # a partial answer, asked once more at the end
    used_headers: dict[str, str] = field(default_factory=dict)
    reauthenticated: bool = False
    throttles: int = 0  # turned away while others were answered
    answers_at_trouble: int | None = None  # the breaker's count when it last failed for the server's fault
    fails_alone: bool = False  # others were answered between two such failures
    answers_at_throttle: int | None = None  # the same when it was last turned away
    pages: list[tuple[Reply, Outcome]] = field(
        default_factory=list
    )  # of an answer in several, beyond the first


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


class Pool:
    """Fetches a stream of IDs with `workers` calls in flight at most."""

    def __init__(self, tools: Tools, workers: int) -> None:
        self._tools = tools
        self._workers = workers
        self._gate = Gate(workers, tools.quota.pace_per_s, tools.tally)
        self._queue: asyncio.Queue[Item] = asyncio.Queue(maxsize=workers)
        self._retries: list[tuple[float, int, Item]] = []  # min-heap of (due time, ticket, item)
        self._second_looks: list[Item] = []
        self._ticket = 0
        self._under_way = 0  # items queued, in a worker's hands, or waiting for a retry
        self._calling: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()  # something came back: the feeder looks again
        self._probing = asyncio.Lock()
        self._stopping: Exception | None = None
        self._refusals = 0
        self._is_down = False  # as was told last
        self._renewed: dict[str, str] = {}  # the headers that came of the last 401
        self._renewed_is_proven = False  # they have opened the API since
        self._tasks: list[asyncio.Task[None]] = []
        self._witness: Question | None = None  # whoever was answered last: fails only where the API does
        self._charged: deque[Item] = deque(
            maxlen=CHARGED_KEPT
        )  # whose last attempt failed for the server's fault

    async def run(self, questions: Iterator[Question], second_looks: Iterable[Question] = ()) -> None:
        """Ask for all, then once more for the `second_looks`: partial answers of an earlier start.

        Raises what stopped the night, once calls in flight have ended and are journalled.
        """
        self._second_looks = [Item(one, is_second_look=True) for one in second_looks]
        self._tools.tally.outcomes[Outcome.PARTIAL] += len(self._second_looks)
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._work()) for _ in range(self._workers)]
            try:
                await self._feed(questions)
            except Exception as exc:  # the list of IDs cannot be read on
                self.stop(exc)
            self._release_idle_workers()
        if self._stopping is not None:
            raise self._stopping

    @property
    def is_stopping(self) -> bool:
        """Whether no new call leaves any more."""
        return self._stopping is not None

    def stop(self, why: Exception) -> None:
        """No new call leaves; those in flight end in peace. The first reason counts, a bug before all."""
        is_hidden_bug = isinstance(self._stopping, ExportError) and not isinstance(why, ExportError)
        if self._stopping is None or is_hidden_bug:
            self._stopping = why
            self._changed.set()

    # Feeding

    async def _feed(self, questions: Iterator[Question]) -> None:
        more: Item | None = _next_item(questions)
        while self._stopping is None:
            item = self._due_retry()
            if item is None and more is not None:
                item, more = more, _next_item(questions)
                self._under_way += 1
            if item is not None:
                await self._offer(item)
            elif self._under_way:
                await self._until_changed()
            elif self._second_looks:
                more = self._look_again()
            else:
                return

    async def _offer(self, item: Item) -> None:
        """Into the bounded queue: when it is full, the reader waits; a stop wakes it up."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            while self._queue.full() and self._stopping is None:
                self._changed.clear()
                await self._changed.wait()  # however many retries fall due meanwhile
            if self._stopping is None:
                self._queue.put_nowait(item)

    def _due_retry(self) -> Item | None:
        if self._retries and self._retries[0][0] <= time.monotonic():
            return heapq.heappop(self._retries)[2]
        return None

    async def _until_changed(self) -> None:
        """Until something came back, or the next retry is due."""
        self._changed.clear()
        wait = self._retries[0][0] - time.monotonic() if self._retries else None
        try:
            async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                await self._changed.wait()
        except TimeoutError:
            pass  # a retry is due

    def _look_again(self) -> Item | None:
        """Partial answers are asked for once more when everything else is done."""
        for item in self._second_looks[1:]:
            self._retry_in(0.0, item)
        first = self._second_looks[0]
        self._second_looks = []
        return first

    def _release_idle_workers(self) -> None:
        """Whoever is in a call ends it; the others have nothing to wait for."""
        for task in self._tasks:
            if task not in self._calling:
                task.cancel()

    # Working

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while self._stopping is None:
            async with self._gate:
                await self._work_once(me)

    async def _work_once(self, me: asyncio.Task[None]) -> None:
        item = await self._queue.get()
        self._changed.set()
        try:
            await self._ask(item, me)
        except Exception as exc:  # the night's end or a bug: `run` raises it when all calls have ended
            self.stop(exc)
        finally:
            self._under_way -= 1
            self._changed.set()

    async def _ask(self, item: Item, me: asyncio.Task[None]) -> None:
        """A call. While the API is down, or may be, one at a time."""
        breaker = self._tools.breaker
        if breaker.is_open or self._is_in_doubt(item):
            async with self._probing:
                if breaker.is_open:
                    await asyncio.sleep(breaker.probe_wait_s())
                if breaker.is_open or self._is_in_doubt(item):
                    await self._probe(item, me)
                    return
        await self._call(item, me)

    def _is_in_doubt(self, item: Item) -> bool:
        """Whether an ID has one attempt left and is perhaps not to blame: nobody else was answered since it failed.

        Where few IDs are left their failures are too few to open the breaker.
        """
        is_last = item.attempts == self._tools.retry.max_attempts - 1
        return is_last and self._witness is not None and self._has_failed_with_all(item)

    def _has_failed_with_all(self, item: Item) -> bool:
        return item.answers_at_trouble == self._tools.breaker.answers and not item.fails_alone

    async def _probe(self, item: Item, me: asyncio.Task[None]) -> None:
        """Is the API there? Each probe is for another ID: one alone proves nothing, for it may fail for ever.

        Where an ID has failed before, whoever was answered last is asked before it: a call that brings certainty.
        """
        if self._witness is not None and item.answers_at_trouble is not None:
            if await self._fails_now(self._witness, me):
                self._tools.breaker.doubted()
                self._give_attempts_back()
            if self._tools.breaker.is_open:
                self._retry_in(0.0, item)
                return
        await self._call(item, me)

    async def _call(self, item: Item, me: asyncio.Task[None]) -> None:
        """One call and what follows from it."""
        try:
            item.used_headers, turn = await self._turn()
        except RetriableError as exc:  # no token: no call was made, so there is none to journal
            self._count_outage(exc.message)
            self._retry_in(self._tools.retry.base_s, item)
            return
        if self._stopping is not None:
            return
        with self._in_a_call(me):
            reply, judged = await self._asked(item, turn)
            if judged.next_offset is not None:
                reply, judged = await self._with_pages(item, reply, judged)
            await self._settle(item, reply, judged)

    @contextmanager
    def _in_a_call(self, me: asyncio.Task[None]) -> Iterator[None]:
        """Whoever is in a call is let end it, whatever happens meanwhile."""
        self._calling.add(me)
        self._tools.tally.in_flight += 1
        try:
            yield
        finally:
            self._tools.tally.in_flight -= 1
            self._calling.discard(me)

    async def _fails_now(self, witness: Question, me: asyncio.Task[None]) -> bool:
        """One more call for an ID that was answered before; whether it failed for the server's fault."""
        item = Item(witness)
        try:
            item.used_headers, turn = await self._turn()
        except RetriableError as exc:
            self._count_outage(exc.message)
            return True
        if self._stopping is not None:
            return False
        with self._in_a_call(me):
            reply, judged = await self._asked(item, turn)
            await self._journal_repeat(item, reply, judged)
            if judged.is_outage:
                self._count_outage(judged.reason, reply.latency_us)
            elif judged.action is Action.THROTTLE:
                self._hold_back(reply, judged)
            else:
                self._tools.breaker.answered(reply.latency_us / 1e6, is_first=False)
            return judged.is_outage

    async def _turn(self) -> tuple[dict[str, str], Turn]:
        """The headers of now, and a turn. A call leaves when its turn comes: those that had to wait for a
        new token take another turn, or they would leave together."""
        await self._tools.auth.headers()
        turn = await self._tools.quota.turn()
        began = time.monotonic()
        headers = await self._tools.auth.headers()
        if time.monotonic() - began > STALE_TURN_S:
            turn = await self._tools.quota.turn()
        return headers, turn

    async def _with_pages(self, item: Item, reply: Reply, judged: Judgement) -> tuple[Reply, Judgement]:
        """Follow an answer's pages of user groups to the end, and hold them until its verdict is journalled.

        A page that fails makes the whole answer due again; one that brings nothing new ends it as partial.
        """
        item.pages, offset, last = [], judged.next_offset, reply
        while offset is not None:
            item.used_headers, turn = await self._turn()
            page, found = await self._asked(item, turn, offset)
            if not found.outcome.has_data:
                item.pages.insert(0, (reply, Outcome.RETRIED))
                return page, found
            if brings_nothing_new(page.body, last.body):
                item.pages.append((page, Outcome.RETRIED))
                return reply, judged._replace(**NO_PROGRESS)
            item.pages.append((page, Outcome.PAGE))
            offset, last = found.next_offset, page
        return reply, judged

    async def _asked(self, item: Item, turn: Turn, offset: int | None = None) -> tuple[Reply, Judgement]:
        """The reply and its judgement; where no answer came, a reply of nothing and why."""
        item.calls += 1
        self._tools.tally.calls += 1
        number = self._gate.begins()
        turn.leaves()
        try:
            reply = await self._tools.client.get(
                item.question, item.used_headers, turn.sent, offset, turn.heard
            )
        except BodyTooLargeError as exc:
            judged = Judgement(Action.GIVE_UP, Outcome.FAILED, exc.code, exc.message)
            return _no_reply(exc.latency_us), judged
        except CallError as exc:
            judged = Judgement(Action.RETRY, Outcome.RETRIED, exc.code, exc.message, is_outage=True)
            return _no_reply(exc.latency_us), judged
        finally:
            turn.over()
            self._gate.ends(number)
        self._tools.tally.latencies_us.append(reply.latency_us)
        if reply.used_up_s is not None:
            wait = min(reply.used_up_s, self._tools.retry.max_wait_s)
            if self._tools.quota.pause(wait) and wait:
                self._tools.tell("fetch.paused", wait_s=wait, request_id=reply.request_id)
        return reply, judge(item.question.customer_id, reply.status, reply.body)

    # Settling

    async def _settle(self, item: Item, reply: Reply, judged: Judgement) -> None:
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
                    self._witness = item.question
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
            self._count_outage(judged.reason, reply.latency_us, is_first=item.calls == 1)
        is_open = self._tools.breaker.is_open
        if may_be_the_id and not is_open:
            self._charged.append(item)
            await self._retry_or_fail(item, reply, judged)
        else:
            await self._journal_repeat(item, reply, judged)
            self._retry_in(0.0 if is_open else self._tools.retry.base_s, item)

    def _fails_alone(self, item: Item) -> bool:
        """Whether others were answered between two failures of this ID: then they say nothing of the API."""
        answers = self._tools.breaker.answers
        item.fails_alone |= item.answers_at_trouble is not None and item.answers_at_trouble < answers
        item.answers_at_trouble = answers
        return item.fails_alone

    def _count_outage(self, reason: str, latency_us: int = 0, *, is_first: bool = False) -> None:
        breaker = self._tools.breaker
        was_open = breaker.is_open
        breaker.failed(reason, latency_us / 1e6, is_first=is_first)
        if breaker.is_open and not was_open:
            self._is_down = True
            self._tools.tell("breaker.opened", reason=reason)
            self._give_attempts_back()
        if breaker.has_lasted_too_long():
            self.stop(_outage(breaker.last_reason))

    def _give_attempts_back(self) -> None:
        """An outage has begun before it was told: what failed last has failed for it, too."""
        for item in self._charged:
            item.attempts = max(0, item.attempts - 1)
        self._charged.clear()

    async def _verdict(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """Journal the verdict. A second look that fails leaves the partial answer standing."""
        await self._journal(item, reply, judged)
        self._count(item, judged)
        if judged.outcome is Outcome.FAILED:
            self._tools.tell("fetch.failed", **_about(item, reply, judged))
        self._watch_for_misconfiguration(reply, judged)

    def _count(self, item: Item, judged: Judgement) -> None:
        outcomes = self._tools.tally.outcomes
        if item.is_second_look:
            if judged.outcome is Outcome.FAILED:
                return
            outcomes[Outcome.PARTIAL] -= 1
        elif judged.outcome is Outcome.PARTIAL:
            self._second_looks.append(Item(item.question, calls=item.calls, is_second_look=True))
        outcomes[judged.outcome] += 1

    async def _retry_or_fail(self, item: Item, reply: Reply, judged: Judgement) -> None:
        item.attempts += 1
        asked_for = retry_after_s(reply.retry_after, time.time())
        wait = wait_before_retry(item.attempts, self._tools.retry, self._tools.rng, asked_for)
        if wait is None:
            failed = judged._replace(action=Action.GIVE_UP, outcome=Outcome.FAILED)
            await self._verdict(item, reply, failed)
            return
        await self._journal_repeat(item, reply, judged)
        self._tools.tell("fetch.retry", wait_s=round(wait, 3), **_about(item, reply, judged))
        self._retry_in(wait, item)

    async def _throttled(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """Too fast: all wait, and this ID loses no attempt."""
        self._hold_back(reply, judged)
        if self._is_singled_out(item):
            await self._verdict(item, reply, judged._replace(action=Action.GIVE_UP, outcome=Outcome.FAILED))
            return
        await self._journal_repeat(item, reply, judged)
        self._retry_in(0.0, item)

    def _hold_back(self, reply: Reply, judged: Judgement) -> None:
        """A pause for everyone, as long as the server asks for, and half the pace from then on."""
        self._tools.tally.throttled += 1
        self._tools.breaker.throttled(judged.reason)
        if self._tools.breaker.has_lasted_too_long():
            self.stop(_outage(judged.reason))
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
        await self._journal_repeat(item, reply, judged)
        try:
            renewed = await self._renew(item)
        except RetriableError as exc:
            self._count_outage(exc.message)
            self._retry_in(self._tools.retry.base_s, item)
            return
        if renewed:
            item.reauthenticated = True
            self._retry_in(0.0, item)
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
        await self._journal_repeat(item, reply, judged)
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

    def _retry_in(self, seconds: float, item: Item) -> None:
        self._ticket += 1
        self._under_way += 1
        heapq.heappush(self._retries, (time.monotonic() + seconds, self._ticket, item))

    async def _journal_repeat(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """A call that has to be made again is journalled without its body: it was spent."""
        self._tools.tally.repeated += 1
        await self._journal(item, reply, judged._replace(outcome=Outcome.RETRIED))

    async def _journal(self, item: Item, reply: Reply, judged: Judgement) -> None:
        """The pages of an answer go before it, in one piece; pages without an answer are calls that were spent."""
        pages, item.pages = item.pages, []
        is_answered = judged.outcome.has_data
        packed = [
            _packed(item, page, judged._replace(outcome=outcome if is_answered else Outcome.RETRIED))
            for page, outcome in pages
        ]
        packed.append(_packed(item, reply, judged))
        await self._tools.handoff.put(b"".join(packed), len(packed))


def _packed(item: Item, reply: Reply, judged: Judgement) -> bytes:
    """A call as the journal holds it; a body that brings no rows is cut, that of a spent call left out."""
    about = {
        "reason": judged.reason,
        "request_id": reply.request_id,
        "asked_as": item.question.asked_as,
    }
    has_body = judged.outcome.has_data or judged.outcome is Outcome.PAGE
    kept = len(reply.body) if has_body else FAILED_BODY_BYTES if judged.outcome is not Outcome.RETRIED else 0
    record = Record(
        customer_id=item.question.customer_id,
        fetched_at=reply.fetched_at,
        other_id=judged.other_id,
        reason_code=judged.code,
        latency_us=reply.latency_us,
        attempts=item.attempts,
        calls=item.calls,
        status=reply.status,
        outcome=judged.outcome,
        meta=msgspec.json.encode({name: text for name, text in about.items() if text}),
        body=reply.body[:kept],
    )
    return pack_record(record)


def _about(item: Item, reply: Reply, judged: Judgement) -> dict[str, object]:
    """A call that failed, for an event: the request ID is what Capillary's support asks for."""
    return {
        "customer_id": item.question.customer_id,
        "attempts": item.attempts,
        "status": reply.status,
        "code": judged.code,
        "reason": judged.reason,
        "request_id": reply.request_id,
    }


def _next_item(questions: Iterator[Question]) -> Item | None:
    question = next(questions, None)
    return None if question is None else Item(question)


def _no_reply(latency_us: int) -> Reply:
    return Reply(0, b"", "", "", latency_us, time.time_ns() // 1000)


def _outage(reason: str) -> StoppedError:
    return StoppedError(
        f"The API does not answer ({reason}).",
        "Nothing is lost: `run` goes on where it stopped. "
        "`doctor` tells whether the host in the config is right.",
        publish=True,
    )
