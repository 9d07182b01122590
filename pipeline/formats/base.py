"""What the night asks of a table format, be it Delta Lake or Iceberg."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.formats.files import DataFile, Shelf

APPLICATION = "capillary-export"
"""Who committed: the prefix of what stands in each commit, and Delta's application id."""


class ClashError(StorageError):
    """A column of the table has another type than the snapshot's; other tables are not concerned."""


@dataclass(frozen=True)
class Run:
    """What a commit brings: the snapshot, the night that made it, the calls that its journal holds."""

    snapshot: str
    night: date
    records: int

    def told(self) -> dict[str, str]:
        """What stands in the commit."""
        told = {"snapshot": self.snapshot, "night": self.night.isoformat(), "records": str(self.records)}
        return {f"{APPLICATION}.{name}": value for name, value in told.items()}


SNAPSHOT = f"{APPLICATION}.snapshot"
"""The word by which a commit of ours is known."""


@dataclass(frozen=True)
class Seen:
    """A table as it was looked at: the newest run in it, and the version that came with it; None where there is none.

    A commit is made upon exactly what was seen. `location` is empty where a table that is not there yet has none;
    `handle` is the library's own, None where there is no table.
    """

    table: str
    location: str
    run: str | None
    version: int | None
    handle: Any


class Opened(Protocol):
    """A table about to be committed to; its data files go to `shelf`. `location` is its URL or path."""

    location: str
    shelf: Shelf

    def commit(self, files: Sequence[DataFile], run: Run) -> int:
        """Replace all rows by those of the files, in one commit. Gives its version.

        Raises TakenError where another commit came in between, UnclearError where nobody can say whether ours did, and
        StorageError where it surely did not.
        """


class Format(Protocol):
    """Tables in one format. Every method raises StorageError."""

    name: str  # as people call it

    def check(self) -> str:
        """Try to reach the tables, without changing any. Gives where they lie."""

    def look(self, table: str) -> Seen:
        """The newest run in a table."""

    def open(self, seen: Seen, schema: pa.Schema) -> Opened:
        """The table as it was seen, to be made if it is not there yet; new columns are added by the commit.

        Raises ClashError.
        """

    def forget(self, table: str, kept: Collection[str], idle_since: datetime) -> None:
        """Let go of the versions of runs that are not among `kept`, but never of the newest version.

        The format's own files that nothing refers to go where they were written before `idle_since`.
        """


def described(schema: pa.Schema, key: str) -> pa.Schema:
    """A schema as the format wants it: every column may be null, so that others can be added to it.

    A column's meaning stands under `key`.
    """
    return pa.schema(
        [
            pa.field(
                one.name, one.type, metadata={key: (one.metadata or {}).get(b"description", b"").decode()}
            )
            for one in schema
        ]
    )


def clash(table: str, column: str, there: object, now: object) -> ClashError:
    """A column whose type has changed: that is no additive change."""
    return ClashError(
        f"The column {column} of the table {table} is {there} there, and {now} in the snapshot.",
        "Drop or rename that table (with its folder); the next `run` makes it anew.",
    )
