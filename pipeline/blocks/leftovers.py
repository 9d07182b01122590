"""What no column holds: unknown keys, values that do not fit, what of an answer could not be read.

It is kept in the `extra` of the nearest row, and counted by path in `unknown_fields`; what a column cannot hold goes
to its row's `extra` and to `rejects`. Both ways of an answer into the tables (`collect`, `normalize.kernel`) report
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.blocks.base import Column, Table
from pipeline.blocks.fit import Misfit
from pipeline.blocks.secrets import has_hint, without_secrets, without_signed_url
from pipeline.blocks.shape import Form, Node
from pipeline.blocks.source import row_path
from pipeline.jsontext import Json, dump, loads, type_name

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
        self._written: dict[
            int, dict[str, bytes]
        ] = {}  # the same of rows that have nothing but what is kept as written

    def keep(self, row: int, name: str, found: Json) -> None:
        """What has the same name there stays."""
        if row not in self._rows:
            self._rows[row] = {name: loads(text) for name, text in self._written.pop(row, {}).items()}
        _put(self._rows[row], name, found)

    def keep_written(self, row: int, name: str, text: bytes) -> None:
        """The same of JSON text that `dump` would write just so, without secrets; nor has the name any."""
        if row in self._rows:
            self.keep(row, name, loads(text))
        else:
            _put(self._written.setdefault(row, {}), name, text)

    def path(self, path: str) -> str:
        """A path as seen from the row."""
        around = next((around for around in self._paths if path.startswith(around)), "")
        return path.removeprefix(around).lstrip(".")

    def take(self, rows: int) -> pa.Array[Any]:
        """The column of so many rows; then nothing is kept any more."""
        kept = [*self._rows, *self._written]
        if not kept:
            return pa.nulls(rows, pa.string())
        texts: list[str | bytes] = [without_secrets(dump(extra)) for extra in self._rows.values()]
        texts += map(_object_of, self._written.values())
        places, is_null = np.zeros(rows, np.int32), np.ones(rows, np.bool_)
        places[kept], is_null[kept] = np.arange(len(texts)), False
        self._rows, self._written = {}, {}
        at: Any = pa.array(places, mask=is_null)
        column: pa.Array[Any] = pa.array(texts, pa.string()).take(at)
        return column


def _put(extra: dict[str, Any], name: str, found: Any) -> None:
    extra[name if name not in extra else f"{name}#{len(extra)}"] = found


def _object_of(written: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join([_key_text(name) + text for name, text in written.items()])


@lru_cache(MAX_UNKNOWN_PATHS)
def _key_text(name: str) -> bytes:
    return dump(name).encode() + b":"


class _Path(NamedTuple):
    """Where an unknown key stands, for `unknown_fields` and for `extra`. Its node is held: no other gets its id."""

    node: Node
    told: str
    from_row: str
    is_plain: bool  # it holds nothing secret, and is none of a leak


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

    def written_key(self, about: About, node: Node, row: int, key: str, kind: str, text: bytes) -> None:
        """The same of a value of this type that `dump` would write just as it is written, with nothing secret in it."""
        path = self._path(node, key)
        if not path.is_plain:
            self.unknown_key(about, node, row, key, loads(text))
            return
        self._field(path.told, kind, node.owner).seen.append((about.customer_id, about.record))
        if not node.whole:
            self._extras[node.owner].keep_written(row, path.from_row, text)

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
            from_row = self._extras[node.owner].path(whole)
            is_plain = not has_hint(from_row) and not _is_thrift_leak(key, True)
            path = _Path(node, told, from_row, is_plain)
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
