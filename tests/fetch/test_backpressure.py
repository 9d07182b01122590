"""A slow disk or a slow normalizer, in the real second process, holds the workers back; nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
from datetime import date
from pathlib import Path

import pytest

from pipeline.blocks import TABLES
from pipeline.fetch.handoff import FRAME_RECORDS, FRAMES_UNDER_WAY, Handoff
from pipeline.normalize import helper, scribe
from pipeline.outcome import Outcome
from pipeline.stats import Tally
from pipeline.store.journal import Record, pack_record, read_chunk, sealed_chunks
from pipeline.store.ledger import read_ledger

ROOT = Path(__file__).parent.parent.parent
RECORDS = FRAME_RECORDS * 20
DISK = """
import os
fdatasync = os.fdatasync

def slow(descriptor):
    wait()
    fdatasync(descriptor)

os.fdatasync = slow
"""
NORMALIZER = """
from pipeline.normalize import chunk
from pipeline.store.journal import unpack_records

class Slow(chunk.ChunkNormalizer):
    def add(self, record, number):
        wait()
        super().add(record, number)

    def add_frame(self, payload, number):
        for record in unpack_records(payload):
            self.add(record, number)

chunk.ChunkNormalizer = Slow
"""
WAIT = """
import os, time

def wait():
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
"""
"""As Python's sitecustomize: slow until a file appears, so that nothing here depends on how fast a machine is."""


def packed(number: int) -> bytes:
    body = b'{"id":%d,"profiles":[],"warnings":[]}' % number
    return pack_record(Record(number, 1, 0, 0, 0, 1, 1, 200, Outcome.EXPORTED, b"", body))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The file that ends the slowness of what the test names."""
    gate, slowness = tmp_path / "gate", request.param
    (tmp_path / "sitecustomize.py").write_text(WAIT + slowness)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("GATE", str(gate))
    return gate


def end_the_slowness(gate: Path) -> None:
    gate.touch()


async def until_at_rest(taken: list[int]) -> None:
    """Until something was taken, and nothing more for a while."""
    before = -1
    while not taken or len(taken) != before:
        before = len(taken)
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("gate", [DISK, NORMALIZER], ids=["disk", "normalizer"], indirect=True)
async def test_a_slow_second_process_holds_the_workers_back(gate: Path, tmp_path: Path) -> None:
    """So many frames are under way and no more, however long it takes; then all goes on, and every record is there."""
    job = scribe.Job(
        night=date(2026, 11, 22),
        journal=tmp_path / "journal",
        parts=tmp_path / "parts",
        first_chunk=0,
        tables=[table.name for table in TABLES],
    )
    job.journal.mkdir()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    process, ours = helper.start(job, lock)
    handoff, taken = Handoff(ours, Tally()), list[int]()

    async def put_all() -> None:
        for number in range(1, RECORDS + 1):
            await handoff.put(packed(number))
            taken.append(number)

    await handoff.open()
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(handoff.serve())
            putting = group.create_task(put_all())
            await until_at_rest(taken)
            assert not putting.done()
            assert len(taken) <= FRAME_RECORDS * (FRAMES_UNDER_WAY + 2)  # and one that is being normalized
            end_the_slowness(gate)
            await putting
            await handoff.finish()
    finally:
        end_the_slowness(gate)
        handoff.close()
        os.close(lock)
        assert process.wait() == 0
    journalled = [record.customer_id for chunk in sealed_chunks(job.journal) for record in read_chunk(chunk)]
    assert journalled == list(range(1, RECORDS + 1))
    assert read_ledger(job.parts).records == RECORDS
