"""What a page says of a night's calls is what its journal says, in whatever state the night is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.collect import Options
from pipeline.normalize.chunk import ChunkNormalizer, normalize_chunk
from pipeline.outcome import NO_VERDICTS, VERDICTS, Outcome
from pipeline.report.calls import NightCalls, Sums, _counted
from pipeline.store.journal import ChunkWriter, Record, pack_record
from pipeline.store.ledger import read_ledger
from pipeline.store.workspace import NightFolder

NIGHT = date(2026, 11, 21)
BEGAN = int(datetime(2026, 11, 21, 1, tzinfo=UTC).timestamp()) * 1_000_000
CHUNKS, PER_CHUNK = 5, 60


def test_outcomes_and_codes_are_counted_together() -> None:
    """Codes below nought are codes of our own."""
    outcomes, codes = np.array([6, 1, 6, 6], np.int8), np.array([-20, 0, -20, 8015], np.int32)
    assert _counted(outcomes, codes) == {(6, -20): 2, (1, 0): 1, (6, 8015): 1}
    assert _counted(outcomes[:0], codes[:0]) == {}


def records(seed: int) -> list[Record]:
    """Calls for few IDs, so that they are asked again, fail, answer, and are looked at twice."""
    dice = random.Random(seed)
    found = []
    for place in range(1, CHUNKS * PER_CHUNK + 1):
        outcome = dice.choice([1, 1, 1, 2, 3, 4, 5, 6, 6, 0, 0])
        status, code = {1: (200, 0), 2: (200, 8062), 0: dice.choice([(429, 429), (503, 503)])}.get(
            outcome, (200 if outcome != 6 else 500, 8000 + outcome)
        )
        customer_id = dice.randrange(1, 90)
        body = f'{{"id": {customer_id}}}'.encode() if outcome in (1, 2) else b""
        meta = b'{"reason": "in words"}' if outcome else b""
        at = BEGAN + place * 1_000_000
        found.append(
            Record(customer_id, at, 0, code, dice.randrange(1000, 90_000), 1, 1, status, outcome, meta, body)
        )
    return found


@pytest.fixture(params=[1, 2, 3])
def calls(request: pytest.FixtureRequest) -> list[Record]:
    """Three different nights."""
    return records(request.param)


def journalled(folder: NightFolder, calls: Sequence[Record]) -> Iterator[Path]:
    """Chunk after chunk; the last one stays open, with a torn tail."""
    for number in range(CHUNKS):
        writer = ChunkWriter(folder.journal, number, {})
        for record in calls[number * PER_CHUNK : (number + 1) * PER_CHUNK]:
            writer.append(pack_record(record), 1)
        if number < CHUNKS - 1:
            yield writer.seal()
        else:
            writer.close()
            with (folder.journal / f"chunk-{number:05d}.open").open("ab") as file:
                file.write(b"CF\x01\x01 torn")


def check(sums: Sums, calls: Sequence[Record]) -> None:
    """Counted from the records themselves, the slow way."""
    last: dict[int, Record] = {}
    for record in calls:
        before = last.get(record.customer_id)
        if record.outcome not in NO_VERDICTS:
            is_worse = (
                record.outcome == Outcome.FAILED and before is not None and before.outcome != Outcome.FAILED
            )
            last[record.customer_id] = before if is_worse and before else record
    account = sums.account()
    assert sums.made == len(calls)
    assert sums.throttled == sum(record.status == 429 for record in calls)
    assert account.outcomes == {
        one.word: sum(record.outcome == one for record in last.values()) for one in VERDICTS
    }
    assert sum(one.count for one in account.reasons) == len(last)
    assert account.repeated == len(calls) - len({record.customer_id for record in calls})
    assert sum(slot.calls for slot in sums.timeline.series(50).slots) == len(calls)
    told = {(one.outcome, one.code) for one in account.reasons if one.outcome is not Outcome.EXPORTED}
    assert told <= set(sums.texts)
    assert set(sums.texts.values()) == {"in words"}


def test_parts_and_journal_together_give_the_account_at_any_moment(
    calls: list[Record], tmp_path: Path
) -> None:
    """Chunks with parts, chunks without, the open one with its torn tail: read again and again while they change."""
    folder = NightFolder(tmp_path / "night", NIGHT).make()
    normalizer = ChunkNormalizer(TABLES, Options(night=NIGHT), folder.parts)
    night = NightCalls(folder, BEGAN)
    sealed = []
    for path in journalled(folder, calls):
        sealed.append(path)
        check(night.refresh(), calls[: len(sealed) * PER_CHUNK])
    check(night.refresh(), calls)
    for path in sealed:
        normalize_chunk(path, normalizer)
        check(night.refresh(), calls)
        check(NightCalls(folder, BEGAN).refresh(), calls)


def test_the_account_is_the_ledgers(calls: list[Record], tmp_path: Path) -> None:
    """The page and the manifest count the same way, repeats and all."""
    folder = NightFolder(tmp_path / "night", NIGHT).make()
    normalizer = ChunkNormalizer(TABLES, Options(night=NIGHT), folder.parts)
    for path in journalled(folder, calls):
        normalize_chunk(path, normalizer)
    (folder.journal / f"chunk-{CHUNKS - 1:05d}.open").unlink()
    ledger, sums = read_ledger(folder.parts), NightCalls(folder, BEGAN).refresh()
    account = sums.account()
    assert (sums.made, sums.throttled, account.repeated) == (ledger.calls, ledger.throttled, ledger.repeated)
    assert sum(account.outcomes.values()) == len(ledger.customer_ids)


def test_a_night_without_a_call_is_no_trouble(tmp_path: Path) -> None:
    """It began, and nothing came of it."""
    sums = NightCalls(NightFolder(tmp_path / "night", NIGHT).make(), BEGAN).refresh()
    assert sums.made == 0
    assert set(sums.account().outcomes.values()) == {0}
    assert not sums.timeline.series(10).slots
