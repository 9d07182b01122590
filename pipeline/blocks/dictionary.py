"""The data dictionary, made from the declarations: as rows, and as the text of `docs/tables.md`.

Written again with `python -m pipeline.blocks.dictionary > docs/tables.md`; a test says when that is due.
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.blocks import ACCOUNTS, BLOCKS
from pipeline.blocks.base import Column, Kind, Privacy, Table
from pipeline.blocks.fit import ARROW_TYPES
from pipeline.blocks.schema import CUSTOMER_ID, EXTRA, FETCHED_AT, NIGHT, columns_of, is_nullable
from pipeline.blocks.source import names_of, read_source, row_path

_OURS = (CUSTOMER_ID, FETCHED_AT, NIGHT, EXTRA)

_INTRO = """\
# The tables

Generated from the declarations in `pipeline/blocks/`
(`python -m pipeline.blocks.dictionary > docs/tables.md`). `capillary-export tables [TABLE] [--json]` shows
the same.

Column names are the API's own words in snake_case: an underscore before every capital that follows a small
letter or a digit, and before the last capital of several when a small letter follows (`slabSNo` →
`slab_s_no`, `expiryDateISO` → `expiry_date_iso`). What stands in an inner object has that object's name in
front where it would not be clear alone. A word that SQL reserves gets `is_` (`is_primary`).

In every data table the first column is `customer_id`, and the last ones are `_fetched_at`, `_night` and
`extra`. They are listed once:
"""


def rows() -> list[dict[str, Any]]:
    """One row per table and column, in reading order."""
    found = [
        _row(table, column, ", ".join(block.embed))
        for block in BLOCKS
        for table in block.tables
        for column in columns_of(table)
    ]
    return found + [_row(table, column, "") for table in ACCOUNTS for column in table.columns]


def _row(table: Table, column: Column, embed: str) -> dict[str, Any]:
    return {
        "table": table.name,
        "key": column.name in table.key,
        "column": column.name,
        "type": type_text(column.kind),
        "nullable": is_nullable(column),
        "unit": column.unit,
        "privacy": str(column.privacy),
        "meaning": column.meaning,
        "path": json_path(table, column),
        "embed": embed,
    }


def type_text(kind: Kind) -> str:
    """The Arrow type's name; JSON columns are text that holds JSON."""
    return "string (JSON)" if kind is Kind.JSON else str(ARROW_TYPES[kind])


def json_path(table: Table, column: Column) -> str:
    """Where the value stands in the answer, for the first place of the table's rows that has it."""
    if not column.source:
        return ""
    source = read_source(column.source)
    if column is CUSTOMER_ID or not table.rows:
        return column.source
    for rows_at in table.rows:
        steps = source.steps_out(names_of(rows_at))
        if steps is not None:
            parts = row_path(rows_at).split(".")
            around = ".".join(parts[: len(parts) - steps])
            return _joined(around, source.special or ("#" if source.counts else "") + ".".join(source.path))
    return ""


def _joined(around: str, rest: str) -> str:
    if rest.startswith("@"):
        return f"{around} {rest}".lstrip()
    return f"{around}.{rest}".lstrip(".")


def markdown() -> str:
    """The content of `docs/tables.md`."""
    lines = [_INTRO, *_heading(), *(_line(None, column) for column in _OURS), ""]
    lines += ["## Tables", "", "| table | one row per | key | embed |", "|---|---|---|---|"]
    for block in BLOCKS:
        lines += [_summary(table, ", ".join(block.embed)) for table in block.tables]
    lines += [_summary(table, "") for table in ACCOUNTS]
    for block in BLOCKS:
        for table in block.tables:
            lines += _section(table, ", ".join(block.embed))
    for table in ACCOUNTS:
        lines += _section(table, "")
    return "\n".join(lines) + "\n"


def _summary(table: Table, embed: str) -> str:
    key = ", ".join(table.key) or "none"
    return f"| [`{table.name}`](#{table.name}) | {_cell(table.meaning)} | {key} | {embed or '–'} |"


def _section(table: Table, embed: str) -> list[str]:
    about = [f"Key: {', '.join(table.key) or 'none'}."]
    if table.rows:
        places = [f"`{row_path(place)}`" if place else "the answer itself" for place in table.rows]
        about.append(f"Rows: {', '.join(places)}.")
    if embed:
        about.append(f"Comes with `embed={embed}`.")
    lines = ["", f"## {table.name}", "", table.meaning, " ".join(about), ""]
    if table.ignore:
        lines += ["Known and never exported:", ""]
        lines += [f"- `{path}`: {reason}" for path, reason in table.ignore]
        lines.append("")
    own = table.columns if table.rows else [column for column in table.columns if column not in _OURS]
    return [*lines, *_heading(), *(_line(table, column) for column in own)]


def _heading() -> list[str]:
    return ["| column | type | unit | privacy | meaning | from |", "|---|---|---|---|---|---|"]


def _line(table: Table | None, column: Column) -> str:
    path = json_path(table, column) if table is not None else column.source
    privacy = "" if column.privacy is Privacy.NONE else str(column.privacy)
    source = f"`{_cell(path)}`" if path else ""
    cells = (f"`{column.name}`", type_text(column.kind), column.unit, privacy, _cell(column.meaning), source)
    return f"| {' | '.join(cells)} |"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
