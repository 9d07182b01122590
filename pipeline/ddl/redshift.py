"""Redshift: COPY into temporary tables, then all tables in one transaction."""

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
    fails_unless,
    header,
    key_line,
    qualified,
    schema_name,
)
from pipeline.ddl.words import escaped_text, listed, quoted

TYPES = {
    Kind.TEXT: "VARCHAR(65535)",
    Kind.INT: "BIGINT",
    Kind.BOOL: "BOOLEAN",
    Kind.DECIMAL: "DECIMAL(38, 9)",
    Kind.INSTANT: "TIMESTAMPTZ",
    Kind.LOCAL: "TIMESTAMP",
    Kind.DATE: "DATE",
    Kind.JSON: "VARCHAR(65535)",  # COPY puts a text into SUPER as a text; JSON_PARSE(extra) where it is read
}

_READABLE = ("s3",)
_OTHERWISE = "s3://YOUR_BUCKET/capillary"
_ROLE = "arn:aws:iam::YOUR_ACCOUNT:role/YOUR_ROLE"


def _about(job: Job) -> list[str]:
    lines = [
        *header("redshift", job),
        'Run:  psql --set ON_ERROR_STOP=1 --file this-file.sql "host=YOUR_CLUSTER port=5439 dbname=YOUR_DATABASE"',
        "in one session. YOUR_ROLE may list and read the bucket, which is in the cluster's region, and is attached",
        "to the cluster; where it has a default role, IAM_ROLE default serves.",
        "All tables are replaced as one, by COMMIT (TRUNCATE would commit by itself, so DELETE). Primary keys are",
        "not enforced, they only help the planner. A text of more than 65535 bytes stops the COPY, and so do",
        "Parquet files in a compression that your cluster does not read: output.compression: snappy serves all.",
        "After a new version added columns: DROP the tables it names, and run again.",
    ]
    if job.needs_copy(_READABLE) and job.source:
        copied = f"aws s3 cp --recursive {job.source.base} {_OTHERWISE}/{job.source.name}"
        lines += ["COPY reads s3:// alone. Copy the snapshot there first:", f"  {copied}"]
    return lines


def _create(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name)
    lines = [
        f"{quoted(column.name)} {TYPES[column.kind]}{' NOT NULL' if target.must_be(column) else ''}"
        for column in target.columns
    ]
    keys = (
        "\nDISTSTYLE KEY\nDISTKEY (customer_id)\nCOMPOUND SORTKEY (customer_id)"
        if target.is_by_customer
        else ""
    )
    return [
        f"CREATE TABLE IF NOT EXISTS {table} (\n{listed([*lines, *key_line(target)])}\n){keys}",
        f"COMMENT ON TABLE {table} IS {escaped_text(target.comment)}",
        *(
            f"COMMENT ON COLUMN {table}.{quoted(column.name)} IS {escaped_text(column_comment(column))}"
            for column in target.columns
        ),
    ]


def _stage(job: Job, target: Target) -> list[str]:
    """COPY goes by position and fills timestamps without a zone; the zone comes on the way into the table."""
    loading = quoted(target.name + LOADING)
    lines = [f"{quoted(column.name)} {_loading_type(column)}" for column in target.columns]
    source = escaped_text(f"{job.base(_READABLE, _OTHERWISE)}/{target.name}/part-")
    staged = [
        f"DROP TABLE IF EXISTS {loading}",
        f"CREATE TEMP TABLE {loading} (\n{listed(lines)}\n)",
        f"COPY {loading}\nFROM {source}\nIAM_ROLE {escaped_text(_ROLE)}\nFORMAT AS PARQUET",
    ]
    if target.rows is not None:
        staged.append(
            f"SELECT {fails_unless(target.rows, 'COUNT(*)')} AS {target.name}_is_whole FROM {loading}"
        )
    return staged


def _loading_type(column: Column) -> str:
    return TYPES[Kind.LOCAL if column.kind is Kind.INSTANT else column.kind]


def _replace(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name)
    names = ", ".join(column_names(target))
    values = ", ".join(_value(column) for column in target.columns)
    loading = quoted(target.name + LOADING)
    order = "\nORDER BY customer_id" if target.is_by_customer else ""
    return [f"DELETE FROM {table}", f"INSERT INTO {table} ({names})\nSELECT {values}\nFROM {loading}{order}"]


def _value(column: Column) -> str:
    name = quoted(column.name)
    return f"{name} AT TIME ZONE 'UTC'" if column.kind is Kind.INSTANT else name


def _steps(job: Job) -> list[Step]:
    schema = f"CREATE SCHEMA IF NOT EXISTS {schema_name(job.schema)}"
    tables = tuple(statement for target in job.targets for statement in _create(job, target))
    staged = tuple(statement for target in job.targets for statement in _stage(job, target))
    replaced = tuple(statement for target in job.targets for statement in _replace(job, target))
    return [
        Step("Tables", (schema, *tables)),
        Step("The snapshot's files into temporary tables; nobody sees them", staged),
        Step("All tables as one", ("BEGIN", *replaced, "COMMIT")),
    ]


DIALECT = Dialect("redshift", TYPES, _about, _steps, schema_parts=1)
