"""`make bench-normalize`: what a customer costs in the second process, stage by stage, in one process and alone.

CPU time, the least of some rounds: on a machine that others use, a round is dearer by whatever they take from the
caches. The stages are done one after the other over the same answers, so their sum is more than the whole.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np

from bench import bodies
from bench.tables import machine, markdown, write_table
from pipeline.blocks import TABLES
from pipeline.blocks.collect import Collector, Options
from pipeline.jsontext import blocks_of, decode, is_all_there
from pipeline.normalize.answers import BATCH_RECORDS
from pipeline.normalize.body_hash import body_hash
from pipeline.normalize.chunk import GROUP_RECORDS, ChunkNormalizer
from pipeline.normalize.kernel.collecting import KernelCollector
from pipeline.outcome import Outcome
from pipeline.store.journal import (
    FrameKind,
    Record,
    encode_frame,
    pack_record,
    record_columns,
    unpack_records,
)

CUSTOMERS = 8_192
FRAME = 256
OPTIONS = Options(date(2026, 11, 22))


class Stages:
    """The least CPU that each stage has taken."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note what it takes."""
        began = time.process_time()
        yield
        self.note(stage, time.process_time() - began)

    def note(self, stage: str, seconds: float) -> None:
        """Keep it where it is the least."""
        self.least[stage] = min(seconds, self.least.get(stage, seconds))


def answers(count: int) -> list[Record]:
    """So many answers of the bench's server, as they come to the second process."""
    prepared = bodies.templates()
    return [
        Record(
            one,
            1_790_000_000_000_000,
            0,
            0,
            9000,
            1,
            1,
            200,
            Outcome.EXPORTED,
            b"",
            bodies.body_of(one, prepared),
        )
        for one in bodies.ids(count)
    ]


def _payloads(records: list[Record]) -> list[bytes]:
    packed = [pack_record(record) for record in records]
    return [b"".join(packed[start : start + FRAME]) for start in range(0, len(packed), FRAME)]


def _journal(records: list[Record], stages: Stages) -> None:
    payloads = _payloads(records)
    with stages.timed("journal: a frame compressed and checked"):
        for payload in payloads:
            encode_frame(FrameKind.RECORDS, payload, FRAME)
    with stages.timed("records out of their frames, one by one"):
        for payload in payloads:
            for _ in unpack_records(payload):
                pass
    with stages.timed("records out of their frames, as columns"):
        for payload in payloads:
            record_columns(payload)


def _hash(records: list[Record], stages: Stages) -> None:
    with stages.timed("hash, alone: blake2b of the whole body"):
        for record in records:
            hashlib.blake2b(record.body, digest_size=8).hexdigest()
    with stages.timed("by hand: top keys, are they all there, body hash"):
        for record in records:
            top = blocks_of(record.body) or {}
            is_all_there(record.body, top)
            body_hash(record.body, (), top)


def _collect(records: list[Record], collector: Collector, stages: Stages) -> None:
    typing = 0.0
    began = time.process_time()
    for number, record in enumerate(records, 1):
        told = record.customer_id, record.fetched_at, number, ""
        if not collector.add_usual(record.body, *told):
            collector.add(decode(record.body).doc, *told)
        if number % BATCH_RECORDS == 0:
            paused = time.process_time()
            collector.drain()
            typing += time.process_time() - paused
    stages.note("by hand: decode and flatten", time.process_time() - began - typing)
    stages.note("by hand: typed columns", typing)


def _kernel(records: list[Record], collector: KernelCollector, stages: Stages) -> None:
    typing = 0.0
    frames = [(payload, record_columns(payload)) for payload in _payloads(records)]
    began = time.process_time()
    for number, (payload, (heads, _, starts)) in enumerate(frames, 1):
        abouts = np.stack([heads["customer_id"], heads["fetched_at"], np.arange(len(heads))], axis=1)
        _, refused = collector.add_many(payload, starts, heads["body_bytes"].astype(np.int64), abouts)
        if refused:
            raise RuntimeError(f"The kernel refused {len(refused)} answers.")
        if number * FRAME % GROUP_RECORDS == 0:
            paused = time.process_time()
            collector.drain()
            typing += time.process_time() - paused
    stages.note("in C: hash, read, into columns", time.process_time() - began - typing)
    stages.note("columns to Arrow, odd cells and unknown keys", typing)


def _whole(records: list[Record], normalizer: ChunkNormalizer, stages: Stages) -> None:
    payloads = _payloads(records)
    began = time.process_time()
    with stages.timed("all but the last parts"):
        for payload in payloads:
            normalizer.add_frame(payload, 0)
    with stages.timed("the last parts, and all synced"):
        normalizer.write(0)
    stages.note("**a chunk normalized**", time.process_time() - began)


def measure(records: list[Record], rounds: int) -> Stages:
    """All stages, so many times."""
    stages = Stages()
    collector, by_kernel = Collector(TABLES, OPTIONS), KernelCollector(TABLES, OPTIONS)
    steps: list[Callable[[], None]] = [
        lambda: _journal(records, stages),
        lambda: _hash(records, stages),
        lambda: _collect(records, collector, stages),
        lambda: _kernel(records, by_kernel, stages),
    ]
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        normalizer = ChunkNormalizer(TABLES, OPTIONS, Path(home))
        for _ in range(rounds):
            for step in steps:
                step()
            _whole(records, normalizer, stages)
    return stages


def main() -> int:
    """Measure, print, write bench/NORMALIZE.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.normalizing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    chosen = parser.parse_args()
    gc.disable()  # as in the second process
    records = answers(CUSTOMERS)
    stages = measure(records, chosen.rounds)
    mean = sum(len(record.body) for record in records) / len(records)
    about = (
        f"`make bench-normalize`: {machine('pyarrow', 'msgspec')}; {CUSTOMERS:,} answers of {mean:,.0f} bytes, all "
        f"{len(TABLES)} tables; the least of {chosen.rounds} rounds."
    )
    rows = [[stage, f"{seconds / CUSTOMERS * 1e6:.1f}"] for stage, seconds in stages.least.items()]
    table = markdown(("stage", "CPU µs a customer"), rows)
    write_table("NORMALIZE.md", "What a customer costs in the second process", about, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
