"""The flattening functions, written from the declarations.

`write_flatten` turns the shape of the answer into the source of one Python function that walks a decoded
answer once and appends its rows to each table's list. It takes any answer: what is odd (an unknown key,
a text where an object should be) is told to `Odd`.

Nine answers in ten have nothing odd in their shape. `compile_usual` makes a decoder that takes these alone, with a
class for each place in the answer, and a function for what it gives: an attribute costs a fifth of a look-up.

A row is `*columns, answer`: the last is the place of its answer among those that were flattened. The rows of a table
stand in one flat list, one behind the other: a column is a slice of it, and no row costs an object that lives on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from pipeline.blocks.base import Kind, Table
from pipeline.blocks.shape import Form, Node, Place, shape_of
from pipeline.blocks.source import read_source
from pipeline.jsontext import Json, JsonFloat, dump, type_name

Rows = list[Any]
"""A table's rows, flat."""
_ROW_NUMBER = re.compile(r"\br\d+\b")
NULL = msgspec.Raw(b"null")
"""What a missing number is in a column whose numbers are kept as the JSON text that they are."""
Learned = Mapping[str, frozenset[str]]
"""Keys that no declaration names and many answers have, by the path of the objects that have them."""
Flatten = Callable[[Any, int, int, str], None]
"""(answer, customer_id, the answer's place, body hash) → rows appended."""


class Odd(Protocol):
    """Where the walk reports what the declarations do not foresee. `row` is the number of the row that keeps
    it.
    """

    def keys(self, found: dict[str, Any], node: Node, row: int, customer_id: int) -> None:
        """Keys that the node does not know; other spellings are renamed in place."""

    def value(self, found: Json, node: Node, row: int, customer_id: int) -> None:
        """A value of another form than the node's; never None."""


def width_of(table: Table) -> int:
    """How many values a row has."""
    return len(table.columns) + 1


def compile_flatten(tables: Sequence[Table], rows: Sequence[Rows], odd: Odd) -> Flatten:
    """The function that flattens one answer into `rows` (one list per table, cleared but never replaced)."""
    writer = _Writer(tables)
    return _compiled(writer, writer.function(shape_of(tables)), rows, odd)


def compile_usual(
    tables: Sequence[Table], rows: Sequence[Rows], odd: Odd, learned: Learned = MappingProxyType({})
) -> tuple[msgspec.json.Decoder[Any], Flatten]:
    """A decoder that refuses every answer of another shape than declared, and the function that flattens the others.

    Both ways give the same rows. Keys that were `learned` are no other shape, but odd as ever.
    """
    writer = _UsualWriter(tables, odd, learned)
    shape = shape_of(tables)
    flatten = _compiled(writer, writer.function(shape), rows, odd)
    return msgspec.json.Decoder(writer.class_of(shape), float_hook=JsonFloat), flatten


def _compiled(writer: _Writer, source: str, rows: Sequence[Rows], odd: Odd) -> Flatten:
    scope: dict[str, Any] = {
        "EMPTY": {},
        "UNSET": msgspec.UNSET,
        "ODD": odd,
        "text_value": text_value,
        "type_name": type_name,
        "count": _count,
        "count_entries": _count_entries,
        **writer.scope(),
        **{f"N{number}": node for number, node in enumerate(writer.nodes)},
        **{f"K{number}": node.known for number, node in enumerate(writer.nodes)},
        **{f"L{number}": list_ for number, list_ in enumerate(rows)},
        **{f"A{number}": list_.extend for number, list_ in enumerate(rows)},
    }
    exec(compile(source, "<flatten>", "exec"), scope)  # noqa: S102 - the source is made here, from declarations only
    flatten: Flatten = scope["flatten"]
    return flatten


def _without_idle_counts(lines: Sequence[str]) -> list[str]:
    """The lines without those that count a table's rows for nobody."""
    named = Counter(name for line in lines for name in _ROW_NUMBER.findall(line))
    counts = {line: _ROW_NUMBER.match(line.lstrip()) for line in lines}
    return [line for line in lines if (match := counts[line]) is None or named[match[0]] > 1]


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
        self.counted: set[int] = set()  # nodes whose elements a column counts
        self.lines: list[str] = []

    def function(self, root: Node) -> str:
        self._line(0, "def flatten(o0, cid, nth, body_hash):")
        number = self._number(root)
        self._open_answer(root)
        self._object(root, number, 1, ["o0"], ["None"], self._rows_so_far(0))
        return "\n".join(_without_idle_counts(self.lines))

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _number(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def scope(self) -> dict[str, Any]:
        """What the source names beside the nodes and lists."""
        return {}

    # How an object is read: from the decoder's dictionaries, here

    def _get(self, holder: str, name: str) -> str:
        return f"{holder}.get({name!r})"

    def _is_there(self, one: str, node: Node) -> str:
        """Whether there is anything in it that gives rows."""
        return f"{one} is not EMPTY" if node.places else one

    def _open_answer(self, _: Node) -> None:
        self._line(1, "if type(o0) is not dict: return ODD.value(o0, N0, 0, cid)")

    def _open_object(self, node: Node, number: int, holder: str, depth: int, row: str) -> None:
        """`o{number}`, which `holder` has; EMPTY where it is no object."""
        one = f"o{number}"
        self._line(depth, f"if type({one}) is not dict:")
        self._line(depth + 1, f"if {one} is not None: ODD.value({one}, N{number}, {row}, cid)")
        self._line(depth + 1, f"{one} = EMPTY")
        if not node.places:  # else its own row checks the keys
            self._line(depth, f"elif not K{number}.issuperset({one}): ODD.keys({one}, N{number}, {row}, cid)")

    def _open_element(self, node: Node, number: int, holder: str, depth: int, row: str) -> None:
        """`o{number}`, an element of a list that `holder` has."""
        one = f"o{number}"
        self._line(depth, f"if type({one}) is not dict:")
        self._line(depth + 1, f"if {one} is not None: ODD.value({one}, N{number}, {row}, cid)")
        self._line(depth + 1, f"{one} = EMPTY" if node.outer else "continue")

    def _check_keys(self, number: int, here: str, depth: int, row: str) -> None:
        self._line(depth, f"if not K{number}.issuperset({here}): ODD.keys({here}, N{number}, {row}, cid)")

    # The walk

    def _rows_so_far(self, table: int) -> str:
        return f"len(L{table}) // {width_of(self.tables[table])}"

    def _object(
        self, node: Node, number: int, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """An object: check its keys, open the objects inside, append its rows, walk what has rows further in.

        `objects` and `places` name the variables of the objects on the way here and of their list positions.
        """
        here = objects[-1]
        if node.places:
            row = f"r{number}"
            self._line(depth, f"{row} = {self._rows_so_far(node.places[0].table)}")
        self._check_keys(number, here, depth, row)
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
            self._line(depth, f"{inner} = {self._get(here, name)}")
            self._open_object(child, number, here, depth, row)
            opened[name] = inner
            if child.places:
                continue  # its own row opens what is inside
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
            there = " or ".join(f"{self._get(objects[-1], name)} is not None" for name in table.when)
            self._line(depth, f"if {there}:")
            depth += 1
        values = [
            self._value(node, column.source, place.path, objects, places, inner) for column in table.columns
        ]
        self._line(depth, f"A{place.table}(({', '.join([*values, 'nth'])},))")

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
        read = self._get(holder, last)
        if not source.counts:
            return read
        for name in source.path:
            node = node.fields[name]
        self.counted.add(id(node))
        return f"count_entries({read})" if node.form in (Form.MAP, Form.MAP_OF_LISTS) else f"count({read})"

    @staticmethod
    def _special(name: str, path: tuple[str, ...], here: str, position: str) -> str:
        expressions = {
            "@ordinal": position,
            "@key": "key",
            "@value": "value if type(value) is str else text_value(value)",
            "@type": "'string' if type(value) is str else type_name(value)",
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
        self._line(depth, f"if {self._is_there(objects[-1], node)}:")
        if node.places:
            self._object(node, self._number(node), depth + 1, objects, places, row)
        else:
            self._walk_children(node, depth + 1, objects, places, row, inner, prefix)

    def _list(
        self, node: Node, name: str, here: str, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """A list of objects, or one object alone; each element gives rows."""
        number = self._number(node)
        many, one, position = f"v{number}", f"o{number}", f"i{number}"
        self._line(depth, f"{many} = {self._get(here, name)}")
        if node.outer:
            self._line(depth, f"if type({many}) is not list: {many} = ({many},)")
            self._line(depth, f"elif not {many}: {many} = (None,)")
        else:
            self._line(depth, f"if {many} is not None:")
            depth += 1
            self._line(depth, f"if type({many}) is not list: {many} = ({many},)")
        self._line(depth, f"for {position}, {one} in enumerate({many}):")
        self._open_element(node, number, here, depth + 1, row)
        self._object(node, number, depth + 1, [*objects, one], [*places, position], row)

    def _map(
        self, node: Node, name: str, here: str, depth: int, objects: list[str], places: list[str], row: str
    ) -> None:
        """An object whose keys are data; each entry gives rows."""
        number = self._number(node)
        entries, position = f"v{number}", f"i{number}"
        self._line(depth, f"{entries} = {self._get(here, name)}")
        self._line(depth, f"if type({entries}) is dict:")
        self._line(depth + 1, f"for key, entry in {entries}.items():")
        inner = depth + 2
        if node.form is Form.MAP_OF_LISTS:
            values = "entry if type(entry) is list else (entry,)"
            self._line(inner, f"for {position}, value in enumerate({values}):")
            inner += 1
        else:
            self._line(inner, f"{position}, value = 0, entry")
        for place in node.places:
            self._append_row(node, place, inner, [*objects, entries], [*places, position], {})
        self._line(depth, f"elif {entries} is not None: ODD.value({entries}, N{number}, {row}, cid)")


class _UsualWriter(_Writer):
    """The same walk over the instances that a strict decoder gives; what it cannot tell apart stays a dictionary.

    `structs` knows the variables that are instances, by the number of their node.
    """

    def __init__(self, tables: Sequence[Table], odd: Odd, learned: Learned) -> None:
        super().__init__(tables)
        self.odd = odd
        self.learned = learned
        self.structs: dict[str, int] = {}
        self.classes: dict[int, type[msgspec.Struct]] = {}
        self.told_apart = {
            name for table in tables for name in table.when
        }  # null or not: not so as JSON text

    def scope(self) -> dict[str, Any]:
        """The empty instances, and what becomes of the keys that are no columns' own."""
        numbers = sorted(set(self.structs.values()))
        empty = {f"E{number}": self.class_of(self.nodes[number])() for number in numbers}
        return empty | {f"S{number}": self._second_look(self.nodes[number]) for number in numbers}

    def _spare(self, node: Node) -> list[str]:
        """The keys that an object may have besides its own: other spellings, and what was learned."""
        learned = self.learned.get(node.path, frozenset()) | self.learned.get(node.inside, frozenset())
        spelt = {name for name, own in node.aliases.items() if node.fields[own].form is Form.LEAF}
        return sorted((spelt | learned) - node.known)

    def _second_look(self, node: Node) -> Callable[[Any, int, int], None]:
        """The function that tells `Odd` of an instance's spare keys, and gives it what they are renamed to."""
        attributes = {name: _attribute(name) for name in self._spare(node)}
        odd, aliases = self.odd, node.aliases

        def look(one: Any, row: int, customer_id: int) -> None:
            found = {name: getattr(one, attribute) for name, attribute in attributes.items()}
            found = {name: value for name, value in found.items() if value is not msgspec.UNSET}
            own = {
                name: getattr(one, _attribute(name))
                for name in {aliases[key] for key in found if key in aliases}
            }
            found |= {name: None if value == NULL else value for name, value in own.items()}
            odd.keys(found, node, row, customer_id)
            for name in own:
                if own[name] in (None, NULL) and found[name] is not None:
                    setattr(one, _attribute(name), found[name])

        return look

    def class_of(self, node: Node) -> type[msgspec.Struct]:
        """The class of a node's objects: the known keys, null where they are missing, and no others."""
        made = self.classes.get(id(node))
        if made is None:
            types: dict[str, Any] = dict.fromkeys(node.known, Any) | dict.fromkeys(_thrift_leaks(node), bool)
            types |= {name: self._type_of(child, node, name) for name, child in node.fields.items()}
            spare = self._spare(node)
            types |= dict.fromkeys(spare, Any)
            missing: dict[str, Any] = {name: NULL for name, wanted in types.items() if wanted == msgspec.Raw}
            missing |= dict.fromkeys(spare, msgspec.UNSET)
            names = {_attribute(name): name for name in sorted(types)}
            made = self.classes[id(node)] = msgspec.defstruct(
                f"At_{len(self.classes)}",
                [(attribute, types[name], missing.get(name)) for attribute, name in names.items()],
                rename=names,
                forbid_unknown_fields=True,
                gc=False,
            )
        return made

    def _type_of(self, node: Node, around: Node, name: str) -> Any:
        if (
            node.form is Form.LEAF
            and around.kinds.get(name) == {Kind.DECIMAL}
            and name not in self.told_apart
        ):
            return msgspec.Raw
        if node.form in (Form.MAP, Form.MAP_OF_LISTS):
            return dict[str, Any] | None
        if node.form is Form.LEAF or (node.form is Form.LIST and not node.has_rows()):
            return Any
        one: Any = dict[str, Any] if _stays_dictionary(node) else self.class_of(node)
        if node.form is Form.OBJECT:
            return one | None
        # A lone `{}` counts as none, which an instance cannot tell: where a column counts, no lone object is usual.
        return list[one | None] | None if id(node) in self.counted else list[one | None] | one | None

    def _note(self, node: Node, number: int, holder: str) -> bool:
        """Note that a variable is an instance, if it is."""
        if holder in self.structs and not _stays_dictionary(node):
            self.structs[f"o{number}"] = number
        return f"o{number}" in self.structs

    def _get(self, holder: str, name: str) -> str:
        return f"{holder}.{_attribute(name)}" if holder in self.structs else super()._get(holder, name)

    def _is_there(self, one: str, node: Node) -> str:
        return f"{one} is not E{self.structs[one]}" if one in self.structs else super()._is_there(one, node)

    def _open_answer(self, root: Node) -> None:
        self.structs["o0"] = 0

    def _open_object(self, node: Node, number: int, holder: str, depth: int, row: str) -> None:
        if self._note(node, number, holder):
            self._line(depth, f"if o{number} is None: o{number} = E{number}")
            if not node.places:  # else its own row checks the keys
                self._check_keys(number, f"o{number}", depth, row)
        else:
            super()._open_object(node, number, holder, depth, row)

    def _open_element(self, node: Node, number: int, holder: str, depth: int, row: str) -> None:
        if self._note(node, number, holder):
            instead = f"o{number} = E{number}" if node.outer else "continue"
            self._line(depth, f"if o{number} is None: {instead}")
        else:
            super()._open_element(node, number, holder, depth, row)

    def _check_keys(self, number: int, here: str, depth: int, row: str) -> None:
        if here not in self.structs:
            super()._check_keys(number, here, depth, row)
        elif spare := self._spare(self.nodes[number]):
            there = " or ".join(f"{self._get(here, name)} is not UNSET" for name in spare)
            self._line(depth, f"if {there}: S{self.structs[here]}({here}, {row}, cid)")


def _thrift_leaks(node: Node) -> set[str]:
    """`setX: true` beside a key `x`, which is dropped; seen where keys have two spellings."""
    names = [name for name in node.fields if node.aliases and name[0].islower()]
    return {f"set{name[0].upper()}{name[1:]}" for name in names} - node.known


def _attribute(name: str) -> str:
    """The name of a class's attribute for a key."""
    return name if name.isidentifier() and not iskeyword(name) else f"key_{name.encode().hex()}"


def _stays_dictionary(node: Node) -> bool:
    """Whether a column wants the whole object, or `{}` gives other rows than nulls do: those of a list inside."""
    return node.whole or (node.form is Form.OBJECT and not node.places and _has_outer_list(node))


def _has_outer_list(node: Node) -> bool:
    return any(
        child.outer or (child.form is Form.OBJECT and _has_outer_list(child))
        for child in node.fields.values()
    )
