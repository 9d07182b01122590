"""Scripts that make the tables in a warehouse and load a snapshot into them, one dialect per file.

Every dialect's file has the same order: its type for each kind of column, the lines at the script's top, then
making, filling and replacing a table. A script replaces all tables as one where the warehouse can, counts the
rows against the manifest before anybody sees them, and keeps views and grants.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.blocks import ACCOUNTS, TABLES
from pipeline.blocks.base import Column, Table
from pipeline.blocks.schema import columns_of, schema_of
from pipeline.ddl import bigquery, databricks, duckdb, postgres, redshift, snowflake
from pipeline.ddl.base import Dialect, Job, Script, Target
from pipeline.ddl.source import Source, find_source
from pipeline.ddl.words import checked_schema
from pipeline.errors import UsageError
from pipeline.store.parquet import fingerprint
from pipeline.store.snapshots import ManifestTable

DIALECTS: dict[str, Dialect] = {
    each.DIALECT.name: each.DIALECT for each in (bigquery, snowflake, redshift, databricks, postgres, duckdb)
}

EVERY_TABLE: tuple[Table, ...] = (*TABLES, *ACCOUNTS)

SCHEMA = "capillary"
"""Where the tables go unless another schema is named."""


def script_for(
    dialect: str, snapshot: str | None = None, tables: Sequence[str] | None = None, schema: str = SCHEMA
) -> Script:
    """The script of a dialect, for all tables or some, from a snapshot's URL or with placeholders.

    Raises UsageError for an unknown dialect, table, schema or snapshot, StorageError where it cannot be read.
    """
    if dialect not in DIALECTS:
        raise UsageError(f"There is no dialect {dialect}.", f"Dialects: {', '.join(DIALECTS)}.")
    wanted = _wanted(tables)
    return script_of(dialect, job_for(find_source(snapshot) if snapshot else None, wanted, schema))


def script_of(dialect: str, job: Job) -> Script:
    """The script of a dialect for a job. Raises UsageError for a schema that the dialect cannot have."""
    way = DIALECTS[dialect]
    if len(checked_schema(job.schema).split(".")) > way.schema_parts:
        raise UsageError(f"{job.schema} is no schema name in {dialect}.", "Give one name without a dot.")
    return Script(tuple(way.about(job)), tuple(way.steps(job)))


def job_for(source: Source | None, tables: Sequence[Table] = (), schema: str = SCHEMA) -> Job:
    """What to load: these tables, or without any all that there are. Raises UsageError."""
    return Job(schema, tuple(_targets(tables, source)), source)


def _wanted(names: Sequence[str] | None) -> list[Table]:
    """The tables of these names, in the order of `capillary-export tables`; none for none. Raises UsageError."""
    if unknown := sorted(set(names or ()) - {table.name for table in EVERY_TABLE}):
        raise UsageError(f"There is no table {unknown[0]}.", "`capillary-export tables` lists them.")
    return [table for table in EVERY_TABLE if table.name in (names or ())]


def _targets(chosen: Sequence[Table], source: Source | None) -> list[Target]:
    """What to make and fill: what the snapshot has; a chosen table must be there."""
    if source is None:
        return [Target(table, tuple(_columns(table, offsets=False))) for table in chosen or EVERY_TABLE]
    found = source.manifest.tables
    if missing := [table.name for table in chosen if table.name not in found]:
        raise UsageError(f"Snapshot {source.name} has no table {missing[0]}.", f"It has {', '.join(found)}.")
    there = [table for table in chosen or EVERY_TABLE if table.name in found]
    return [_target(table, found[table.name], source) for table in there]


def _target(table: Table, found: ManifestTable, source: Source) -> Target:
    files = tuple(file.path for file in found.files)
    for offsets in (False, True):
        columns = _columns(table, offsets=offsets)
        if fingerprint(schema_of(columns, table)) == found.schema_fingerprint:
            return Target(table, tuple(columns), found.rows, files)
    raise UsageError(
        f"Table {table.name} of snapshot {source.name} has other columns than this version declares.",
        f"Use version {source.manifest.version}, which made it, or load a newer snapshot.",
    )


def _columns(table: Table, *, offsets: bool) -> list[Column]:
    """All columns, in the files' order; `offsets`: as `output.keep_offsets` writes them."""
    return columns_of(table, offsets=offsets) if table.rows else list(table.columns)


__all__ = ["DIALECTS", "EVERY_TABLE", "SCHEMA", "job_for", "script_for", "script_of"]
