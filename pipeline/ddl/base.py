"""What a load script is made of, whatever the dialect: tables, steps, comments, statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.schema import is_nullable
from pipeline.ddl.source import Source
from pipeline.ddl.words import quoted

_ALWAYS_THERE = frozenset({"@ordinal", "@place", "@block", "@key"})
"""Sources whose columns are never null: `Column.source` in `blocks.base`."""

PLACEHOLDER = "YOUR_"
"""How everything begins that must be filled in by hand."""

LOADING = "__loading"
"""What the name of a table ends with while it is being filled."""


@dataclass(frozen=True)
class Target:
    """A table to make and fill: its columns in the files' order, its files in the snapshot's folder.

    `rows` is what the manifest counts, None where no snapshot is known; `files` is empty then.
    """

    table: Table
    columns: tuple[Column, ...]
    rows: int | None = None
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def is_by_customer(self) -> bool:
        """Whether its files are sorted by customer_id."""
        return self.columns[0].name == "customer_id"

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The key where it is sure to be unique and never null, else nothing.

        The accounts' tables promise none: two identifiers may lead to one customer, a list may be named twice.
        """
        by_name = {column.name: column for column in self.columns}
        is_sure = all(_is_always_there(by_name[name]) for name in self.table.key)
        return self.table.key if self.table.rows and is_sure else ()

    def must_be(self, column: Column) -> bool:
        """Whether the column is declared NOT NULL."""
        return column.name in self.primary_key or not is_nullable(column)

    @property
    def comment(self) -> str:
        """What a row means, and its key."""
        key = f" Key: {', '.join(self.table.key)}." if self.table.key else ""
        return self.table.meaning + key


def _is_always_there(column: Column) -> bool:
    return not is_nullable(column) or column.source in _ALWAYS_THERE


@dataclass(frozen=True)
class Job:
    """What the script is for: these tables, in this schema, from this snapshot (None: not yet known)."""

    schema: str
    targets: tuple[Target, ...]
    source: Source | None = None

    def base(self, schemes: tuple[str, ...], otherwise: str) -> str:
        """The snapshot's folder where the warehouse can read it; else a place to fill in and copy it to."""
        if self.source is not None and self.source.scheme in schemes:
            return self.source.base
        return f"{otherwise}/{self.source.name if self.source else 'YOUR_SNAPSHOT'}"

    def needs_copy(self, schemes: tuple[str, ...]) -> bool:
        """Whether the snapshot lies where the warehouse cannot read it."""
        return self.source is not None and self.source.scheme not in schemes


@dataclass(frozen=True)
class Step:
    """One part of the script: what it does, why, and its statements, without their semicolons."""

    title: str
    statements: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """One warehouse's way: a type for each kind of column, and the steps of its script.

    `about` gives the lines at the script's top: how to run it, credentials, choices.
    """

    name: str
    types: Mapping[Kind, str]
    about: Callable[[Job], list[str]]
    steps: Callable[[Job], list[Step]]
    schema_parts: int = 2


@dataclass(frozen=True)
class Script:
    """A whole script: comments first, then its steps."""

    about: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def statements(self) -> list[str]:
        """Every statement, in order."""
        return [statement for step in self.steps for statement in step.statements]

    def text(self) -> str:
        """As it is printed. psql's own commands, which begin with a backslash, end with their line."""
        lines = [f"-- {line}".rstrip() for line in self.about]
        for step in (step for step in self.steps if step.statements):
            lines += ["", f"-- {step.title}", *(f"-- {note}" for note in step.notes), ""]
            lines += [
                statement if statement.startswith("\\") else f"{statement};" for statement in step.statements
            ]
        return "\n".join(lines) + "\n"


def column_comment(column: Column) -> str:
    """What the column means, and its unit."""
    return f"{column.meaning} [{column.unit}]" if column.unit else column.meaning


def qualified(schema: str, table: str, mark: str = '"') -> str:
    """A table's name with its schema's, quoted where needed."""
    return ".".join(quoted(part, mark) for part in (*schema.split("."), table))


def schema_name(schema: str, mark: str = '"') -> str:
    """A schema's name, quoted where needed."""
    return ".".join(quoted(part, mark) for part in schema.split("."))


def column_names(target: Target, mark: str = '"') -> list[str]:
    """The columns' names, quoted where needed."""
    return [quoted(column.name, mark) for column in target.columns]


def key_line(target: Target, mark: str = '"', suffix: str = "") -> list[str]:
    """The primary key as a line of CREATE TABLE; none where the table has none."""
    names = ", ".join(quoted(name, mark) for name in target.primary_key)
    return [f"PRIMARY KEY ({names}){suffix}"] if names else []


def fails_unless(rows: int, found: str) -> str:
    """An expression that divides by zero where `found` is another number: SQL's oldest assertion."""
    return f"1 / CASE WHEN {found} = {rows} THEN 1 ELSE 0 END"


def header(dialect: str, job: Job) -> list[str]:
    """The first lines of every script: what it loads, and from where."""
    first = f"capillary-export ddl --dialect {dialect}"
    if job.source is None:
        return [first, f"No --snapshot given: fill in everything that begins with {PLACEHOLDER}.", ""]
    found = job.source.manifest
    made = f"Snapshot {found.snapshot} of night {found.night}, made by version {found.version}"
    return [first, made, f"from {job.source.base}", ""]


def counted(job: Job, way: str) -> list[str]:
    """One query that tells the rows of every table, and fails where a count is not the manifest's.

    `way` is the failing expression, with `{rows}` for the number and `{table}` for the table's name.
    """
    queries = [
        f"SELECT '{target.name}' AS table_name, {way.format(rows=target.rows, table=target.name)} AS row_count"
        f" FROM {qualified(job.schema, target.name)}"
        for target in job.targets
        if target.rows is not None
    ]
    return ["\nUNION ALL ".join(queries)] if queries else []
