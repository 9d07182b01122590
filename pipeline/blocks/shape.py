"""The known shape of the whole answer, put together from every table's declaration.

A tree with one node per place in the JSON: which keys are known there, which tables have their rows there.
The flattening function (`compile.py`) is written from this tree, so a key that no declaration names is seen
as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.source import names_of, read_source


class Form(Enum):
    """What stands at a node."""

    OBJECT = "object"
    LIST = "list"  # of objects; a lone object counts as a list of one
    MAP = "map"  # an object whose keys are data
    MAP_OF_LISTS = "map of lists"  # the same; a list as value gives a row per element
    LEAF = "leaf"  # a value that columns read


@dataclass
class Place:
    """A table whose rows stand at a node: its number among the tables and the names that led there."""

    table: int
    path: tuple[str, ...]


@dataclass
class Node:
    """One place in the answer."""

    form: Form
    path: str  # such as "profiles[].attribution", for people
    fields: dict[str, Node] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)  # other spelling → the one that is read
    ignored: set[str] = field(default_factory=set)  # known keys that are not exported
    outer: bool = False  # a list that gives a row even where it is empty or missing
    whole: bool = False  # some column keeps the whole object, so unknown keys are not lost
    owner: int = 0  # the table whose row keeps what is odd in here
    outer_owner: int = 0  # the table whose row keeps this, where its form is odd
    known: frozenset[str] = frozenset()  # the keys that need no second look
    kinds: dict[str, set[Kind]] = field(default_factory=dict)  # of the columns that read a key

    @property
    def inside(self) -> str:
        """The path of what stands in here, for people: an element's, for a list."""
        return f"{self.path}[]" if self.form is Form.LIST else self.path

    def has_rows(self) -> bool:
        """Whether some table has rows here or further in."""
        return bool(self.places) or any(child.has_rows() for child in self.fields.values())


_SUFFIXES = {"{}[]": Form.MAP_OF_LISTS, "{}": Form.MAP, "[]?": Form.LIST, "[]": Form.LIST}


def shape_of(tables: Sequence[Table]) -> Node:
    """The tree of all tables. Raises ValueError where two declarations contradict each other."""
    root = Node(Form.OBJECT, "")
    for number, table in enumerate(tables):
        for rows in table.rows:
            _place_table(root, table, number, rows)
    _complete(root, owner=0)
    return root


def _place_table(root: Node, table: Table, number: int, rows: str) -> None:
    chain = [root]  # the objects from the top down to the row
    always = [True]  # whether each of them gives at least one row of this table
    for part, name in zip(rows.split(".") if rows else (), names_of(rows), strict=True):
        form = next((form for suffix, form in _SUFFIXES.items() if part.endswith(suffix)), Form.OBJECT)
        chain.append(_child(chain[-1], name, form))
        chain[-1].outer |= part.endswith("?")
        always = [*(before and part.endswith("?") for before in always), True]
    here = chain[-1]
    if table.when and not here.places:
        raise ValueError(f"{table.name}: rows under a condition cannot be the first at {rows!r}")
    here.places.append(Place(number, names_of(rows)))
    for path, _ in table.ignore:
        _place_ignored(here, path.split("."))
    for column in table.columns:
        _place_column(chain, always, names_of(rows), column)


def _place_ignored(node: Node, path: list[str]) -> None:
    for name in path[:-1]:
        node = _child(node, name, Form.OBJECT)
    node.ignored.add(path[-1])


def _place_column(chain: list[Node], always: list[bool], row_path: tuple[str, ...], column: Column) -> None:
    source = read_source(column.source)
    chain[-1].whole |= source.special == "@row"
    steps = source.steps_out(row_path)
    if not source.special and steps:
        chain[-1 - steps].kinds.setdefault(source.path[-1], set()).add(column.kind)
    if source.special or steps is None or not always[-1 - steps]:
        return  # what stands further out is known only where every such object has a row here to hold it
    node = chain[-1 - steps]
    for name in source.path[:-1]:
        node = _child(node, name, Form.OBJECT)
    _child(node, source.path[-1], None if source.counts else Form.LEAF)
    node.kinds.setdefault(source.path[-1], set()).add(column.kind)
    node.aliases.update(dict.fromkeys(source.others, source.path[-1]))


def _child(node: Node, name: str, form: Form | None) -> Node:
    """The child of that name, made where missing. `form` None: whatever it turns out to be."""
    child = node.fields.get(name)
    if child is None:
        child = node.fields[name] = Node(form or Form.LEAF, f"{node.inside}.{name}".lstrip("."))
    elif form is not None and child.form is not form:
        if not (child.form is Form.LEAF and not child.places):
            raise ValueError(f"{child.path} is declared as {child.form.value} and as {form.value}")
        child.form = form
    return child


def _complete(node: Node, owner: int) -> None:
    """Once the tree stands: who keeps what is odd at each node, and which keys are known there."""
    node.outer_owner = owner
    node.owner = node.places[0].table if node.places else owner
    node.known = frozenset(node.fields) | frozenset(node.ignored)
    for child in node.fields.values():
        _complete(child, node.owner)
