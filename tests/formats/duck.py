"""Runs queries in DuckDB with its extensions for Delta Lake and Iceberg, in an environment of its own:
`python duck.py OUT QUERY …`; OUT is a Parquet file, or - for a statement without an answer.

The extensions come as wheels, for one version of DuckDB; the tests' own DuckDB is a newer one that has none yet.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import duckdb


def connected() -> duckdb.DuckDBPyConnection:
    """A database in memory that knows the formats, and the object store of the environment."""
    connection = duckdb.connect()
    for name in ("httpfs", "avro", "delta", "iceberg"):
        (folder,) = importlib.import_module(f"duckdb_extension_{name}").__path__
        (file,) = Path(folder).rglob("*.duckdb_extension")
        connection.execute(f"LOAD '{file}'")
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['AWS_ACCESS_KEY_ID']}', "
            f"SECRET '{os.environ['AWS_SECRET_ACCESS_KEY']}', REGION 'us-east-1', "
            f"ENDPOINT '{urlsplit(endpoint).netloc}', USE_SSL false, URL_STYLE 'path')"
        )
    return connection


if __name__ == "__main__":
    connection = connected()
    connection.execute("SET TimeZone = 'UTC'")
    for out, query in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        if out == "-":
            connection.execute(query)
        else:
            connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet)")
