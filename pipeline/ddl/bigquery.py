"""BigQuery: LOAD DATA into temporary tables, then all tables in one multi-statement transaction."""

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
    Kind.INT: "INT64",
    Kind.BOOL: "BOOL",
    Kind.DECIMAL: "NUMERIC",  # precision 38, scale 9: exactly what the files hold
    Kind.INSTANT: "TIMESTAMP",
    Kind.LOCAL: "DATETIME",
    Kind.DATE: "DATE",
    Kind.JSON: "STRING",  # the JSON type keeps numbers as floats; PARSE_JSON(extra) where it is read
}

_READABLE = ("gs",)
_OTHERWISE = "gs://YOUR_BUCKET/capillary"
_CAST = (Kind.INSTANT, Kind.LOCAL)
"""Cast by name on the way in, so that it does not matter which of the two types the loader chooses."""


def _about(job: Job) -> list[str]:
    lines = [
        *header("bigquery", job),
        "Run:  bq query --use_legacy_sql=false --location=YOUR_LOCATION < this-file.sql",
        "as one query: the temporary tables and the transaction live as long as it. Dataset and bucket must be in",
        "the same location; the account needs BigQuery Data Editor and Job User, and Storage Object Viewer.",
        "All tables are replaced as one, by COMMIT. Primary keys are not enforced, they only help the planner.",
        "After a new version added columns: DROP the tables it names, and run again.",
    ]
    if job.needs_copy(_READABLE) and job.source:
        copied = f"gcloud storage cp --recursive {job.source.base} {_OTHERWISE}/"
        lines += ["LOAD DATA reads gs:// alone. Copy the snapshot there first:", f"  {copied}"]
    return lines


def _create(job: Job, target: Target) -> str:
    lines = [_column(target, column) for column in target.columns]
    cluster = "\nCLUSTER BY customer_id" if target.is_by_customer else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {qualified(job.schema, target.name, '`')} (\n"
        f"{listed([*lines, *key_line(target, '`', ' NOT ENFORCED')])}\n){cluster}\n"
        f"OPTIONS (description = {_text(target.comment)})"
    )


def _column(target: Target, column: Column) -> str:
    must = " NOT NULL" if target.must_be(column) else ""
    described = f"OPTIONS (description = {_text(column_comment(column))})"
    return f"{quoted(column.name, '`')} {TYPES[column.kind]}{must} {described}"


def _text(words: str) -> str:
    return backslash_text(words, '"')


def _stage(job: Job, target: Target) -> list[str]:
    base = job.base(_READABLE, _OTHERWISE)
    files = [f"{base}/{file}" for file in target.files] or [f"{base}/{target.name}/*.parquet"]
    uris = listed([backslash_text(file) for file in files], "    ")
    loading = quoted(target.name + LOADING, "`")
    staged = [
        f"LOAD DATA INTO TEMP TABLE {loading}\n"
        f"FROM FILES (\n  format = 'PARQUET',\n  uris = [\n{uris}\n  ]\n)"
    ]
    if target.rows is not None:
        said = backslash_text(f"{target.name} has not the {target.rows} rows of the manifest")
        staged.append(f"ASSERT (SELECT COUNT(*) FROM {loading}) = {target.rows} AS {said}")
    return staged


def _replace(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name, "`")
    names = ", ".join(column_names(target, "`"))
    values = ", ".join(_value(column) for column in target.columns)
    loading = quoted(target.name + LOADING, "`")
    return [f"TRUNCATE TABLE {table}", f"INSERT INTO {table} ({names})\nSELECT {values}\nFROM {loading}"]


def _value(column: Column) -> str:
    name = quoted(column.name, "`")
    return f"CAST({name} AS {TYPES[column.kind]})" if column.kind in _CAST else name


def _steps(job: Job) -> list[Step]:
    schema = f"CREATE SCHEMA IF NOT EXISTS {schema_name(job.schema, '`')}"
    staged = tuple(statement for target in job.targets for statement in _stage(job, target))
    replaced = tuple(statement for target in job.targets for statement in _replace(job, target))
    return [
        Step("Tables", (schema, *(_create(job, target) for target in job.targets))),
        Step("The snapshot's files into temporary tables; nobody sees them", staged),
        Step("All tables as one", ("BEGIN TRANSACTION", *replaced, "COMMIT TRANSACTION")),
    ]


DIALECT = Dialect("bigquery", TYPES, _about, _steps)
