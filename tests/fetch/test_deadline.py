"""Deadlines of many calls by one timer."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.fetch.deadline import Deadlines
from tests.fetch.virtual import in_no_time, now


def test_each_call_ends_at_its_own_deadline() -> None:
    """Calls that begin at different times are given up one after the other; those in time are not."""
    ended: dict[int, float] = {}

    async def work() -> None:
        deadlines = Deadlines(10.0)

        async def call(number: int, seconds: float) -> None:
            await asyncio.sleep(number)
            began = now()
            try:
                with deadlines.begin():
                    await asyncio.sleep(seconds)
            except TimeoutError:
                ended[number] = now() - began

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(call(number, 30.0 if number % 2 else 9.0))

    in_no_time(work())
    assert sorted(ended) == list(range(1, 20, 2))
    assert all(9.99 < seconds < 10.01 for seconds in ended.values())


async def test_whoever_is_cancelled_stays_cancelled() -> None:
    """Neither before its deadline nor at it is a cancelled call taken for a late one."""
    deadlines = Deadlines(0.02)

    async def call(seconds: float) -> None:
        with deadlines.begin():
            await asyncio.sleep(seconds)

    early = asyncio.create_task(call(1.0))
    await asyncio.sleep(0)
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early
    both = asyncio.create_task(call(1.0))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, both.cancel)
    [deadline] = deadlines._ends
    deadline.give_up()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_an_error_at_the_deadline_is_told_as_itself() -> None:
    """What the call itself raises is not replaced."""
    deadlines = Deadlines(5.0)
    with pytest.raises(ZeroDivisionError), deadlines.begin():
        _ = 1 / 0
    assert not deadlines._ends
