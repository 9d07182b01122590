"""The door of the room: `fetch`, with the API and the other side of the handoff in a thread of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.config import Config
from pipeline.errors import RefusedError, StoppedError, StorageError
from pipeline.fetch import FetchJob, ask_once, fetch
from pipeline.fetch.client import Question
from pipeline.outcome import Outcome
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from pipeline.stats import Tally
from tests.fetch.conftest import DAY, OtherSide


@dataclass
class Elsewhere:
    """A sandbox and an other side that run beside the test."""

    sandbox: Sandbox
    side: OtherSide

    def job(self, **changes: Any) -> FetchJob:
        auth = {"kind": "basic", "till": "till.01", "password_env": "X"}
        config = Config.model_validate({
            "api": {"host": self.sandbox.url, "auth": auth},
            "ids": {"paths": ["ids.csv"]},
            "quota": {"limits": [{"calls": 2000, "per_s": 1}], "max_in_flight": 16},
        })  # fmt: skip
        job = FetchJob(config, SecretStr("sandbox"), ["points"], self.side.ours, Tally())
        return replace(job, **changes)

    def when(self, happened: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
        """Do something, from another thread, as soon as something has happened."""

        def watch() -> None:
            while not happened():
                time.sleep(0.01)
            then()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread


@contextmanager
def elsewhere(**settings: Any) -> Iterator[Elsewhere]:
    """Both, in a thread; they end with the block."""
    side, ready, found = OtherSide(), threading.Event(), []

    async def live() -> None:
        async with Sandbox(SandboxConfig(**{"customers": 300, "day": DAY, **settings})) as sandbox:
            found.append(sandbox)
            ready.set()
            await side.run()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(10)
    try:
        yield Elsewhere(found[0], side)
    finally:
        side.ours.close()
        thread.join(10)
        assert not thread.is_alive()


def test_all_ids_are_fetched_and_handed_over() -> None:
    """On return every ID has its verdict over there, and the screen was told on the way."""
    ticks: list[int] = []
    with elsewhere() as away:
        fetch(away.job(on_tick=lambda: ticks.append(1)), map(Question, known_ids(300)))
        assert set(away.side.verdicts()) == set(known_ids(300))
    assert ticks


def test_the_end_of_the_window_stops_the_night() -> None:
    """What was answered until then is handed over, and may be published."""
    with elsewhere(faults="latency=30ms") as away:
        with pytest.raises(StoppedError, match="window") as caught:
            fetch(away.job(stop_in_s=0.3), map(Question, known_ids(300)))
        assert caught.value.publish
        assert len(away.side.records) == len(away.sandbox.judge.arrivals) > 0


def test_a_signal_lets_calls_in_flight_end() -> None:
    """SIGTERM: no new call, no lost answer, and nothing is published by itself."""
    with elsewhere(faults="latency=30ms") as away:
        arrived = away.sandbox.judge.arrivals
        away.when(lambda: len(arrived) > 40, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(StoppedError, match="SIGTERM") as caught:
            fetch(away.job(), map(Question, known_ids(300)))
        assert not caught.value.publish
        assert len(away.side.records) == len(arrived) < 300
        assert "gone" not in away.sandbox.judge.statuses


def test_a_second_signal_ends_at_once() -> None:
    """Calls that hang don't keep the program; it ends with an error of ours, not with a traceback."""
    with elsewhere(faults="hang") as away:
        tally = Tally()

        def twice() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

        away.when(lambda: tally.in_flight == 16, twice)
        began = time.monotonic()
        with pytest.raises(StoppedError, match="second signal"):
            fetch(away.job(tally=tally), map(Question, known_ids(300)))
        assert time.monotonic() - began < 5.0


def test_a_full_disk_under_the_ticker_is_told_as_itself() -> None:
    """The ticker writes the night's state; its error stops the night as every other does."""
    full = StorageError("The disk is full.")

    def tick() -> None:
        raise full

    with elsewhere(faults="latency=20ms") as away:
        with pytest.raises(StorageError) as caught:
            fetch(away.job(on_tick=tick), map(Question, known_ids(300)))
        assert caught.value is full
        assert len(away.side.records) == len(away.sandbox.judge.arrivals) < 300


def test_an_error_of_the_other_side_ends_the_night_as_itself() -> None:
    """A journal that can't be written: a StorageError, not a group of errors."""
    with elsewhere(faults="latency=20ms") as away:
        away.side.error = {"error": "StorageError", "message": "The disk is full.", "hint": "Make room."}
        with pytest.raises(StorageError, match="disk is full"):
            fetch(away.job(), map(Question, known_ids(300)))
        assert len(away.sandbox.judge.arrivals) < 300


def test_a_bug_is_told_as_itself_and_what_was_answered_is_handed_over() -> None:
    """A bug of ours keeps its type and its traceback, and costs no answer."""

    def ids() -> Iterator[Question]:
        yield from map(Question, known_ids(100))
        raise ZeroDivisionError

    with elsewhere() as away:
        with pytest.raises(ZeroDivisionError):
            fetch(away.job(), ids())
        assert len(away.side.records) == len(away.sandbox.judge.arrivals) > 0


def test_refused_credentials_end_the_night() -> None:
    """Exit code 5 hangs on RefusedError."""
    with elsewhere(password="another") as away, pytest.raises(RefusedError):
        fetch(away.job(), map(Question, known_ids(300)))


def test_one_call_can_be_made_outside_a_night() -> None:
    """`doctor` asks once and reads the verdict and the server's clock."""
    with elsewhere() as away:
        config = away.job().config
        probe = ask_once(config, SecretStr("sandbox"), [], Question(17))
        assert probe.judged.outcome is Outcome.ABSENT
        assert probe.reply is not None
        assert probe.reply.server_time is not None
