"""The door to the second process, with a scripted other side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from pipeline.errors import ExportError, HelperError, JournalError, StorageError
from pipeline.fetch.handoff import FRAME_BYTES, FRAME_RECORDS, FRAMES_UNDER_WAY, Handoff
from pipeline.outcome import Outcome
from pipeline.stats import Tally
from pipeline.store.journal import Record, pack_record
from tests.fetch.conftest import OtherSide


def packed(number: int, body: bytes = b"") -> bytes:
    return pack_record(Record(number, 0, 0, 0, 0, 0, 1, 200, Outcome.EXPORTED, b"", body))


@asynccontextmanager
async def handing_over(side: OtherSide, tally: Tally | None = None) -> AsyncIterator[Handoff]:
    """A handoff with both its ends at work."""
    handoff = Handoff(side.ours, tally or Tally())
    await handoff.open()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        other = group.create_task(side.run())
        group.create_task(handoff.serve())
        try:
            yield handoff
        finally:
            side.may_acknowledge.set()
            handoff.close()
            await asyncio.wait([other], timeout=5)


async def settled() -> None:
    """Until what can go over the socket has gone."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_records_arrive_in_frames_in_order_and_are_counted_when_durable() -> None:
    """What was put first is journalled first; the tally's `durable` is what the other side acknowledged."""
    side, tally = OtherSide(), Tally()
    async with handing_over(side, tally) as handoff:
        for number in range(1000):
            await handoff.put(packed(number))
        await handoff.finish()
    assert [record.customer_id for record in side.records] == list(range(1000))
    assert max(side.frames) <= FRAME_RECORDS
    assert len(side.frames) == 4
    assert tally.durable == 1000


async def test_after_half_a_frame_nothing_follows() -> None:
    """Whoever is stopped while sending leaves a frame without its end: the next one is not sent into it."""
    side = OtherSide()
    handoff = Handoff(side.ours, Tally())
    await handoff.open()
    sending = asyncio.create_task(handoff.put(packed(1, bytes(32 << 20))))  # more than the socket holds
    await settled()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    with pytest.raises(HelperError):
        await handoff.put(packed(2))
    handoff.close()
    with pytest.raises(asyncio.IncompleteReadError):
        await side.run()
    assert side.frames == []


async def test_nothing_at_all_is_a_whole_night_too() -> None:
    """Finishing without a record sends no empty frame but the last."""
    side = OtherSide()
    async with handing_over(side) as handoff:
        await handoff.finish()
    assert side.frames == []


async def test_a_few_records_do_not_wait_for_more() -> None:
    """At 60 calls a minute a frame would take four minutes to fill; a crash must not cost so many."""
    side, tally = OtherSide(), Tally()
    async with handing_over(side, tally) as handoff:
        await handoff.put(packed(1))
        async with asyncio.timeout(5):
            while not tally.durable:  # noqa: ASYNC110 - the tally is plain numbers
                await asyncio.sleep(0.02)
        await handoff.finish()
    assert side.frames == [1]


async def test_frames_stay_small_however_much_has_gathered() -> None:
    """Bodies that pile up behind a slow disk don't become one frame that no journal could hold."""
    side = OtherSide()
    side.may_acknowledge.clear()
    body = os.urandom(FRAME_BYTES // 4)
    async with handing_over(side) as handoff:
        async with asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(handoff.put(packed(number, body)))
            await settled()
            side.may_acknowledge.set()
        await handoff.finish()
    assert [record.customer_id for record in side.records] == list(range(64))
    assert max(side.frames) <= 4


async def test_a_slow_other_side_holds_the_workers_back() -> None:
    """While nothing is acknowledged, so many frames are under way and no more: memory has its bound."""
    side = OtherSide()
    side.may_acknowledge.clear()
    taken = 0

    async def put_all(handoff: Handoff) -> None:
        nonlocal taken
        for number in range(FRAME_RECORDS * 20):
            await handoff.put(packed(number))
            taken += 1

    async with handing_over(side) as handoff:
        putting = asyncio.create_task(put_all(handoff))
        for _ in range(20):
            await settled()
        assert not putting.done()
        assert taken <= FRAME_RECORDS * (FRAMES_UNDER_WAY + 1)
        side.may_acknowledge.set()
        await putting
        await handoff.finish()
    assert len(side.records) == FRAME_RECORDS * 20


async def test_whoever_is_cancelled_while_waiting_loses_no_records() -> None:
    """A worker that is stopped in the middle of a flush has taken nothing with it."""
    side = OtherSide()
    side.may_acknowledge.clear()
    async with handing_over(side) as handoff:
        for number in range(FRAME_RECORDS * (FRAMES_UNDER_WAY + 1) - 1):
            await handoff.put(packed(number))
        last = asyncio.create_task(handoff.put(packed(FRAME_RECORDS * (FRAMES_UNDER_WAY + 1) - 1)))
        await settled()
        last.cancel()
        with suppress(asyncio.CancelledError):
            await last
        side.may_acknowledge.set()
        await handoff.finish()
    assert len(side.records) == FRAME_RECORDS * (FRAMES_UNDER_WAY + 1)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("StorageError", StorageError), ("JournalError", JournalError), ("NeverHeardOf", StorageError)],
)
async def test_an_error_of_the_other_side_is_raised_as_itself(kind: str, error: type[ExportError]) -> None:
    """A full disk over there is a StorageError here, in the words it was told in."""
    side = OtherSide()
    side.error = {"error": kind, "message": "The disk is full.", "hint": "Make room."}
    async with handing_over(side) as handoff:
        await handoff.put(packed(1))
        with pytest.raises(error) as caught:
            await handoff.finish()
    assert type(caught.value) is error
    assert (caught.value.message, caught.value.hint) == ("The disk is full.", "Make room.")


async def test_the_very_next_record_learns_that_the_other_side_broke() -> None:
    """No frame has to fill up first: each further call would be spent for nothing."""
    side = OtherSide()
    side.error = {"error": "StorageError", "message": "The disk is full.", "hint": ""}
    async with handing_over(side) as handoff:
        await handoff.put(packed(1))
        await handoff.flush()
        with pytest.raises(StorageError, match="disk is full"):
            async with asyncio.timeout(5):
                while True:
                    await handoff.put(packed(2))
                    await asyncio.sleep(0.01)
        for _ in range(3 * FRAMES_UNDER_WAY):  # and so do all who come after
            with pytest.raises(StorageError):
                await handoff.put(packed(3))


@pytest.mark.parametrize("last_words", [b"", b'{"dura', b"Traceback (most recent call last):\n", b"[]\n"])
async def test_a_sudden_end_of_the_other_side_is_told(
    last_words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process says nothing, or nonsense; we wait for it no longer and say that it is gone."""
    side = OtherSide()

    async def die() -> None:
        reader, writer = await asyncio.open_connection(sock=side._theirs)
        await reader.readexactly(8)
        writer.write(last_words)
        writer.close()

    monkeypatch.setattr(side, "run", die)
    async with handing_over(side) as handoff:
        await handoff.put(packed(1))
        with pytest.raises(StorageError, match="ended unexpectedly"):
            await handoff.finish()


async def test_a_full_pipe_to_a_dead_process_is_no_deadlock() -> None:
    """Workers that wait for room are woken up when the other side dies."""
    side = OtherSide()
    side.may_acknowledge.clear()
    side.error = {"error": "StorageError", "message": "Killed.", "hint": ""}

    async def put_until_told(handoff: Handoff) -> None:
        with pytest.raises(StorageError):
            while True:
                await handoff.put(packed(1, b"x" * 10_000))

    async with handing_over(side) as handoff, asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(put_until_told(handoff))
        await settled()
        side.may_acknowledge.set()
