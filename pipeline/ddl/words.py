"""Names and texts as SQL writes them: what must be quoted, and how a text is escaped."""

from __future__ import annotations

import re

from pipeline.errors import UsageError

# Words that at least one of the dialects reserves, from their manuals' lists. One list for all: a name that
# is quoted without need reads the same everywhere, one that is not quoted where it must be stops the load.
RESERVED = frozenset(
    """
    account aes128 aes256 all allowoverwrite alter analyse analyze and anti any array as asc
    assert_rows_modified asymmetric at authorization az64 backup between binary blanksasnull both by bytedict
    bzip2 case cast check collate collation column concurrently connect connection constraint contains create
    credentials cross cube current current_catalog current_date current_role current_schema current_time
    current_timestamp current_user current_user_id database default deferrable define deflate defrag delete
    delta delta32k desc describe disable distinct do drop else emptyasnull enable encode encrypt encryption
    end enum escape except exclude exists explicit extract false fetch following for foreign freeze from full
    generated glob global globaldict256 globaldict64k grant group grouping groups gscluster gzip hash having
    identity if ignore ilike in increment initially inner insert intersect interval into is isnull issue join
    lambda language lateral leading left like limit localtime localtimestamp lookup lun luns lzo lzop map
    merge minus mostly16 mostly32 mostly8 natural new no not notnull null nulls of off offline offset oid old
    on only open or order organization outer over overlaps parallel partition percent permissions pivot
    pivot_longer pivot_wider placing positional preceding primary proto qualify range raw readratio recover
    recursive references regexp rejectlog resort respect restore returning revoke right rlike rollup row rows
    sample schema select semi session_user set show similar snapshot some start struct summarize symmetric
    sysdate system system_user table tables tablesample tag tdes text255 text32k then timestamp to top
    trailing treat trigger true truncatecolumns try_cast unbounded union unique unnest unpivot update user
    using values variadic verbose view wallet when whenever where window with within without
    asof at_timestamp current_database
    """.split()  # noqa: SIM905 - easier to read than a list
)

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,1}")


def quoted(name: str, mark: str = '"') -> str:
    """The name, between quote marks where a dialect reserves it or it is not plain.

    The project's own names are plain, so no quote mark ever stands inside one.
    """
    return name if _PLAIN.fullmatch(name) and name not in RESERVED else f"{mark}{name}{mark}"


def checked_schema(name: str) -> str:
    """A schema's name, such as `capillary` or `project.dataset`. Raises UsageError where it is none."""
    if not _SCHEMA.fullmatch(name):
        raise UsageError(
            f"{name!r} is no schema name.",
            "Give letters, digits, _ and -, such as capillary; or two names with a dot, such as project.dataset.",
        )
    return name


def standard_text(words: str) -> str:
    """A text literal of standard SQL: only the quote mark is doubled (PostgreSQL, DuckDB)."""
    return "'" + words.replace("'", "''") + "'"


def escaped_text(words: str) -> str:
    """A literal where the backslash escapes and a quote mark is doubled (Snowflake, Redshift)."""
    return standard_text(words.replace("\\", "\\\\"))


def backslash_text(words: str, mark: str = "'") -> str:
    r"""A literal where the backslash escapes everything (BigQuery, Databricks).

    Databricks joins 'a''b' to ab, so a quote mark is \' there, never doubled.
    """
    for plain, written in (("\\", "\\\\"), (mark, f"\\{mark}"), ("\n", "\\n"), ("\r", "\\r")):
        words = words.replace(plain, written)
    return f"{mark}{words}{mark}"


def listed(names: list[str], indent: str = "  ") -> str:
    """Names below each other, with commas."""
    return ",\n".join(indent + name for name in names)
