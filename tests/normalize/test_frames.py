"""A frame's records taken at once: the same parts, byte by byte, as of one record after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.collect import Options
from pipeline.jsontext import dump
from pipeline.normalize import chunk
from pipeline.normalize.chunk import ChunkNormalizer
from pipeline.outcome import Outcome
from pipeline.store.journal import Record, pack_record, unpack_records
from pipeline.store.parts import chunk_parts, read_part
from tests.blocks.bodies import full

OPTIONS = Options(date(2026, 11, 22))
CHUNK = 7
USUAL = dump(full()).encode()
BODIES = [
    USUAL,
    USUAL,
    b'{"id":1,"profiles":[{"firstName":"a","new":1}],"loyaltyInfo":{"lifetimePurchases":"much"}}',
    b'{"id":1,"pointsSummary":{"loyaltyPoints":1100.2139892578125,"slabExpiryDate":"2027-01-09T00:00:00Z"}}',
    b'{"id":1,"profiles":[{"firstName":"https://x.example/a?Signature=s3cret&Expires=1"}]}',
    b'{"id":1,"id":2}',
    b'{"id":1,"profiles":5}',
    b"no JSON",
    b"\xff",
    b"",
    b'{"id":1,"segments":{"a":"b"}}' + b" " * 5_000,
]
"""Usual ones, and ones that the kernel takes with Python's help or not at all."""


def calls(dice: random.Random, count: int, *, pages: bool) -> list[Record]:
    """Calls of all kinds, made at random: verdicts with and without a body, calls in vain, pages before an answer."""
    found = []
    for number in range(count):
        outcome = dice.choice([Outcome.EXPORTED] * 6 + [Outcome.PARTIAL, Outcome.RETRIED, Outcome.ABSENT])
        if pages and dice.random() < 0.1:
            outcome = Outcome.PAGE
        body = dice.choice(BODIES) if outcome.has_data or outcome is Outcome.PAGE else b""
        customer_id = dice.choice([1, -1]) * dice.randrange(1, 1 << 60)
        meta = dice.choice([b"", b'{"request_id":"r%d"}' % number, b'{"reason":"why","asked_as":"e"}'])
        code, latency, tries, made, status = (dice.randrange(1 << bits) for bits in (20, 30, 15, 15, 9))
        asked, other = 1_790_000_000_000_000 + number, dice.randrange(1 << 60)
        told = customer_id, asked, other, code, latency, tries, made, status, int(outcome), meta, body
        found.append(Record(*told))
    return found


def parts_of(folder: Path, add: Callable[[ChunkNormalizer], None]) -> dict[str, bytes]:
    normalizer = ChunkNormalizer(TABLES, OPTIONS, folder)
    for _ in range(2):  # the second chunk's rows stand where those of the first stood
        add(normalizer)
        normalizer.write(CHUNK)
    return {path.parent.name: path.read_bytes() for path in chunk_parts(folder)}


@pytest.mark.parametrize("group", [1, 3, 50, 2_048])
@pytest.mark.parametrize("pages", [False, True])
def test_a_frame_gives_what_its_records_give(
    group: int, pages: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of any size, groups that end anywhere in them."""
    monkeypatch.setattr(chunk, "GROUP_RECORDS", group)
    monkeypatch.setattr(chunk, "GROUP_BYTES", 40_000)
    dice = random.Random(group)
    records = calls(dice, 150, pages=pages)
    frames, rest = [], records
    while rest:
        size = dice.choice([1, 2, 40])
        frames.append(b"".join(map(pack_record, rest[:size])))
        rest = rest[size:]

    def one_by_one(normalizer: ChunkNormalizer) -> None:
        for payload in frames:
            for record in unpack_records(payload):
                normalizer.add(record, CHUNK)

    def by_frames(normalizer: ChunkNormalizer) -> None:
        for payload in frames:
            normalizer.add_frame(payload, CHUNK)

    expected = parts_of(tmp_path / "one", one_by_one)
    assert len(expected) > 20
    assert parts_of(tmp_path / "other", by_frames) == expected


def test_without_the_kernel_the_same_rows_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record by record, by hand."""
    records = calls(random.Random(5), 60, pages=True)
    frames = [b"".join(map(pack_record, records[start : start + 9])) for start in range(0, 60, 9)]
    found = []
    for name in ("with", "without"):
        normalizer = ChunkNormalizer(TABLES, OPTIONS, tmp_path / name)
        for payload in frames:
            normalizer.add_frame(payload, CHUNK)
        normalizer.write(CHUNK)
        rows = {path.parent.name: [*read_part(path)] for path in chunk_parts(tmp_path / name)}
        found.append({table: [batch.to_pylist() for batch in batches] for table, batches in rows.items()})
        monkeypatch.setattr("pipeline.normalize.answers.kernel", lambda: None)
    assert found[0] == found[1]
