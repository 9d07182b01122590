"""Databricks: COPY INTO tables beside the live ones, then INSERT OVERWRITE, one table after the other."""

from __future__ import annotations

from pipeline.blocks.base import Column, Kind
from pipeline.ddl.base import (
    LOADING,
    Dialect,
    Job,
    Step,
    Target,
    column_comment,
    column_names,
    header,
    key_line,
    qualified,
    schema_name,
)
from pipeline.ddl.words import backslash_text, listed, quoted

TYPES = {
    Kind.TEXT: "STRING",
    Kind.INT: "BIGINT",
    Kind.BOOL: "BOOLEAN",
    Kind.DECIMAL: "DECIMAL(38, 9)",
    Kind.INSTANT: "TIMESTAMP",
    Kind.LOCAL: "TIMESTAMP_NTZ",
    Kind.DATE: "DATE",
    Kind.JSON: "STRING",  # extra:path reads a JSON text as it is; VARIANT would round long numbers
}

_READABLE = ("s3", "gs", "az", "abfss")
_OTHERWISE = "/Volumes/YOUR_CATALOG/YOUR_SCHEMA/YOUR_VOLUME"
_FILES_AT_ONCE = 1000
"""COPY INTO takes so many names in FILES; a table of more files is read by its folder."""


def _about(job: Job) -> list[str]:
    lines = [
        *header("databricks", job),
        "Run in the SQL editor on a SQL warehouse, or on compute with Databricks Runtime 13.3 or newer.",
        "Unity Catalog: whoever runs it needs READ FILES on the external location (or READ VOLUME), and USE SCHEMA,",
        "CREATE TABLE and MODIFY. In hive_metastore, which knows no keys, leave out the PRIMARY KEY lines.",
        "Each table is replaced whole, but Databricks commits table by table: everything is loaded and counted in",
        "tables beside the live ones first, so that the replacements follow each other without a wait.",
        "After a new version added columns: DROP the tables it names, and run again.",
    ]
    if job.needs_copy(_READABLE) and job.source:
        copied = f"databricks fs cp --recursive {job.source.base} dbfs:{_OTHERWISE}/{job.source.name}"
        lines += [
            "The snapshot lies where Databricks cannot read it. Copy it into a volume first:",
            f"  {copied}",
        ]
    return lines


def _create(job: Job, target: Target) -> str:
    lines = [_column(target, column) for column in target.columns]
    cluster = "\nCLUSTER BY (customer_id)" if target.is_by_customer else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {qualified(job.schema, target.name, '`')} (\n"
        f"{listed([*lines, *key_line(target, '`')])}\n){cluster}\n"
        f"COMMENT {backslash_text(target.comment)}"
    )


def _column(target: Target, column: Column) -> str:
    must = " NOT NULL" if target.must_be(column) else ""
    return f"{quoted(column.name, '`')} {TYPES[column.kind]}{must} COMMENT {backslash_text(column_comment(column))}"


def _stage(job: Job, target: Target) -> list[str]:
    loading = qualified(job.schema, target.name + LOADING, "`")
    lines = [f"{quoted(column.name, '`')} {TYPES[column.kind]}" for column in target.columns]
    source = backslash_text(f"{_spelled(job.base(_READABLE, _OTHERWISE))}/{target.name}/")
    values = ", ".join(_value(column) for column in target.columns)
    names = [backslash_text(file.rpartition("/")[2]) for file in target.files]
    files = f"\nFILES = ({', '.join(names)})" if 0 < len(names) <= _FILES_AT_ONCE else ""
    staged = [
        f"CREATE OR REPLACE TABLE {loading} (\n{listed(lines)}\n)",
        f"COPY INTO {loading}\nFROM (\n  SELECT {values}\n  FROM {source}\n)\nFILEFORMAT = PARQUET{files}\n"
        "COPY_OPTIONS ('force' = 'true')",
    ]
    if target.rows is not None:
        said = backslash_text(f"{target.name} has not the {target.rows} rows of the manifest")
        staged.append(f"SELECT assert_true(COUNT(*) = {target.rows}, {said}) FROM {loading}")
    return staged


def _value(column: Column) -> str:
    name = quoted(column.name, "`")
    return f"CAST({name} AS {TYPES[column.kind]}) AS {name}"


def _spelled(base: str) -> str:
    """The same place in Databricks' spelling: Azure by container and account."""
    scheme, _, rest = base.partition("://")
    if scheme != "az":
        return base
    container, _, path = rest.partition("/")
    return f"abfss://{container}@YOUR_ACCOUNT.dfs.core.windows.net/{path}"


def _replace(job: Job, target: Target) -> str:
    table, loading = (qualified(job.schema, target.name + end, "`") for end in ("", LOADING))
    names = ", ".join(column_names(target, "`"))
    return f"INSERT OVERWRITE TABLE {table} ({names})\nSELECT {names}\nFROM {loading}"


def _steps(job: Job) -> list[Step]:
    begin = ("SET TIME ZONE 'UTC'", f"CREATE SCHEMA IF NOT EXISTS {schema_name(job.schema, '`')}")
    staged = tuple(statement for target in job.targets for statement in _stage(job, target))
    loading = [qualified(job.schema, target.name + LOADING, "`") for target in job.targets]
    return [
        Step("Tables", (*begin, *(_create(job, target) for target in job.targets))),
        Step("The snapshot's files into tables beside the live ones", staged),
        Step(
            "Replace them, one right after the other", tuple(_replace(job, target) for target in job.targets)
        ),
        Step("Tidy up", tuple(f"DROP TABLE {name}" for name in loading)),
    ]


DIALECT = Dialect("databricks", TYPES, _about, _steps)
