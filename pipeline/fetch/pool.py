"""The worker pool: IDs in, journalled verdicts out.

As many workers as the gate lets in take an ID each, wait for their turn, ask, judge, and hand the reply over. The only
way back is a retry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.errors import ExportError, RetriableError
from pipeline.fetch.client import BodyTooLargeError, CallError, Question, Reply
from pipeline.fetch.concurrency import Gate
from pipeline.fetch.due import Due
from pipeline.fetch.item import Item, Page, no_reply
from pipeline.fetch.outcomes import Action, Judgement, Trouble, brings_nothing_new, judge
from pipeline.fetch.quota import Turn
from pipeline.fetch.settle import Settling, Tools
from pipeline.outcome import Outcome

__all__ = ["Pool", "Tools"]

STALE_TURN_S = 0.05
"""A turn that had to wait longer than this for a token is let go."""
NO_PROGRESS: dict[str, Any] = {
    "outcome": Outcome.PARTIAL,
    "code": Trouble.NO_PROGRESS,
    "reason": "a page of user groups brought nothing new",
}


class Pool:
    """Fetches a stream of IDs with `workers` calls in flight at most."""

    def __init__(self, tools: Tools, workers: int) -> None:
        self._tools = tools
        self._workers = workers
        self._gate = Gate(workers, tools.quota.pace_per_s, tools.tally)
        self._due = Due()
        self._settling = Settling(tools, self._due, self.stop)
        self._calling: set[asyncio.Task[None]] = set()
        self._probing = asyncio.Lock()
        self._stopping: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, questions: Iterator[Question], second_looks: Iterable[Question] = ()) -> None:
        """Ask for all, then once more for the `second_looks`: partial answers of an earlier start.

        Raises what stopped the night, once calls in flight have ended and are journalled.
        """
        again = [Item(one, is_second_look=True) for one in second_looks]
        self._tools.tally.outcomes[Outcome.PARTIAL] += len(again)
        self._due.begin(questions, again)
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._work()) for _ in range(self._workers)]
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
            self._due.close()
            asyncio.get_running_loop().call_soon(self._release_idle_workers)

    def _release_idle_workers(self) -> None:
        """Whoever is in a call ends it; the others have nothing to wait for."""
        for task in self._tasks:
            if task not in self._calling:
                task.cancel()

    # Working

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        is_more = True
        while is_more and self._stopping is None:
            async with self._gate:
                is_more = await self._work_once(me)

    async def _work_once(self, me: asyncio.Task[None]) -> bool:
        """One ID, if there is one; whether there may be more."""
        try:
            item = await self._due.next()
            if item is None:
                return False
            try:
                await self._ask(item, me)
            finally:
                self._due.done()
        except Exception as exc:  # the night's end or a bug: `run` raises it when all calls have ended
            self.stop(exc)
        return True

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
        return is_last and self._settling.witness is not None and self._has_failed_with_all(item)

    def _has_failed_with_all(self, item: Item) -> bool:
        return item.answers_at_trouble == self._tools.breaker.answers and not item.fails_alone

    async def _probe(self, item: Item, me: asyncio.Task[None]) -> None:
        """Is the API there? Each probe is for another ID: one alone proves nothing, for it may fail for ever.

        Where an ID has failed before, whoever was answered last is asked before it: a call that brings certainty.
        """
        if self._settling.witness is not None and item.answers_at_trouble is not None:
            if await self._fails_now(self._settling.witness, me):
                self._tools.breaker.doubted()
                self._settling.give_attempts_back()
            if self._tools.breaker.is_open:
                self._due.retry_in(0.0, item)
                return
        await self._call(item, me)

    async def _call(self, item: Item, me: asyncio.Task[None]) -> None:
        """One call and what follows from it."""
        try:
            item.used_headers, turn = await self._turn()
        except RetriableError as exc:  # no token: no call was made, so there is none to journal
            self._settling.count_outage(exc.message)
            self._due.retry_in(self._tools.retry.base_s, item)
            return
        if self._stopping is not None:
            return
        self._begins(me)
        try:
            reply, judged = await self._asked(item, turn)
            if judged.next_offset is not None:
                reply, judged = await self._with_pages(item, reply, judged)
            await self._settling.settle(item, reply, judged)
        finally:
            self._ends(me)

    def _begins(self, me: asyncio.Task[None]) -> None:
        """A worker in a call is let end it, whatever happens meanwhile."""
        self._calling.add(me)
        self._tools.tally.in_flight += 1

    def _ends(self, me: asyncio.Task[None]) -> None:
        self._tools.tally.in_flight -= 1
        self._calling.discard(me)

    async def _fails_now(self, witness: Question, me: asyncio.Task[None]) -> bool:
        """One more call for an ID that was answered before; whether it failed for the server's fault."""
        item = Item(witness)
        try:
            item.used_headers, turn = await self._turn()
        except RetriableError as exc:
            self._settling.count_outage(exc.message)
            return True
        if self._stopping is not None:
            return False
        self._begins(me)
        try:
            reply, judged = await self._asked(item, turn)
            await self._settling.journal_repeat(item, reply, judged)
            if judged.is_outage:
                self._settling.count_outage(judged.reason, reply.latency_us)
            elif judged.action is Action.THROTTLE:
                self._settling.hold_back(reply, judged)
            else:
                self._tools.breaker.answered(reply.latency_us / 1e6, is_first=False)
            return judged.is_outage
        finally:
            self._ends(me)

    async def _turn(self) -> tuple[dict[str, str], Turn]:
        """The headers of now, and a turn. A call leaves when its turn comes: those that had to wait for a
        new token take another turn, or they would leave together."""
        auth, quota = self._tools.auth, self._tools.quota
        if (headers := auth.at_hand()) is not None and (free := quota.at_once()) is not None:
            return headers, free
        await auth.headers()
        turn = await quota.turn()
        began = time.monotonic()
        headers = await auth.headers()
        if time.monotonic() - began > STALE_TURN_S:
            turn = await quota.turn()
        return headers, turn

    async def _with_pages(self, item: Item, reply: Reply, judged: Judgement) -> tuple[Reply, Judgement]:
        """Follow an answer's pages of user groups to the end, and hold them until its verdict is journalled.

        A page that fails makes the whole answer due again; one that brings nothing new ends it as partial.
        """
        offset, last, pages = judged.next_offset, reply, list[Page]()
        item.pages = pages
        while offset is not None:
            item.used_headers, turn = await self._turn()
            page, found = await self._asked(item, turn, offset)
            if not found.outcome.has_data:
                pages.insert(0, Page(reply, Outcome.RETRIED))
                return page, found
            if brings_nothing_new(page.body, last.body):
                pages.append(Page(page, Outcome.RETRIED))
                return reply, judged._replace(**NO_PROGRESS)
            pages.append(Page(page, Outcome.PAGE))
            offset, last = found.next_offset, page
        return reply, judged

    async def _asked(self, item: Item, turn: Turn, offset: int | None = None) -> tuple[Reply, Judgement]:
        """The reply and its judgement; where no answer came, a reply of nothing and why."""
        item.calls += 1
        self._tools.tally.calls += 1
        number = self._gate.begins()
        turn.leaves()
        try:
            on_sent, on_heard = (turn.sent, turn.heard) if turn.is_counted else (None, None)
            reply = await self._tools.client.get(item.question, item.used_headers, on_sent, offset, on_heard)
        except BodyTooLargeError as exc:
            judged = Judgement(Action.GIVE_UP, Outcome.FAILED, exc.code, exc.message)
            return no_reply(exc.latency_us), judged
        except CallError as exc:
            judged = Judgement(Action.RETRY, Outcome.RETRIED, exc.code, exc.message, is_outage=True)
            return no_reply(exc.latency_us), judged
        finally:
            turn.over()
            self._gate.ends(number)
        self._tools.tally.latencies_us.append(reply.latency_us)
        if reply.used_up_s is not None:
            wait = min(reply.used_up_s, self._tools.retry.max_wait_s)
            if self._tools.quota.pause(wait) and wait:
                self._tools.tell("fetch.paused", wait_s=wait, request_id=reply.request_id)
        return reply, judge(item.question.customer_id, reply.status, reply.body)
