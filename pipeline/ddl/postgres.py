"""PostgreSQL: psql pulls each table's rows out of `capillary-export csv`, all in one transaction."""

from __future__ import annotations

import shlex

from pipeline.blocks.base import Kind
from pipeline.ddl.base import (
    Dialect,
    Job,
    Step,
    Target,
    column_comment,
    column_names,
    counted,
    header,
    key_line,
    qualified,
    schema_name,
)
from pipeline.ddl.words import listed, quoted, standard_text

TYPES = {
    Kind.TEXT: "text",
    Kind.INT: "bigint",
    Kind.BOOL: "boolean",
    Kind.DECIMAL: "numeric(38, 9)",
    Kind.INSTANT: "timestamp with time zone",
    Kind.LOCAL: "timestamp without time zone",
    Kind.DATE: "date",
    Kind.JSON: "json",  # keeps the text as it is; jsonb would refuse \u0000 and forget keys that come twice
}

_WHOLE = "count(*) / CASE WHEN count(*) = {rows} THEN 1 ELSE 0 END"


def _about(job: Job) -> list[str]:
    return [
        *header("postgres", job),
        "Run:  psql --no-psqlrc --file this-file.sql YOUR_DATABASE",
        "PostgreSQL reads no Parquet: \\copy starts `capillary-export csv`, which writes a table's rows as CSV, so",
        "psql must find capillary-export in its PATH and the snapshot where this file says. No superuser needed.",
        "All tables are replaced as one: readers keep last night's rows until COMMIT and are never locked out, and",
        "views and grants stay. After a new version added columns: DROP the tables it names, and run again.",
    ]


def _create(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name)
    lines = [
        f"{quoted(column.name)} {TYPES[column.kind]}{' NOT NULL' if target.must_be(column) else ''}"
        for column in target.columns
    ]
    statements = [f"CREATE TABLE IF NOT EXISTS {table} (\n{listed([*lines, *key_line(target)])}\n)"]
    if target.is_by_customer and not target.primary_key:
        index = quoted(f"{target.name}_customer_id")
        statements.append(f"CREATE INDEX IF NOT EXISTS {index} ON {table} (customer_id)")
    statements.append(f"COMMENT ON TABLE {table} IS {standard_text(target.comment)}")
    return statements + [
        f"COMMENT ON COLUMN {table}.{quoted(column.name)} IS {standard_text(column_comment(column))}"
        for column in target.columns
    ]


def _fill(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name)
    place = job.source.base if job.source else "YOUR_EXPORT"
    reader = shlex.join(["capillary-export", "csv", target.name, "--snapshot", place])
    names = ", ".join(column_names(target))
    return [
        f"DELETE FROM {table}",
        f"\\copy {table} ({names}) FROM PROGRAM {standard_text(reader)} WITH (FORMAT csv)",
    ]


def _steps(job: Job) -> list[Step]:
    stop = (
        "\\set ON_ERROR_STOP on",
        "\\set QUIET on",
        "SET client_min_messages = warning",
        f"CREATE SCHEMA IF NOT EXISTS {schema_name(job.schema)}",
    )
    tables = tuple(statement for target in job.targets for statement in _create(job, target))
    rows = tuple(statement for target in job.targets for statement in _fill(job, target))
    vacuum = tuple(f"VACUUM (ANALYZE) {qualified(job.schema, target.name)}" for target in job.targets)
    return [
        Step("Tables", (*stop, *tables)),
        Step(
            "Rows: last night's out, tonight's in; division by zero means a count that is not the manifest's",
            ("BEGIN", *rows, *counted(job, _WHOLE), "COMMIT"),
        ),
        Step("Give back the space of last night's rows", vacuum),
    ]


DIALECT = Dialect("postgres", TYPES, _about, _steps, schema_parts=1)
