"""Snowflake: a stage over the snapshot, COPY INTO temporary tables, then all tables in one transaction."""

from __future__ import annotations

from pipeline.blocks.base import Column, Kind
from pipeline.ddl.base import (
    LOADING,
    Dialect,
    Job,
    Step,
    Target,
    column_comment,
    fails_unless,
    header,
)
from pipeline.ddl.words import escaped_text, listed, quoted

TYPES = {
    Kind.TEXT: "VARCHAR",
    Kind.INT: "NUMBER(19, 0)",
    Kind.BOOL: "BOOLEAN",
    Kind.DECIMAL: "NUMBER(38, 9)",
    Kind.INSTANT: "TIMESTAMP_LTZ(6)",  # what Snowflake itself makes of isAdjustedToUTC=true; _TZ adds an offset
    Kind.LOCAL: "TIMESTAMP_NTZ(6)",
    Kind.DATE: "DATE",
    Kind.JSON: "VARCHAR",  # COPY puts a text into VARIANT as a text; PARSE_JSON(extra):path where it is read
}

STAGE = "capillary_snapshot"

_READABLE = ("file", "s3", "gs", "gcs", "az", "abfss")
_FORMAT = "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)"
"""Without USE_LOGICAL_TYPE the timestamps come as bare numbers."""

_FILES_AT_ONCE = 1000
"""COPY INTO takes so many names in FILES; a table of more files is read by its folder."""


def _name(name: str) -> str:
    """Upper case inside quote marks, as Snowflake keeps what is not quoted: RAW and "RAW" are one."""
    written = quoted(name)
    return written.upper() if written != name and name == name.lower() else written


def _qualified(schema: str, name: str) -> str:
    return ".".join(_name(part) for part in (*schema.split("."), name))


def _about(job: Job) -> list[str]:
    return [
        *header("snowflake", job),
        "Run:  snow sql --filename this-file.sql     (stops at the first error; snowsql: -o exit_on_error=true)",
        "in one session: temporary tables, time zone and transaction live as long as it.",
        "A local snapshot goes up with PUT, which the Snowsight worksheet does not know; for s3, gs and az fill in",
        "STORAGE_INTEGRATION = YOUR_STORAGE_INTEGRATION (an administrator makes it: CREATE STORAGE INTEGRATION).",
        "All tables are replaced as one, by COMMIT; SWAP WITH would commit each alone and swap their grants too.",
        "Primary keys are not enforced. No CLUSTER BY: rows are inserted in order of customer_id, which prunes as",
        "well and costs no reclustering. After a new version added columns: DROP the tables it names, run again.",
    ]


def _create(job: Job, target: Target) -> str:
    key = ", ".join(_name(name) for name in target.primary_key)
    lines = [_column(target, column) for column in target.columns]
    return (
        f"CREATE TABLE IF NOT EXISTS {_qualified(job.schema, target.name)} (\n"
        f"{listed([*lines, *([f'PRIMARY KEY ({key})'] if key else [])])}\n)\n"
        f"COMMENT = {escaped_text(target.comment)}"
    )


def _column(target: Target, column: Column) -> str:
    must = " NOT NULL" if target.must_be(column) else ""
    return f"{_name(column.name)} {TYPES[column.kind]}{must} COMMENT {escaped_text(column_comment(column))}"


def _stage(job: Job) -> list[str]:
    """The stage over the snapshot's folder; a local snapshot is put up into one that ends with the session."""
    stage = _qualified(job.schema, STAGE)
    if job.source and job.source.scheme == "file":
        return [
            f"CREATE OR REPLACE TEMPORARY STAGE {stage}",
            *(_put(job.source.base, file, stage) for target in job.targets for file in target.files),
        ]
    url = escaped_text(_stage_url(job.base(_READABLE, "s3://YOUR_BUCKET/export/snapshots")) + "/")
    integration = "STORAGE_INTEGRATION = YOUR_STORAGE_INTEGRATION"
    return [f"CREATE OR REPLACE TEMPORARY STAGE {stage}\n  URL = {url}\n  {integration}"]


def _put(base: str, file: str, stage: str) -> str:
    source = escaped_text(f"file://{base}/{file}")
    return f"PUT {source} @{stage}/{file.rpartition('/')[0]}/ AUTO_COMPRESS = FALSE OVERWRITE = TRUE"


def _stage_url(base: str) -> str:
    """The same place in Snowflake's spelling."""
    scheme, _, rest = base.partition("://")
    if scheme in ("gs", "gcs"):
        return f"gcs://{rest}"
    if scheme == "az":
        return f"azure://YOUR_ACCOUNT.blob.core.windows.net/{rest}"
    if scheme == "abfss":
        container, _, path = rest.partition("@")
        account, _, folders = path.partition("/")
        return f"azure://{account.replace('.dfs.', '.blob.')}/{container}/{folders}"
    return base


def _copy(job: Job, target: Target) -> list[str]:
    table, loading = (_qualified(job.schema, target.name + end) for end in ("", LOADING))
    names = [escaped_text(file.rpartition("/")[2]) for file in target.files]
    files = f"\n  FILES = ({', '.join(names)})" if 0 < len(names) <= _FILES_AT_ONCE else ""
    copied = [
        f"CREATE OR REPLACE TEMPORARY TABLE {loading} LIKE {table}",
        f"COPY INTO {loading}\n  FROM @{_qualified(job.schema, STAGE)}/{target.name}/{files}\n  {_FORMAT}\n"
        "  MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE\n  ON_ERROR = ABORT_STATEMENT",
    ]
    if target.rows is not None:
        copied.append(
            f"SELECT {fails_unless(target.rows, 'COUNT(*)')} AS {target.name}_is_whole FROM {loading}"
        )
    return copied


def _replace(job: Job, target: Target) -> list[str]:
    table, loading = (_qualified(job.schema, target.name + end) for end in ("", LOADING))
    names = ", ".join(_name(column.name) for column in target.columns)
    order = "\nORDER BY customer_id" if target.is_by_customer else ""
    return [f"DELETE FROM {table}", f"INSERT INTO {table} ({names})\nSELECT {names}\nFROM {loading}{order}"]


def _steps(job: Job) -> list[Step]:
    schema = ".".join(_name(part) for part in job.schema.split("."))
    begin = ("ALTER SESSION SET TIMEZONE = 'UTC'", f"CREATE SCHEMA IF NOT EXISTS {schema}")
    copied = tuple(statement for target in job.targets for statement in _copy(job, target))
    replaced = tuple(statement for target in job.targets for statement in _replace(job, target))
    return [
        Step("Tables", (*begin, *(_create(job, target) for target in job.targets))),
        Step("The snapshot's files into temporary tables; nobody sees them", (*_stage(job), *copied)),
        Step("All tables as one", ("BEGIN TRANSACTION", *replaced, "COMMIT")),
    ]


DIALECT = Dialect("snowflake", TYPES, _about, _steps)
