"""DuckDB: everything in one transaction, table layouts included."""

from __future__ import annotations

from pipeline.blocks.base import Kind
from pipeline.ddl.base import (
    Dialect,
    Job,
    Step,
    Target,
    column_comment,
    counted,
    header,
    qualified,
    schema_name,
)
from pipeline.ddl.words import listed, quoted, standard_text

TYPES = {
    Kind.TEXT: "VARCHAR",
    Kind.INT: "BIGINT",
    Kind.BOOL: "BOOLEAN",
    Kind.DECIMAL: "DECIMAL(38, 9)",
    Kind.INSTANT: "TIMESTAMP WITH TIME ZONE",
    Kind.LOCAL: "TIMESTAMP",
    Kind.DATE: "DATE",
    Kind.JSON: "JSON",  # keeps the text as it is, digits included
}

_WHOLE = "CASE WHEN count(*) = {rows} THEN {rows} ELSE error('{table} has not the {rows} rows of the manifest') END"
_READABLE = ("file", "s3", "gs", "gcs", "az", "abfss", "https")
_SECRETS = {
    "s3": "INSTALL httpfs; CREATE SECRET (TYPE s3, PROVIDER credential_chain);",
    "gs": "INSTALL httpfs; CREATE SECRET (TYPE gcs, KEY_ID 'YOUR_HMAC_KEY', SECRET 'YOUR_HMAC_SECRET');",
    "az": "INSTALL azure; CREATE SECRET (TYPE azure, PROVIDER credential_chain, ACCOUNT_NAME 'YOUR_ACCOUNT');",
}


def _about(job: Job) -> list[str]:
    lines = [
        *header("duckdb", job),
        "Run:  duckdb YOUR_DATABASE.duckdb < this-file.sql",
        "All tables are replaced as one: whoever reads meanwhile sees the old ones until COMMIT.",
        "No primary keys: DuckDB would keep an index of each in memory, and the export proves the keys itself.",
    ]
    secret = _SECRETS.get(job.source.scheme if job.source else "")
    return [*lines, f"Credentials, once before: {secret}"] if secret else lines


def _create(job: Job, target: Target) -> list[str]:
    table = qualified(job.schema, target.name)
    lines = [
        f"{quoted(column.name)} {TYPES[column.kind]}{' NOT NULL' if target.must_be(column) else ''}"
        for column in target.columns
    ]
    return [
        f"CREATE OR REPLACE TABLE {table} (\n{listed(lines)}\n)",
        f"COMMENT ON TABLE {table} IS {standard_text(target.comment)}",
        *(
            f"COMMENT ON COLUMN {table}.{quoted(column.name)} IS {standard_text(column_comment(column))}"
            for column in target.columns
        ),
    ]


def _fill(job: Job, target: Target) -> list[str]:
    base = job.base(_READABLE, "YOUR_EXPORT/snapshots")
    files = [f"{base}/{file}" for file in target.files] or [f"{base}/{target.name}/*.parquet"]
    paths = listed([standard_text(file) for file in files], "    ")
    table = qualified(job.schema, target.name)
    return [f"INSERT INTO {table} BY NAME\n  SELECT * FROM read_parquet([\n{paths}\n  ])"]


def _steps(job: Job) -> list[Step]:
    begin = (f"CREATE SCHEMA IF NOT EXISTS {schema_name(job.schema)}", "BEGIN TRANSACTION")
    return [
        Step("Begin", begin),
        *(Step(target.name, (*_create(job, target), *_fill(job, target))) for target in job.targets),
        Step("Whole? Each count is the manifest's, or nothing is replaced", tuple(counted(job, _WHOLE))),
        Step("From here on everybody sees the new tables", ("COMMIT",)),
    ]


DIALECT = Dialect("duckdb", TYPES, _about, _steps)
