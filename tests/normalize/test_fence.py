"""The fence: chunks side by side give what one after the other gives, and what kills one hurts no other."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from pipeline.blocks import TABLES
from pipeline.errors import StorageError
from pipeline.normalize import fence
from pipeline.normalize.aside import read_set_aside
from pipeline.normalize.chunk import normalize_chunk
from pipeline.normalize.fence import normalize_behind_fence
from pipeline.normalize.scribe import Job
from pipeline.outcome import Outcome
from pipeline.store.journal import ChunkWriter, Record, pack_record, sealed_chunks
from pipeline.store.parts import chunk_parts, part_name

ROOT = Path(__file__).parent.parent.parent
NIGHT = date(2026, 11, 22)
CHUNKS, EACH = 5, 12
POISON = """
import os
from pipeline.normalize import chunk
from pipeline.store.journal import unpack_records

class Normalizer(chunk.ChunkNormalizer):
    def add(self, record, number):
        if record.outcome == 1 and record.customer_id in (103, 305):
            os.abort()
        super().add(record, number)

    def add_frame(self, payload, number):
        for record in unpack_records(payload):
            self.add(record, number)

chunk.ChunkNormalizer = Normalizer
"""
"""As Python's sitecustomize: two answers crash their process as a native library does."""


def an_answer(customer_id: int) -> Record:
    body = json.dumps({"id": customer_id, "profiles": [{"firstName": f"no {customer_id}"}], "warnings": []})
    return Record(
        customer_id=customer_id,
        fetched_at=1_700_000_000_000_000 + customer_id,
        outcome=Outcome.EXPORTED,
        status=200,
        attempts=1,
        calls=1,
        reason_code=0,
        latency_us=1000,
        other_id=0,
        meta=b"",
        body=body.replace(": ", ":").encode(),
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A journal of some chunks."""
    job = Job(
        night=NIGHT,
        journal=tmp_path / "journal",
        parts=tmp_path / "parts",
        first_chunk=CHUNKS,
        tables=[table.name for table in TABLES],
    )
    job.journal.mkdir()
    for chunk in range(CHUNKS):
        packed = [pack_record(an_answer(100 * chunk + at + 1)) for at in range(EACH)]
        with ChunkWriter(job.journal, chunk, {"night": NIGHT.isoformat(), "version": "test"}) as writer:
            writer.append(b"".join(packed), len(packed))
            writer.seal()
    return job


def parts_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in chunk_parts(folder)}


def expected(job: Job, folder: Path, chunks: Sequence[Path]) -> dict[str, bytes]:
    """The parts as one process makes them, one chunk after the other."""
    normalizer = job.normalizer()
    normalizer.parts = folder
    for chunk in chunks:
        normalize_chunk(chunk, normalizer)
    return parts_of(folder)


def test_side_by_side_gives_the_same_bytes(job: Job, tmp_path: Path) -> None:
    """Every part of every chunk."""
    chunks = sealed_chunks(job.journal)
    assert normalize_behind_fence(job, chunks, -1) == 0
    assert parts_of(job.parts) == expected(job, tmp_path / "expected", chunks)


def test_what_kills_one_chunk_is_found_and_the_others_are_done(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers in two chunks abort the process: both are set aside, all other parts are as ever."""
    chunks = sealed_chunks(job.journal)
    (tmp_path / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    found_aside = normalize_behind_fence(job, chunks, -1)
    assert found_aside == 2, read_set_aside(job.parts)[0].reason
    assert [(one.chunk, one.customer_id) for one in read_set_aside(job.parts)] == [(1, 103), (3, 305)]
    whole, found = expected(job, tmp_path / "expected", chunks), parts_of(job.parts)
    assert set(found) == set(whole)
    differ = {name.rpartition("/")[2] for name in whole if whole[name] != found[name]}
    assert differ == {part_name(1), part_name(3)}


def test_trouble_with_the_disk_ends_the_others_and_is_told(job: Job) -> None:
    """A file stands where the parts of a table should lie: the error names it."""
    job.parts.mkdir()
    (job.parts / "customers").write_text("")
    with pytest.raises(StorageError, match="customers"):
        normalize_behind_fence(job, sealed_chunks(job.journal), -1)


def test_chunks_are_done_side_by_side(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many children at a time as are allowed, never more; a chunk is begun as soon as one has ended."""
    most, running = 0, set[int]()

    class Child:
        def __init__(self, chunk: Path) -> None:
            nonlocal most
            self.chunk = chunk
            self.pipe, writing = os.pipe()
            os.close(writing)  # it ends at once
            running.add(self.pipe)
            most = max(most, len(running))

        def ended(self) -> dict[str, object]:
            running.remove(self.pipe)
            os.close(self.pipe)
            return {}

    begun: list[Path] = []
    tested = fence.Fence(job)

    def start(chunk: Path) -> Child:
        begun.append(chunk)
        return Child(chunk)

    monkeypatch.setattr(tested, "_start", start)
    tested.normalize(sealed_chunks(job.journal), 2)
    assert (most, running) == (2, set())
    assert begun == sealed_chunks(job.journal)
