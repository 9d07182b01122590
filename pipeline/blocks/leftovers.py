"""What no column holds: unknown keys, values that do not fit, what of an answer could not be read.

It is kept in the `extra` of the nearest row, and counted by path in `unknown_fields`; what a column cannot hold goes
to its row's `extra` and to `rejects`. Both ways of an answer into the tables (`collect`, `normalize.kernel`) report
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.blocks.base import Column, Table
from pipeline.blocks.fit import Misfit
from pipeline.blocks.secrets import without_secrets, without_signed_url
from pipeline.blocks.shape import Form, Node
from pipeline.blocks.source import row_path
from pipeline.jsontext import Json, dump, type_name

MAX_UNKNOWN_PATHS = 2000
"""Where keys turn out to be data, every answer brings new ones; past this many they are counted together."""
MAX_UNKNOWN_PATH_LENGTH = 200
MORE_PATHS = "(more)"


class About(NamedTuple):
    """Which answer: `fetched_at` in µs since 1970, `record` its number in the night's journal."""

    customer_id: int
    fetched_at: int
    record: int


@dataclass
class UnknownField:
    """A key that the contract does not know: the table whose row keeps it, and each answer that had it."""

    table: str
    seen: list[tuple[int, int]] = field(default_factory=list)  # (customer_id, record), once per occurrence


class Reject(NamedTuple):
    """A value that fits no column: `raw` is its JSON text."""

    customer_id: int
    table_name: str
    column_name: str
    reason: str
    raw: str
    fetched_at: int
    record: int


class _Extras:
    """What no column of a table holds, by its row."""

    def __init__(self, table: Table) -> None:
        # of the places where its rows stand, longest first; its paths are relative to them
        self._paths = sorted(map(row_path, table.rows), key=len, reverse=True)
        self._rows: dict[int, dict[str, Any]] = {}

    def keep(self, row: int, name: str, found: Json) -> None:
        """What has the same name there stays."""
        extra = self._rows.setdefault(row, {})
        extra[name if name not in extra else f"{name}#{len(extra)}"] = found

    def path(self, path: str) -> str:
        """A path as seen from the row."""
        around = next((around for around in self._paths if path.startswith(around)), "")
        return path.removeprefix(around).lstrip(".")

    def take(self, rows: int) -> pa.Array[Any]:
        """The column of so many rows; then nothing is kept any more."""
        if not self._rows:
            return pa.nulls(rows, pa.string())
        texts = [without_secrets(dump(extra)) for extra in self._rows.values()]
        places, is_null = np.zeros(rows, np.int32), np.ones(rows, np.bool_)
        places[list(self._rows)], is_null[list(self._rows)] = np.arange(len(texts)), False
        self._rows = {}
        at: Any = pa.array(places, mask=is_null)
        column: pa.Array[Any] = pa.array(texts, pa.string()).take(at)
        return column


class _Path(NamedTuple):
    """Where an unknown key stands, for `unknown_fields` and for `extra`. Its node is held: no other gets its id."""

    node: Node
    told: str
    from_row: str


class Leftovers:
    """Of the rows that wait; a row is told by its number among those of its table."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._extras = [_Extras(table) for table in tables]
        self._rejects: list[Reject] = []
        self._unknown: dict[tuple[str, str], UnknownField] = {}
        self._paths: dict[tuple[int, str], _Path] = {}

    def extra_column(self, table: int, rows: int) -> pa.Array[Any]:
        """The column `extra` of a table."""
        return self._extras[table].take(rows)

    def take(self) -> tuple[list[Reject], dict[tuple[str, str], UnknownField]]:
        """The rejects and the unknown keys; then there are none."""
        taken = self._rejects, self._unknown
        self._rejects, self._unknown = [], {}
        return taken

    def reject(self, about: About, table: str, column: str, reason: str, raw: str) -> None:
        """A value (its JSON text) that fits nowhere."""
        customer_id, *told = about
        self._rejects.append(Reject(customer_id, table, column, reason, without_secrets(raw), *told))

    def unknown_key(self, about: About, node: Node, row: int, key: str, found: Json) -> None:
        """A key that no declaration names, in an object at a node; a Thrift leak (`setX: true`) is dropped."""
        if _is_thrift_leak(key, found):
            return
        path = self._path(node, key)
        self._field(path.told, type_name(found), node.owner).seen.append((about.customer_id, about.record))
        if not node.whole:
            self._extras[node.owner].keep(row, path.from_row, found)

    def _field(self, path: str, kind: str, owner: int) -> UnknownField:
        """Where the occurrences of a key are counted."""
        field = self._unknown.get((path, kind))
        if field is None:
            counted = (path if len(self._unknown) < MAX_UNKNOWN_PATHS else MORE_PATHS, kind)
            field = self._unknown.setdefault(counted, UnknownField(self._tables[owner].name))
        return field

    def _path(self, node: Node, key: str) -> _Path:
        """Few keys are unknown, and these often."""
        path = self._paths.get((id(node), key))
        if path is None:
            whole = f"{node.inside}.{key}".lstrip(".")
            told = without_signed_url(whole)[:MAX_UNKNOWN_PATH_LENGTH]
            path = _Path(node, told, self._extras[node.owner].path(whole))
            if len(self._paths) < MAX_UNKNOWN_PATHS:
                self._paths[id(node), key] = path
        return path

    def odd_value(self, about: About, node: Node, row: int, found: Json) -> None:
        """Another form than the contract's: its row keeps it, and `rejects` tells. `[]` says nothing."""
        if found == []:
            return
        table = self._tables[node.places[0].table if node.places else node.owner].name
        wanted = "a list of objects" if node.form is Form.LIST else "an object"
        self.reject(about, table, "", f"expected {wanted}, got {type_name(found)}", dump(found))
        if node.path:
            extras = self._extras[node.outer_owner]
            extras.keep(row, extras.path(node.path), found)

    def misfit(self, about: About, table: int, column: Column, misfit: Misfit) -> None:
        """A value that its column cannot hold as it came."""
        self._extras[table].keep(misfit.row, column.source.split("|")[0], misfit.raw)
        if misfit.reason:
            self.reject(about, self._tables[table].name, column.name, misfit.reason, dump(misfit.raw))


def _is_thrift_leak(key: str, found: Json) -> bool:
    return len(key) > 3 and key.startswith("set") and key[3].isupper() and type(found) is bool
