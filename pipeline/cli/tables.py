"""Commands about tables: the dictionary, scripts for warehouses, CSV."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline.cli.app import JsonFlag, app
from pipeline.cli.showing import as_grid, show, while_read
from pipeline.errors import UsageError


@app.command(epilog="Example: capillary-export tables loyalty_programs")
def tables(
    table: Annotated[str | None, typer.Argument(metavar="TABLE", help="One table; default all.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """The data dictionary."""
    from pipeline.blocks.dictionary import rows as dictionary_rows

    found = [row for row in dictionary_rows() if table in (None, row["table"])]
    if not found:
        known = ", ".join(dict.fromkeys(row["table"] for row in dictionary_rows()))
        raise UsageError(f"There is no table {table}.", f"Tables: {known}.")
    shown = [
        (
            row["table"],
            f"{row['column']}{' *' if row['key'] else ''}",
            row["type"],
            "" if row["nullable"] else "not null",
            row["path"],
            f"{row['meaning']} [{row['unit']}]" if row["unit"] else row["meaning"],
        )
        for row in found
    ]
    grid = as_grid(("table", "column (* key)", "type", "", "JSON path", "meaning [unit]"), shown)
    show({"columns": found}, grid, as_json)
    return 0


@app.command(
    epilog="Example: capillary-export ddl --dialect duckdb --snapshot demo-export | duckdb analytics.duckdb"
)
def ddl(
    dialect: Annotated[
        str, typer.Option(metavar="D", help="bigquery, snowflake, redshift, databricks, postgres or duckdb.")
    ],
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A snapshot's folder or manifest.json, or the export folder."),
    ] = None,
    tables: Annotated[str | None, typer.Option(metavar="a,b", help="Only these tables; default all.")] = None,
    schema: Annotated[str, typer.Option(metavar="NAME", help="Where the tables go.")] = "capillary",
) -> int:
    """A script for a warehouse: its tables, and a snapshot's load."""
    from pipeline.ddl import script_for

    wanted = [name.strip() for name in tables.split(",")] if tables else None
    script = script_for(dialect, snapshot, wanted, schema).text()
    with while_read():
        sys.stdout.write(script)
    return 0


@app.command(epilog="Example: capillary-export csv loyalty_programs --snapshot demo-export --header")
def csv(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table.")],
    snapshot: Annotated[
        str, typer.Option(metavar="URL", help="A snapshot's folder or manifest.json, or the export folder.")
    ],
    header: Annotated[bool, typer.Option("--header", help="The columns' names first.")] = False,
) -> int:
    """A table of a snapshot as CSV on stdout.

    Null is nothing, an empty text is "".
    """
    from pipeline.ddl.rows import write_csv
    from pipeline.ddl.source import find_source

    source = find_source(snapshot)
    with while_read():
        write_csv(source, table, sys.stdout.buffer, header=header)
    return 0
