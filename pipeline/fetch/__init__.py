"""The only async room: IDs in, journalled verdicts out. `fetch` is its door."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import aiohttp
from pydantic import SecretStr

from pipeline.config import BasicAuthConfig, Config
from pipeline.errors import ExportError, RetriableError, StoppedError
from pipeline.events import Tell, tell_nobody
from pipeline.fetch.auth import Auth, BasicAuth, OAuth
from pipeline.fetch.breaker import Breaker, BreakerPolicy
from pipeline.fetch.client import CallError, Client, ClientOptions, Question, Reply, open_session
from pipeline.fetch.handoff import Handoff
from pipeline.fetch.limits import ByCalendar
from pipeline.fetch.outcomes import Action, Judgement, Trouble, judge
from pipeline.fetch.pool import Pool, Tools
from pipeline.fetch.query import query_string
from pipeline.fetch.quota import Quota
from pipeline.fetch.retry import RetryPolicy
from pipeline.fetch.window import Ages
from pipeline.outcome import Outcome
from pipeline.stats import Tally

TICK_S = 0.5
PATIENCE_S = 3600.0
"""A night does not wait longer than this for its next call, window or not: a later start goes on."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class FetchJob:
    """What to fetch, how, and where the replies go. `stop_in_s`: seconds from now until the window closes."""

    config: Config
    secret: SecretStr
    embed: Sequence[str]
    sock: socket.socket
    tally: Tally
    stop_in_s: float | None = None
    second_looks: Sequence[
        Question
    ] = ()  # to ask once more at the end: answered partially by an earlier start
    spent: Ages = ()  # ages in seconds of calls that earlier starts made, the oldest first
    on_tick: Callable[[], None] = lambda: None
    tell: Tell = tell_nobody


def fetch(job: FetchJob, questions: Iterator[Question]) -> None:
    """Ask for all IDs. On return every verdict is durable and normalized.

    Raises what stopped the night (StoppedError, RefusedError, StorageError, UsageError); what was answered
    until then is journalled all the same.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        with _rare_garbage_collection():
            asyncio.run(_fetch(job, questions))
    except asyncio.CancelledError:
        raise StoppedError("Stopped at once by a second signal.", "`run` goes on where it stopped.") from None
    finally:
        for number, handler in before.items():  # asyncio leaves the default ones behind
            signal.signal(number, handler)


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """A call leaves next to no cycles behind, but its objects set off the collector some hundred times a second."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def _fetch(job: FetchJob, questions: Iterator[Question]) -> None:
    most, timetable = job.config.quota.max_in_flight, timetable_of(job.config)
    async with open_session(most) as session:
        handoff = Handoff(job.sock, job.tally, job.tell)
        await handoff.open()
        quota = Quota(timetable, spent=job.spent)
        quota.patience_s = PATIENCE_S
        if job.stop_in_s is not None:
            quota.ends_at = time.monotonic() + job.stop_in_s
        pool = Pool(_tools(job, session, handoff, quota), most)
        _stop_on_signals(pool)
        _stop_at_window_end(pool, job.stop_in_s)
        await _run(pool, handoff, job, questions)


async def _run(pool: Pool, handoff: Handoff, job: FetchJob, questions: Iterator[Question]) -> None:
    """The pool, with listener and ticker beside it; whatever ends the pool, the journal gets the rest."""
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        group.create_task(handoff.serve())
        ticker = group.create_task(_tick(job.on_tick, pool))
        try:
            failure = await _until_handed_over(pool, handoff, job, questions)
        finally:
            ticker.cancel()
            handoff.close()
    if failure is not None:
        raise failure


async def _until_handed_over(
    pool: Pool, handoff: Handoff, job: FetchJob, questions: Iterator[Question]
) -> Exception | None:
    """What stopped the pool, given back rather than raised: what was answered is to be handed over first."""
    failure: Exception | None = None
    try:
        await pool.run(questions, job.second_looks)
    except Exception as exc:
        failure = exc
    try:
        await handoff.finish()
    except ExportError as exc:
        failure = exc
    return failure


def timetable_of(config: Config) -> ByCalendar:
    """Which limits hold when, as the config says: by the clocks of the window's zone."""
    zone = config.window.timezone
    return ByCalendar(config.quota, ZoneInfo(zone) if zone else None)


def _tools(job: FetchJob, session: aiohttp.ClientSession, handoff: Handoff, quota: Quota) -> Tools:
    retry = job.config.retry
    breaker = BreakerPolicy(limit_s=retry.outage_s, never_reached_limit_s=min(10.0, retry.outage_s))
    return Tools(
        client=Client(session, client_options(job.config, job.embed)),
        auth=auth_for(job.config, job.secret, session),
        quota=quota,
        handoff=handoff,
        breaker=Breaker(breaker),
        retry=RetryPolicy(retry.max_attempts, retry.max_wait_s),
        tally=job.tally,
        tell=job.tell,
        rng=random.Random(),  # noqa: S311 - jitter, not cryptography
    )


def client_options(config: Config, embed: Sequence[str]) -> ClientOptions:
    """Where and how to ask, as the config says."""
    return ClientOptions(
        host=config.api.host,
        query=query_string(config.api, embed),
        timeout_s=config.api.timeout_s,
        max_body_bytes=config.api.max_body_mb << 20,
        identifier=config.ids.identifier or "",
        first_offset=config.api.params.ug2Offset,
    )


def auth_for(config: Config, secret: SecretStr, session: aiohttp.ClientSession) -> Auth:
    """Basic or OAuth, as the config says."""
    auth = config.api.auth
    if isinstance(auth, BasicAuthConfig):
        return BasicAuth(auth.till, secret)
    return OAuth(session, config.api.host, auth.key, secret, timeout_s=config.api.timeout_s)


@dataclass(frozen=True)
class Probe:
    """One call's answer, and what it means. `reply` is None when no answer came."""

    reply: Reply | None
    judged: Judgement


def ask_once(config: Config, secret: SecretStr, embed: Sequence[str], question: Question) -> Probe:
    """One call outside any night. Raises RefusedError where no token is to be had."""

    async def ask() -> Probe:
        async with open_session(1) as session:
            headers = await auth_for(config, secret, session).headers()
            reply = await Client(session, client_options(config, embed)).get(question, headers)
            return Probe(reply, judge(question.customer_id, reply.status, reply.body))

    try:
        return asyncio.run(ask())
    except RetriableError as exc:
        code = exc.code if isinstance(exc, CallError) else Trouble.CONNECT
        return Probe(None, Judgement(Action.RETRY, Outcome.RETRIED, code, exc.message, is_outage=True))


def _stop_on_signals(pool: Pool) -> None:
    """The first signal lets calls in flight end; the second ends at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop(name: str) -> None:
        if pool.is_stopping:
            task.cancel()
        pool.stop(StoppedError(f"Stopped by {name}.", "Nothing is lost: `run` goes on where it stopped."))

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number.name)


def _stop_at_window_end(pool: Pool, stop_in_s: float | None) -> None:
    if stop_in_s is None:
        return
    closed = StoppedError(
        "The window has closed.", "The next night goes on with what is left.", publish=True, as_planned=True
    )
    asyncio.get_running_loop().call_later(max(0.0, stop_in_s), pool.stop, closed)


async def _tick(on_tick: Callable[[], None], pool: Pool) -> None:
    try:
        while True:
            on_tick()
            await asyncio.sleep(TICK_S)
    except Exception as exc:  # it writes the night's state: the disk may be full
        pool.stop(exc)
