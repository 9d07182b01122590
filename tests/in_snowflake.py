"""Runs the statements on stdin in fakesnow, twice, and prints the rows of every table: for tests/test_ddl.py.

It runs in an environment of its own (`make warehouses`). Snowflake itself is the judge of everything else: the emulator
knows neither ALTER SESSION SET TIMEZONE, nor a temporary table in a named database, nor an apostrophe in a comment,
nor files by name out of a stage that PUT has filled; so these go in another spelling.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

DATABASE, STAGE = "CRM", "TEMPORARY STAGE "


def spelled(statement: str, folder: str) -> str:
    """As the emulator knows it; nothing where it need not run."""
    if statement.startswith(("ALTER SESSION", "PUT ")):
        return ""
    before, is_stage, name = statement.partition(STAGE)
    if is_stage:
        return f"{before}STAGE {name} URL = 'file://{folder}/'"
    return statement.replace("TEMPORARY TABLE", "TABLE").replace("''", "")


def told(value: Any) -> str | None:
    """A value as text, the same for one value whatever type holds it."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{Decimal(value):.9f}"
    return None if value is None else str(value)


def main() -> None:
    """stdin: {"statements": […], "folder": the snapshot's, "tables": {name: its columns}}."""
    import fakesnow
    import snowflake.connector

    asked = json.load(sys.stdin)
    with fakesnow.patch():
        cursor = snowflake.connector.connect(database=DATABASE, schema="PUBLIC").cursor()
        for statement in 2 * [spelled(one, asked["folder"]) for one in asked["statements"]]:
            if statement:
                cursor.execute(statement)
        found: dict[str, list[list[str | None]]] = {}
        for table, columns in asked["tables"].items():
            cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
            found[table] = [[told(value) for value in row] for row in cursor.fetchall()]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
