"""Answers that kill the normalizer: remembered with the night, and `failed` in its tables. `fence` finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pipeline import __version__
from pipeline.errors import StorageError
from pipeline.normalize.chunk import ChunkNormalizer, name_parts, read_in
from pipeline.normalize.parts import PartFiles
from pipeline.outcome import NO_VERDICTS, Outcome
from pipeline.store.atomic import write_atomically
from pipeline.store.journal import Record, chunk_number, read_chunk
from pipeline.store.parts import chunk_files

REASON_CODE = -20
"""In `outcomes.reason_code`: the answer came, and kills the normalizer."""


class SetAside(msgspec.Struct):
    """An answer that kills the normalizer. `fetched_at` in µs since 1970.

    No pydantic here: each child would have it in memory.
    """

    customer_id: int
    fetched_at: int
    reason: str
    chunk: int
    version: str


class _File(msgspec.Struct):
    answers: list[SetAside] = []


def set_aside_path(parts: Path) -> Path:
    """Where a night remembers them: beside its parts."""
    return parts.parent / "set_aside.json"


def write_set_aside(parts: Path, answers: list[SetAside]) -> None:
    """Remember them. Raises StorageError."""
    write_atomically(
        set_aside_path(parts), msgspec.json.format(msgspec.json.encode(_File(answers)), indent=1)
    )


def read_set_aside(parts: Path) -> list[SetAside]:
    """The answers that this version of the program has set aside. Raises StorageError."""
    path = set_aside_path(parts)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"Cannot read {path}.", "Move it away: `run` finds those answers again.") from exc
    return [one for one in found.answers if one.version == __version__]


Aside = dict[tuple[int, int], SetAside]


def by_call(answers: Iterable[SetAside]) -> Aside:
    """To look them up by whom a call asked for, and when."""
    return {(one.customer_id, one.fetched_at): one for one in answers}


def normalize_chunk_without(chunk: Path, normalizer: ChunkNormalizer, aside: Aside) -> None:
    """Make the parts of a sealed chunk. Raises StorageError, JournalError."""
    name_parts(read_in_without(chunk, normalizer, aside))


def read_in_without(chunk: Path, normalizer: ChunkNormalizer, aside: Aside) -> PartFiles:
    """The parts of a sealed chunk, whole but for their names. Raises StorageError, JournalError."""
    for old in chunk_files(normalizer.parts, chunk_number(chunk)):
        old.unlink()  # a table may have had rows only of an answer that is set aside now
    if not aside:
        return read_in(chunk, normalizer)
    for records in by_answer(chunk):
        add_all(normalizer, records, aside, chunk_number(chunk))
    return normalizer.end(chunk_number(chunk))


def by_answer(chunk: Path) -> Iterator[list[Record]]:
    """A chunk's records, those that belong together (the pages of an answer, and it) in one list."""
    waiting: list[Record] = []
    for record in read_chunk(chunk):
        waiting.append(record)
        if record.outcome != Outcome.PAGE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def add_all(normalizer: ChunkNormalizer, records: list[Record], aside: Aside, chunk: int) -> None:
    """Add an answer's records; of one that was set aside only that it failed, and why."""
    last = records[-1]
    one = aside.get((last.customer_id, last.fetched_at))
    if one is not None and last.outcome not in NO_VERDICTS:
        records = [*records[:-1], as_failed(last, one.reason)]
    for record in records:
        normalizer.add(record, chunk)


def as_failed(record: Record, reason: str) -> Record:
    """The verdict on an answer that was set aside."""
    about = msgspec.json.encode({**record.about(), "reason": reason})
    return record._replace(outcome=Outcome.FAILED, reason_code=REASON_CODE, meta=about)
