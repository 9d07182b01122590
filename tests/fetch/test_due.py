"""Who is asked next."""

from __future__ import annotations

import asyncio

from pipeline.fetch.client import Question
from pipeline.fetch.due import Due
from pipeline.fetch.item import Item
from tests.fetch.virtual import in_no_time


def due_with(*customer_ids: int) -> Due:
    due = Due()
    due.begin(map(Question, customer_ids), [])
    return due


async def taken(due: Due) -> int | None:
    item = await due.next()
    return None if item is None else item.question.customer_id


async def test_retries_that_are_due_come_before_the_list_and_second_looks_last() -> None:
    """A partial answer waits until nothing else is under way."""
    due = due_with(1, 2)
    assert await taken(due) == 1
    due.retry_in(0.0, Item(Question(1)))
    due.look_again(Item(Question(9), is_second_look=True))
    due.done()
    assert [await taken(due), await taken(due)] == [1, 2]
    waiting = asyncio.create_task(taken(due))
    await asyncio.sleep(0)
    assert not waiting.done()
    due.done()
    due.done()
    assert await waiting == 9
    due.done()
    assert await taken(due) is None


def test_whoever_waits_for_a_retry_has_it_when_it_is_due() -> None:
    """Several free workers wait in line; each retry wakes one of them, and the end of all wakes the rest."""

    async def work() -> None:
        due = due_with(1)
        item = await due.next()
        assert item is not None
        waiting = [asyncio.create_task(taken(due)) for _ in range(3)]
        await asyncio.sleep(0)
        due.retry_in(0.0, item)
        due.done()
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result() for one in done] == [1]
        due.done()
        assert await asyncio.gather(*pending) == [None, None]

    in_no_time(work())


async def test_nothing_is_handed_out_after_the_end() -> None:
    """A stop wakes whoever waits, and the list is not read on."""
    due = due_with(1, 2)
    assert await taken(due) == 1
    due.close()
    assert await taken(due) is None


async def test_the_list_is_read_no_faster_than_it_is_asked() -> None:
    """IDs stand in no queue."""
    read: list[int] = []

    def listed() -> Question:
        read.append(len(read))
        return Question(len(read))

    due = Due()
    due.begin(iter(listed, None), [])
    await taken(due)
    assert len(read) == 1
