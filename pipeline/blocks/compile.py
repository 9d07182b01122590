"""The flattening function, written from the declarations.

`write_flatten` turns the shape of the answer into the source of one Python function that walks a decoded
answer once and appends one tuple per row to each table's list. The usual answer costs a dictionary look-up
per column; what is odd (an unknown key, a text where an object should be) leaves the fast path through `Odd`.

A row is `(customer_id, *columns, fetched_at, record)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pipeline.blocks.base import Table
from pipeline.blocks.shape import Form, Node, Place, shape_of
from pipeline.blocks.source import read_source
from pipeline.jsontext import Json, dump, type_name

Row = tuple[Any, ...]
Flatten = Callable[[Any, int, int, int, str], None]
"""(answer, customer_id, fetched_at in µs since 1970, record number, body hash) → rows appended."""


class Odd(Protocol):
    """Where the walk reports what the declarations do not foresee. `row` is the number of the row that keeps
    it.
    """

    def keys(self, found: dict[str, Any], node: Node, row: int, customer_id: int) -> None:
        """Keys that the node does not know; other spellings are renamed in place."""

    def value(self, found: Json, node: Node, row: int, customer_id: int) -> None:
        """A value of another form than the node's; never None."""


def compile_flatten(tables: Sequence[Table], rows: Sequence[list[Row]], odd: Odd) -> Flatten:
    """The function that flattens one answer into `rows` (one list per table, cleared but never replaced)."""
    shape = shape_of(tables)
    writer = _Writer(tables)
    source = writer.function(shape)
    scope: dict[str, Any] = {
        "EMPTY": {},
        "ODD": odd,
        "text_value": text_value,
        "type_name": type_name,
        "count": _count,
        "count_entries": _count_entries,
        **{f"N{number}": node for number, node in enumerate(writer.nodes)},
        **{f"K{number}": node.known for number, node in enumerate(writer.nodes)},
        **{f"L{number}": list_ for number, list_ in enumerate(rows)},
        **{f"A{number}": list_.append for number, list_ in enumerate(rows)},
    }
    exec(compile(source, "<flatten>", "exec"), scope)  # noqa: S102 - the source is made here, from declarations only
    flatten: Flatten = scope["flatten"]
    return flatten


def write_flatten(tables: Sequence[Table]) -> str:
    """The source of the flattening function, to read."""
    return _Writer(tables).function(shape_of(tables))


def text_value(value: Json) -> str | None:
    """A map entry's value as text: text as it is, anything else as its JSON text, null as null."""
    if value is None or type(value) is str:
        return value
    return dump(value)


def _count(value: Json) -> int:
    """How many elements a list has; a lone object counts as one, anything else as none."""
    return len(value) if type(value) is list else 1 if type(value) is dict and value else 0


def _count_entries(value: Json) -> int:
    """How many entries a map has; anything else counts as none."""
    return len(value) if type(value) is dict else 0


class _Writer:
    """Writes the function's source, node by node."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        self.nodes: list[Node] = []
        self.lines: list[str] = []

    def function(self, root: Node) -> str:
        self._line(0, "def flatten(o0, cid, at, rec, body_hash):")
        number = self._number(root)
        self._line(1, "if type(o0) is not dict: return ODD.value(o0, N0, 0, cid)")
        self._object(root, number, 1, ["o0"], ["None"], "len(L0)")
        return "\n".join(self.lines)

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _number(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _object(
        self, node: Node, number: int, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """An object: check its keys, open the objects inside, append its rows, walk what has rows further in.

        `objects` and `places` name the variables of the objects on the way here and of their list positions.
        """
        here = objects[-1]
        if node.places:
            row = f"r{number}"
            self._line(depth, f"{row} = len(L{node.places[0].table})")
        self._line(depth, f"if not K{number}.issuperset({here}): ODD.keys({here}, N{number}, {row}, cid)")
        inner = self._open_plain_objects(node, here, depth, row)
        for place in node.places:
            self._append_row(node, place, depth, objects, places, inner)
        self._walk_children(node, depth, objects, places, row, inner)

    def _open_plain_objects(self, node: Node, here: str, depth: int, row: str) -> dict[str, str]:
        """Variables of the objects inside that stand alone, by dotted path from `node`; missing ones are
        EMPTY.
        """
        opened: dict[str, str] = {}
        for name, child in node.fields.items():
            if child.form is not Form.OBJECT:
                continue
            number = self._number(child)
            inner = f"o{number}"
            self._line(depth, f"{inner} = {here}.get({name!r})")
            self._line(depth, f"if type({inner}) is not dict:")
            self._line(depth + 1, f"if {inner} is not None: ODD.value({inner}, N{number}, {row}, cid)")
            self._line(depth + 1, f"{inner} = EMPTY")
            opened[name] = inner
            if child.places:
                continue  # its own row checks the keys
            self._line(
                depth, f"elif not K{number}.issuperset({inner}): ODD.keys({inner}, N{number}, {row}, cid)"
            )
            deeper = self._open_plain_objects(child, inner, depth, row)
            opened.update({f"{name}.{path}": variable for path, variable in deeper.items()})
        return opened

    def _append_row(
        self,
        node: Node,
        place: Place,
        depth: int,
        objects: list[str],
        places: list[str],
        inner: dict[str, str],
    ) -> None:
        table = self.tables[place.table]
        if table.when:
            there = " or ".join(f"{objects[-1]}.get({name!r}) is not None" for name in table.when)
            self._line(depth, f"if {there}:")
            depth += 1
        values = [
            self._value(node, column.source, place.path, objects, places, inner) for column in table.columns
        ]
        self._line(depth, f"A{place.table}((cid, {', '.join([*values, 'at', 'rec'])}))")

    def _value(
        self,
        node: Node,
        column_source: str,
        path: tuple[str, ...],
        objects: list[str],
        places: list[str],
        inner: dict[str, str],
    ) -> str:
        """The expression that reads a column."""
        source = read_source(column_source)
        steps = source.steps_out(path)
        if steps is None:
            return "None"
        holder = objects[-1 - steps]
        if source.special:
            return self._special(source.special, path[: len(path) - steps], holder, places[-1 - steps])
        *outer, last = source.path
        if outer:
            holder = inner[".".join(outer)]
        read = f"{holder}.get({last!r})"
        if not source.counts:
            return read
        for name in source.path:
            node = node.fields[name]
        return f"count_entries({read})" if node.form in (Form.MAP, Form.MAP_OF_LISTS) else f"count({read})"

    @staticmethod
    def _special(name: str, path: tuple[str, ...], here: str, position: str) -> str:
        expressions = {
            "@ordinal": position,
            "@key": "key",
            "@value": "value if type(value) is str else text_value(value)",
            "@type": "type_name(value)",
            "@place": repr(path[-1] if path else ""),
            "@block": repr(path[0] if path else ""),
            "@row": here,
            "@body_hash": "body_hash",
        }
        return expressions[name]

    def _walk_children(
        self,
        node: Node,
        depth: int,
        objects: list[str],
        places: list[str],
        row: str,
        inner: dict[str, str],
        prefix: str = "",
    ) -> None:
        here = inner[prefix.rstrip(".")] if prefix else objects[-1]
        for name, child in node.fields.items():
            if child.form is Form.OBJECT:
                if child.has_rows():
                    chain = [*objects, inner[f"{prefix}{name}"]]
                    self._walk_plain(child, depth, chain, [*places, "None"], row, inner, f"{prefix}{name}.")
            elif child.form in (Form.MAP, Form.MAP_OF_LISTS):
                self._map(child, name, here, depth, objects, places, row)
            elif child.has_rows():
                self._list(child, name, here, depth, objects, places, row)

    def _walk_plain(
        self,
        node: Node,
        depth: int,
        objects: list[str],
        places: list[str],
        row: str,
        inner: dict[str, str],
        prefix: str,
    ) -> None:
        """An object that stands alone: its own row where it is present, or what has rows inside."""
        if node.places:
            self._line(depth, f"if {objects[-1]} is not EMPTY:")
            self._object(node, self._number(node), depth + 1, objects, places, row)
        else:
            self._line(depth, f"if {objects[-1]}:")
            self._walk_children(node, depth + 1, objects, places, row, inner, prefix)

    def _list(
        self, node: Node, name: str, here: str, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """A list of objects, or one object alone; each element gives rows."""
        number = self._number(node)
        many, one, position = f"v{number}", f"o{number}", f"i{number}"
        self._line(depth, f"{many} = {here}.get({name!r})")
        if node.outer:
            self._line(depth, f"if type({many}) is not list: {many} = ({many},)")
            self._line(depth, f"elif not {many}: {many} = (None,)")
        else:
            self._line(depth, f"if {many} is not None:")
            depth += 1
            self._line(depth, f"if type({many}) is not list: {many} = ({many},)")
        self._line(depth, f"for {position}, {one} in enumerate({many}):")
        self._line(depth + 1, f"if type({one}) is not dict:")
        self._line(depth + 2, f"if {one} is not None: ODD.value({one}, N{number}, {row}, cid)")
        self._line(depth + 2, f"{one} = EMPTY" if node.outer else "continue")
        self._object(node, number, depth + 1, [*objects, one], [*places, position], row)

    def _map(
        self, node: Node, name: str, here: str, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """An object whose keys are data; each entry gives rows."""
        number = self._number(node)
        entries, position = f"v{number}", f"i{number}"
        self._line(depth, f"{entries} = {here}.get({name!r})")
        self._line(depth, f"if type({entries}) is dict:")
        self._line(depth + 1, f"for key, entry in {entries}.items():")
        listed = node.form is Form.MAP_OF_LISTS
        values = "entry if type(entry) is list else (entry,)" if listed else "(entry,)"
        self._line(depth + 2, f"for {position}, value in enumerate({values}):")
        for place in node.places:
            self._append_row(node, place, depth + 3, [*objects, entries], [*places, position], {})
        self._line(depth, f"elif {entries} is not None: ODD.value({entries}, N{number}, {row}, cid)")
