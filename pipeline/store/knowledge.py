"""What is known across nights: of every ID ever asked for, what its answers said and how often they changed.

One file per night, `work/known/<night>.known`: a copy of what the journals say, made for the planner. It can be made
again at any time, so a damaged one is no more than a missing one (`KnowledgeError`).

    file    = magic "CAPKNOW\\n" head_bytes:u32 head_crc32:u32 head column*
    head    = JSON: version, count, applied {night: records}, crc32 {column: number}
    column  = its array as it lies in memory, little-endian, from the next multiple of 64 bytes

Columns are mapped, not read: ten million IDs cost what the system can give back at any time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.outcome import Outcome
from pipeline.store.atomic import replacing
from pipeline.store.columns import Column, Sorter, let_go_of_columns, map_file, slices
from pipeline.store.ledger import Groups, Verdicts, group_by_id

Ints = npt.NDArray[Any]
MAGIC = b"CAPKNOW\n"
VERSION = 1
ALIGNMENT = 64
_LENGTHS = struct.Struct("<II")
_BLOCK = 1 << 20
"""So many IDs are looked up at a time: sorted among themselves they walk the known ones forward."""
_PIECE_BYTES = 1 << 20
SLICE = 128 << 10
"""So many verdicts are worked on at once: each takes some hundred bytes meanwhile, and a night has millions."""


class KnowledgeError(ValueError):
    """The file is missing, damaged or of another version: it has to be made again."""


@dataclass(frozen=True)
class Knowledge:
    """One row per ID ever asked for; all columns are of one length, in the order of the IDs.

    The unsigned columns do not go below 0: cast before subtracting.
    """

    customer_ids: Ints  # int64, sorted, distinct: as asked for, negative for the key of another identifier
    outcomes: Ints  # int8, the Outcome of the last verdict; DEFERRED where nobody knows any more
    seen_at: Ints  # uint32, seconds since 1970 of the last answer with a final verdict; 0: never answered
    first_seen_at: Ints  # uint32, of the first
    body_hashes: Ints  # uint64, of the last body, 0: none yet; the lowest bit: it was a partial answer's
    answers: Ints  # uint16, bodies seen, saturating
    changes: Ints  # uint16, bodies that differed from the one before, saturating
    next_dates: Ints  # int32, days since 1970 of the first date after the last body on which something expires; 0: none

    def __len__(self) -> int:
        return len(self.customer_ids)

    def part(self, start: int, stop: int) -> Knowledge:
        """Some neighbouring rows."""
        return Knowledge(*(getattr(self, name)[start:stop] for name in DTYPES))

    def places_of(self, customer_ids: Ints) -> tuple[Ints, Ints]:
        """The rows of these IDs, in their order, and whether each is known; an unknown one's row is any row."""
        places = np.zeros(len(customer_ids), np.intp)
        is_known = np.zeros(len(customer_ids), bool)
        if len(self):
            for start in range(0, len(customer_ids), _BLOCK):
                part = slice(start, start + _BLOCK)
                self._look_up(np.asarray(customer_ids[part]), places[part], is_known[part])
        return places, is_known

    def _look_up(self, wanted: Ints, places: Ints, is_known: Ints) -> None:
        """Fill in one block's rows."""
        order = np.argsort(wanted, kind="stable")
        at = np.searchsorted(self.customer_ids, wanted[order])
        places[order] = np.minimum(at, len(self) - 1)
        is_known[:] = self.customer_ids[places] == wanted


DTYPES: dict[str, np.dtype[Any]] = {
    "customer_ids": np.dtype("<i8"),
    "outcomes": np.dtype("<i1"),
    "seen_at": np.dtype("<u4"),
    "first_seen_at": np.dtype("<u4"),
    "body_hashes": np.dtype("<u8"),
    "answers": np.dtype("<u2"),
    "changes": np.dtype("<u2"),
    "next_dates": np.dtype("<i4"),
}
assert list(DTYPES) == [field.name for field in fields(Knowledge)]


def nothing_known() -> Knowledge:
    """Before the first night."""
    return Knowledge(**{name: np.empty(0, dtype) for name, dtype in DTYPES.items()})


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in front of the columns."""

    version: int
    count: int
    applied: dict[str, int]
    crc32: dict[str, int]


@dataclass(frozen=True)
class Known:
    """Knowledge, and the nights that it was made from, with how many records each had then."""

    knowledge: Knowledge
    applied: dict[str, int]


def write_knowledge(path: Path, known: Known) -> None:
    """Write the file; it appears whole or not at all. Raises StorageError."""
    crcs = {name: _crc32(column) for name, column in _columns(known.knowledge)}
    head = msgspec.json.encode(_Head(VERSION, len(known.knowledge), known.applied, crcs))
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + _LENGTHS.pack(len(head), zlib.crc32(head)) + head)
        for _, column in _columns(known.knowledge):
            file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
            for one in slices(len(column)):
                file.write(column[one].data)


def _columns(knowledge: Knowledge) -> Iterator[tuple[str, Ints]]:
    """One after the other; the memory of the last one is given back."""
    for name, dtype in DTYPES.items():
        yield name, np.ascontiguousarray(getattr(knowledge, name), dtype)
        let_go_of_columns()


def _crc32(column: Ints) -> int:
    checksum = 0
    for one in slices(len(column)):
        checksum = zlib.crc32(column[one].data, checksum)
    return checksum


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def read_knowledge(path: Path) -> Known:
    """The file's columns, mapped and checked. Raises KnowledgeError."""
    try:
        with path.open("rb") as file:
            head = _read_head(file)
            columns = dict(_read_columns(file, head))
    except OSError as exc:
        raise KnowledgeError(f"Cannot read {path}: {exc.strerror or exc}.") from exc
    except (ValueError, struct.error, msgspec.MsgspecError) as exc:
        raise KnowledgeError(f"{path} is damaged: {exc}.") from exc
    return Known(Knowledge(**columns), head.applied)


def read_applied(path: Path) -> dict[str, int]:
    """Only from which nights a file was made. Raises KnowledgeError."""
    try:
        with path.open("rb") as file:
            return _read_head(file).applied
    except (OSError, ValueError, struct.error, msgspec.MsgspecError) as exc:
        raise KnowledgeError(f"Cannot read {path}: {exc}.") from exc


def _read_head(file: BinaryIO) -> _Head:
    start = file.read(len(MAGIC) + _LENGTHS.size)
    if not start.startswith(MAGIC):
        raise ValueError("it does not begin as one of ours")
    head_bytes, checksum = _LENGTHS.unpack_from(start, len(MAGIC))
    encoded = file.read(head_bytes)
    if zlib.crc32(encoded) != checksum:
        raise ValueError("its head has a bad checksum")
    head = msgspec.json.decode(encoded, type=_Head)
    if head.version != VERSION:
        raise ValueError(f"its version is {head.version}, not {VERSION}")
    return head


def _read_columns(file: BinaryIO, head: _Head) -> Iterator[tuple[str, Ints]]:
    """Checked by reading in pieces, then mapped: what is looked at to check it does not stay in memory."""
    position, piece = file.tell(), bytearray(_PIECE_BYTES)
    mapped = map_file(file)
    for name, dtype in DTYPES.items():
        position = _aligned(position)
        column = np.frombuffer(mapped, dtype, head.count, position)
        if _crc32_of(file, position, column.nbytes, piece) != head.crc32.get(name):
            raise ValueError(f"its column {name} has a bad checksum")
        position += column.nbytes
        yield name, column


def _crc32_of(file: BinaryIO, position: int, size: int, piece: bytearray) -> int:
    checksum, view = 0, memoryview(piece)
    file.seek(position)
    while size > 0 and (read := file.readinto(view[: min(size, len(view))])):  # type: ignore[attr-defined]
        checksum = zlib.crc32(view[:read], checksum)
        size -= read
    return checksum


# Applying a night


def apply(knowledge: Knowledge, verdicts: Verdicts, scratch: Path | None = None) -> Knowledge:
    """What is known after these verdicts too. Applied twice they count twice: see `night.known`.

    A failure tells nothing of the customer but that it was the last verdict. Of bodies, full answers are compared
    with full ones and partial ones with partial ones; a partial one after a full one is passed over, because what
    it lacks has not changed. What is older than an answer known already (a night published late) adds to the counts
    only. What is new lies in files in `scratch`, if it is much (`store.columns`).
    """
    after = {name: Column(dtype, scratch) for name, dtype in DTYPES.items()}
    for piece in _applied(knowledge, verdicts, scratch):
        for name, column in after.items():
            column.add(getattr(piece, name))
    return Knowledge(**{name: column.finished() for name, column in after.items()})


def _applied(knowledge: Knowledge, verdicts: Verdicts, scratch: Path | None) -> Iterator[Knowledge]:
    """The same, by ID, some at a time."""
    start = 0
    for piece in _by_ids(verdicts, scratch):
        stop = int(np.searchsorted(knowledge.customer_ids, piece.customer_ids[-1], "right"))
        yield from _with_news(knowledge, start, stop, piece)
        start = stop
        let_go_of_columns()
    yield from (
        knowledge.part(start + one.start, start + one.stop) for one in slices(len(knowledge) - start, SLICE)
    )


def _with_news(knowledge: Knowledge, start: int, stop: int, verdicts: Verdicts) -> Iterator[Knowledge]:
    """The known ones from `start` to `stop` and the night's, `SLICE` of the known ones at a time."""
    news = _news(knowledge.part(start, stop), verdicts)
    ids, first = news["customer_ids"], 0
    for one in slices(stop - start, SLICE):
        known = knowledge.part(start + one.start, start + one.stop)
        is_last = start + one.stop == stop
        last = len(ids) if is_last else int(np.searchsorted(ids, known.customer_ids[-1], "right"))
        yield _merged(known, {name: column[first:last] for name, column in news.items()})
        first = last
    if start == stop:
        yield Knowledge(**news)


def _by_ids(verdicts: Verdicts, scratch: Path | None) -> Iterator[Verdicts]:
    """Those of the smallest IDs first, some at a time; all of an ID together, in their order."""
    names = [field.name for field in fields(Verdicts)]
    sorter = Sorter({name: getattr(verdicts, name).dtype for name in names}, scratch)
    for one in slices(len(verdicts.customer_ids), SLICE):
        sorter.add(**{name: getattr(verdicts, name)[one] for name in names})
    for rows in sorter.slices():
        yield Verdicts(*(rows[name] for name in names))


def _news(knowledge: Knowledge, verdicts: Verdicts) -> dict[str, Ints]:
    """The night's IDs as they are after it."""
    groups = group_by_id(verdicts.customer_ids)
    customer_ids = verdicts.customer_ids[groups.order[groups.starts]]
    places, is_known = knowledge.places_of(customer_ids)
    before = {name: _before(getattr(knowledge, name), places, is_known) for name in DTYPES}
    night = _Night.of(verdicts, groups, before["seen_at"])
    after = {**before, "customer_ids": customer_ids} | _seen(night, before) | _said(night, before)
    return {name: after[name].astype(dtype) for name, dtype in DTYPES.items()}


def _before(column: Ints, places: Ints, is_known: Ints) -> Ints:
    """What a column says of these rows; 0 of those that are not known."""
    if not len(column):
        return np.zeros(len(places), column.dtype)
    found: Ints = np.where(is_known, column[places], column.dtype.type(0))
    return found


@dataclass(frozen=True)
class _Night:
    """A night's verdicts, sorted by ID."""

    groups: Groups
    rows: Ints  # to which of the night's IDs each verdict belongs
    seconds: Ints  # int64
    outcomes: Ints
    body_hashes: Ints
    next_dates: Ints
    is_late: Ints  # older than an answer known before

    @classmethod
    def of(cls, verdicts: Verdicts, groups: Groups, seen_at: Ints) -> _Night:
        order = groups.order
        rows = np.repeat(np.arange(len(groups.starts), dtype=np.int32), groups.sizes())
        seconds = verdicts.fetched_at[order] // 1_000_000
        told = (verdicts.outcomes[order], verdicts.body_hashes[order], verdicts.next_dates[order])
        return cls(groups, rows, seconds, *told, seconds < seen_at[rows])


def _seen(night: _Night, before: dict[str, Ints]) -> dict[str, Ints]:
    """The last verdict of each ID, and when it answered first and last."""
    is_answer, starts = night.outcomes != Outcome.FAILED, night.groups.starts
    last = Groups(np.arange(len(is_answer)), starts).last_that_counts(is_answer)
    answered_at = np.maximum.reduceat(np.where(is_answer, night.seconds, 0), starts)
    never = np.iinfo(np.uint32).max
    first = np.minimum.reduceat(np.where(is_answer, night.seconds, never), starts)
    first = np.minimum(first, np.where(before["first_seen_at"], before["first_seen_at"], never))
    return {
        "outcomes": np.where(night.is_late[last], before["outcomes"], night.outcomes[last]),
        "seen_at": np.maximum(answered_at, before["seen_at"]),
        "first_seen_at": np.where(first == never, 0, first),
    }


def _said(night: _Night, before: dict[str, Ints]) -> dict[str, Ints]:
    """What the bodies of each ID said, compared with the one before."""
    count = len(night.groups.starts)
    has_body = night.body_hashes != 0
    bodies = np.flatnonzero(has_body & ~night.is_late)
    rows = night.rows[bodies]
    marked = _marked(night.body_hashes[bodies], night.outcomes[bodies] == Outcome.PARTIAL)
    kept = _comparable(rows, marked, before["body_hashes"])
    bodies, rows, marked = bodies[kept], rows[kept], marked[kept]
    previous = _the_one_before(rows, marked, before["body_hashes"])
    differs = (previous != 0) & (previous != marked) & (_is_partial(previous) == _is_partial(marked))
    late = np.bincount(night.rows[has_body & night.is_late], minlength=count)
    last = np.append(rows[1:] != rows[:-1], True)[: len(rows)]
    body_hashes, next_dates = before["body_hashes"].copy(), before["next_dates"].copy()
    body_hashes[rows[last]] = marked[last]
    next_dates[rows[last]] = night.next_dates[bodies[last]]
    return {
        "body_hashes": body_hashes,
        "answers": _counted_up(before["answers"], np.bincount(rows, minlength=count) + late),
        "changes": _counted_up(before["changes"], np.bincount(rows[differs], minlength=count)),
        "next_dates": next_dates,
    }


def _marked(hashes: Ints, is_partial: Ints) -> Ints:
    """The hashes, their lowest bit telling whose they are; never 0."""
    whole = np.maximum(hashes & ~np.uint64(1), np.uint64(2))
    marked: Ints = whole | is_partial.astype(np.uint64)
    return marked


def _is_partial(marked: Ints) -> Ints:
    found: Ints = (marked & np.uint64(1)).astype(bool)
    return found


def _comparable(rows: Ints, marked: Ints, known: Ints) -> Ints:
    """All bodies but the partial ones behind a full one."""
    is_full = ~_is_partial(marked)
    fulls = np.cumsum(is_full)
    first = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])[: len(rows)])
    sizes = np.diff(first, append=len(rows))
    before_the_id = np.repeat(fulls[first] - is_full[first], sizes)
    was_full = (known[rows] != 0) & ~_is_partial(known[rows])
    kept: Ints = is_full | ~(was_full | (fulls > before_the_id))
    return kept


def _the_one_before(rows: Ints, marked: Ints, known: Ints) -> Ints:
    """The body before each in the night; for an ID's first the one known before; 0 where there is none."""
    previous = np.zeros_like(marked)
    previous[1:] = marked[:-1]
    is_first = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
    return np.where(is_first, known[rows], previous)


def _counted_up(before: Ints, more: Ints) -> Ints:
    counted: Ints = np.minimum(before + more, np.iinfo(before.dtype).max)
    return counted


def _merged(knowledge: Knowledge, after: dict[str, Ints]) -> Knowledge:
    """The new rows put in their places, the known ones replaced; one column at a time."""
    places, is_known = knowledge.places_of(after["customer_ids"])
    is_new = ~is_known
    at = np.searchsorted(knowledge.customer_ids, after["customer_ids"][is_new])
    where = places + np.cumsum(is_new) - is_new
    where[is_new] = at + np.arange(len(at))
    merged = {}
    for name in DTYPES:
        column = np.insert(getattr(knowledge, name), at, after[name][is_new])
        column[where] = after[name]
        merged[name] = column
    return Knowledge(**merged)
