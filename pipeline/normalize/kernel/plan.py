"""The declarations as the numbers that kernel.c reads: which keys stand where, and where each column of a row stands.

The same walk as `blocks.compile` writes as Python, told instead of written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.shape import Form, Node, Place, shape_of
from pipeline.blocks.source import Source, read_source
from pipeline.normalize.body_hash import IMAGES, OF_THE_CALL

FORMS = (Form.OBJECT, Form.LIST, Form.MAP, Form.MAP_OF_LISTS, Form.LEAF)
KINDS = (Kind.TEXT, Kind.INT, Kind.BOOL, Kind.DECIMAL, Kind.INSTANT, Kind.LOCAL, Kind.DATE, Kind.JSON)
OFFSET = len(KINDS)
"""The kind of a column that tells with which offset a date-time was written."""
OUTER, HAS_ROWS, HASHED_WITHOUT_SECRETS, OTHER_SPELLING = 1, 2, 4, 8
NOTHING, READ, COUNT, ORDINAL, KEY, VALUE, TYPE, WORD, ROW, BODY_HASH = range(10)
MAX_PATH = 6
_SPECIAL: dict[str, tuple[int, Kind]] = {
    "@ordinal": (ORDINAL, Kind.INT),
    "@key": (KEY, Kind.TEXT),
    "@value": (VALUE, Kind.TEXT),
    "@type": (TYPE, Kind.TEXT),
    "@place": (WORD, Kind.TEXT),
    "@block": (WORD, Kind.TEXT),
    "@row": (ROW, Kind.JSON),
    "@body_hash": (BODY_HASH, Kind.TEXT),
}


class Plan(NamedTuple):
    """What the kernel is told: numbers, and all names and words, one behind the other; and which nodes it numbers."""

    numbers: npt.NDArray[np.int32]
    words: bytes
    nodes: list[Node]


@dataclass
class _Slot:
    """A key of an object, where its value is kept."""

    name: str
    node: Node | None = None  # what stands there, where it is no leaf
    known_as: int = -1
    flags: int = 0


@dataclass
class _Words:
    """All names, one behind the other."""

    text: bytearray = field(default_factory=bytearray)

    def place(self, word: str) -> tuple[int, int]:
        """Where it begins, and how long it is."""
        encoded = word.encode()
        at = self.text.find(encoded)
        if at < 0:
            at = len(self.text)
            self.text += encoded
        return at, len(encoded)


def write_plan(tables: Sequence[Table], *, offsets: bool) -> Plan:
    """The plan of these tables. `offsets`: a column with the offset stands behind each moment.

    Raises ValueError for a declaration that the kernel does not know.
    """
    words, root = _Words(), shape_of(tables)
    writer = _Writer(tables, words, offsets)
    kinds = [[kind for column in table.columns for kind in writer.kinds(column)] for table in tables]
    numbers = [len(tables), *(number for of_table in kinds for number in (len(of_table), *of_table))]
    numbers += writer.nodes(root)
    names = [slot.name for slot in _slots(root)]
    ranked = sorted((name, slot) for slot, name in enumerate(names) if name not in OF_THE_CALL)
    numbers += [len(ranked), *(slot for _, slot in ranked)]
    nodes = [trail[-1] for trail in _trails(root, ())]
    return Plan(np.array(numbers, np.int32), bytes(words.text), nodes)


def _slots(node: Node) -> list[_Slot]:
    """The keys of a node's objects: its own in their order, then other spellings, then what is not exported."""
    slots = [
        _Slot(name, child if child.form is not Form.LEAF else None) for name, child in node.fields.items()
    ]
    own = {slot.name: number for number, slot in enumerate(slots)}
    slots += [
        _Slot(spelling, None, own[name])
        if node.fields[name].form is Form.LEAF
        else _Slot(spelling, flags=OTHER_SPELLING)
        for spelling, name in node.aliases.items()
        if spelling not in own
    ]
    return slots + [_Slot(name) for name in sorted(node.ignored - set(own))]


class _Writer:
    """Writes node by node; `trail` are the nodes from the top to where it is."""

    def __init__(self, tables: Sequence[Table], words: _Words, offsets: bool) -> None:
        self._tables = tables
        self._words = words
        self._offsets = offsets

    def kinds(self, column: Column) -> list[int]:
        """The kind of a column, and of the one behind it."""
        own = KINDS.index(column.kind)
        return [own, OFFSET] if self._offsets and column.kind is Kind.INSTANT else [own]

    def nodes(self, root: Node) -> list[int]:
        """How many there are, and each of them."""
        trails = list(_trails(root, ()))
        numbers = {id(trail[-1]): number for number, trail in enumerate(trails)}
        written = [len(trails)]
        for trail in trails:
            written += self._node(trail, numbers)
        return written

    def _node(self, trail: tuple[Node, ...], numbers: dict[int, int]) -> list[int]:
        node, slots = trail[-1], _slots(trail[-1])
        flags = OUTER * node.outer | HAS_ROWS * node.has_rows()
        written = [FORMS.index(node.form), flags, len(slots)]
        for slot in slots:
            is_image = HASHED_WITHOUT_SECRETS * (len(trail) == 1 and slot.name in IMAGES)
            written += [*self._words.place(slot.name), numbers[id(slot.node)] if slot.node else -1]
            written += [slot.known_as, slot.flags | is_image]
        written.append(len(node.places))
        for place in node.places:
            written += self._place(trail, place)
        return written

    def _place(self, trail: tuple[Node, ...], place: Place) -> list[int]:
        table = self._tables[place.table]
        when = [_slot_number(trail[-1], name) for name in table.when]
        columns = [told for column in table.columns for told in self._column(trail, place, column)]
        if len(when) > MAX_PATH:
            raise ValueError(f"{table.name}: more than {MAX_PATH} conditions")
        return [place.table, len(when), *when, len(columns), *(number for told in columns for number in told)]

    def _column(self, trail: tuple[Node, ...], place: Place, column: Column) -> Iterator[list[int]]:
        source = read_source(column.source)
        steps = source.steps_out(place.path)
        told: tuple[int, int, list[int], tuple[int, int]]
        if steps is None:
            told = (NOTHING, 0, [], (0, 0))
        elif source.special:
            op, kind = _SPECIAL[source.special]
            if kind is not column.kind or (op != ORDINAL and op != WORD and steps):
                raise ValueError(f"{column.name}: {column.source!r} as {column.kind}")
            told = (op, steps, [], self._word(source, place.path[: len(place.path) - steps]))
        else:
            if source.counts and column.kind is not Kind.INT:
                raise ValueError(f"{column.name}: a count as {column.kind}")
            told = (COUNT if source.counts else READ, steps, _path(trail[-1 - steps], source.path), (0, 0))
        op, steps, path, word = told
        for kind_number in self.kinds(column):
            yield [op, kind_number, steps, len(path), *path, *word]

    def _word(self, source: Source, path: tuple[str, ...]) -> tuple[int, int]:
        if source.special == "@place":
            return self._words.place(path[-1] if path else "")
        return self._words.place(path[0] if path else "") if source.special == "@block" else (0, 0)


def _trails(node: Node, around: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    """Every node that is no leaf, with the nodes around it; the top comes first."""
    yield (*around, node)
    for child in node.fields.values():
        if child.form is not Form.LEAF:
            yield from _trails(child, (*around, node))


def _slot_number(node: Node, name: str) -> int:
    return [slot.name for slot in _slots(node)].index(name)


def _path(node: Node, names: Sequence[str]) -> list[int]:
    """The slots that lead to a value, from an object."""
    if node.form in (Form.MAP, Form.MAP_OF_LISTS) or len(names) > MAX_PATH:
        raise ValueError(f"{'.'.join(names)} of {node.path}: the kernel does not read this")
    path = []
    for name in names:
        path.append(_slot_number(node, name))
        node = node.fields[name]
    return path
