"""How a block declares its tables: every column once, with its type, its place in the answer and its meaning.

Schema, data dictionary, the flattening function (`compile.py`), the reading of values (`fit.py`) and the
check that nothing is lost all come from these declarations.

Where a table's rows stand (`Table.rows`), from the top of the answer:

    ""                                  the answer itself: one row per customer
    "loyaltyInfo"                       one object: one row where it is present
    "profiles[]"                        one row per element (a lone object counts as a list of one)
    "summary[].strategies[]?"           the same, and one row where the list is empty or missing
    "extendedFields{}"                  one row per entry of an object
    "segments{}[]"                      the same; an entry that is a list gives a row per element

Where a column's value stands (`Column.source`), from its row:

    "attribution.createdBy.code"        inside the row
    "upgradeBasedOn|upgrade_based_on"   the first spelling that is there
    "^.cardId"                          in the object around the row; "^^." one further out
    "^pointsSummary|programs.id"        in the object around the row that stands under one of these names
    "@key" "@value" "@type"             of an entry: its name, its value as text, its JSON type
    "@ordinal" "^@ordinal"              0-based position in the list; of the object around it
    "@place" "@block"                   the last, the first name of the path that led here
    "@row"                              the whole object
    "#profiles"                         how many elements it has
    "@body_hash"                        of the whole answer

How columns are named: the API's own words in snake_case, with an underscore before every capital that follows
a small letter or a digit, and before the last capital of several when a small letter follows (`slabSNo` →
`slab_s_no`, `expiryDateISO` → `expiry_date_iso`). What stands in an inner object has that object's name in
front where it would not be clear alone (`status_info_label`). A word that SQL reserves gets `is_`
(`is_primary`, `is_default`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds; `fit.ARROW_TYPES` has the Arrow type of each."""

    TEXT = "text"
    INT = "int"
    BOOL = "bool"
    DECIMAL = "decimal"
    INSTANT = "instant"  # a date-time with its zone: the moment, in UTC
    LOCAL = "local"  # a date-time without a zone, as given
    DATE = "date"
    JSON = "json"  # any value, as JSON text


class Privacy(StrEnum):
    """What a column tells about a person."""

    NONE = "none"
    IDENTIFIER = "identifier"
    CONTACT = "contact"
    NAME = "name"
    FREE_TEXT = "free text"
    QUASI = "quasi-identifier"
    SECRET = "secret"  # noqa: S105 - the name of a class, no password


@dataclass(frozen=True, slots=True)
class Column:
    """One column, declared once.

    `source` is its JSON path from the row (see the module's text), `unit` the unit of a measure.
    """

    name: str
    kind: Kind
    source: str
    meaning: str
    unit: str = ""
    privacy: Privacy = Privacy.NONE


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row means, its key, where its rows stand, its columns.

    `ignore` names keys of the row's object (`file.s3Token`: further in) that are known and deliberately not
    exported, each with its reason. `when` names keys of the row's object, one of which must hold a value for
    a row to be.
    """

    name: str
    meaning: str
    rows: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    ignore: tuple[tuple[str, str], ...] = ()
    when: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One part of the answer: its tables, and the `embed` values that bring it (none: it always comes)."""

    tables: tuple[Table, ...]
    embed: tuple[str, ...] = ()


def text(name: str, source: str, meaning: str, privacy: Privacy = Privacy.NONE) -> Column:
    """Text as given; `""` stays apart from null."""
    return Column(name, Kind.TEXT, source, meaning, privacy=privacy)


def integer(name: str, source: str, meaning: str, unit: str = "", privacy: Privacy = Privacy.NONE) -> Column:
    """A whole number of 64 bits; a numeric string counts."""
    return Column(name, Kind.INT, source, meaning, unit, privacy)


def boolean(name: str, source: str, meaning: str) -> Column:
    """true or false; the strings "true" and "false" count."""
    return Column(name, Kind.BOOL, source, meaning)


def decimal(name: str, source: str, meaning: str, unit: str = "") -> Column:
    """An exact number with 9 decimals; a numeric string counts."""
    return Column(name, Kind.DECIMAL, source, meaning, unit)


def instant(name: str, source: str, meaning: str) -> Column:
    """A date-time with its zone, kept as the moment in UTC."""
    return Column(name, Kind.INSTANT, source, meaning, "UTC")


def local_time(name: str, source: str, meaning: str) -> Column:
    """A date-time that comes without a zone, kept as given."""
    return Column(name, Kind.LOCAL, source, meaning, "local time of the API's cluster")


def date(name: str, source: str, meaning: str, privacy: Privacy = Privacy.NONE) -> Column:
    """A calendar date."""
    return Column(name, Kind.DATE, source, meaning, privacy=privacy)


def json_text(name: str, source: str, meaning: str, privacy: Privacy = Privacy.FREE_TEXT) -> Column:
    """Whatever stands there, as JSON text."""
    return Column(name, Kind.JSON, source, meaning, privacy=privacy)


def ordinal(meaning: str = "0-based position in the answer.", source: str = "@ordinal") -> Column:
    """The row's place in its list."""
    return Column("ordinal", Kind.INT, source, meaning)


def ordinal_of(name: str, source: str, meaning: str) -> Column:
    """The place in its list of something around the row."""
    return Column(name, Kind.INT, source, meaning)


def person(prefix: str, source: str, did: str) -> tuple[Column, ...]:
    """The columns of a person object: the till, store or user who did something.

    `prefix` goes in front of each column's name, `source` is the object's place, `did` what was done, for the
    meanings.
    """
    return (
        integer(f"{prefix}_id", f"{source}.id", f"Capillary's ID of the till or user that {did}."),
        text(f"{prefix}_code", f"{source}.code", f"Code of the till or user that {did}."),
        text(f"{prefix}_name", f"{source}.name", f"Name of the till or user that {did}.", Privacy.NAME),
        text(f"{prefix}_type", f"{source}.type", f"What {did}, such as TILL."),
        text(
            f"{prefix}_description", f"{source}.description", f"Description of the till or user that {did}."
        ),
        integer(f"{prefix}_reference_id", f"{source}.referenceId", f"Reference of what {did}; -1: none."),
        boolean(
            f"{prefix}_default", f"{source}.default", f"Whether it was the default till or user that {did}."
        ),
        text(
            f"{prefix}_admin_type", f"{source}.adminType", f"Kind of admin user that {did}, such as GENERAL."
        ),
        boolean(
            f"{prefix}_is_active", f"{source}.isActive", f"Whether the till or user that {did} is active."
        ),
        boolean(
            f"{prefix}_is_ou_enabled", f"{source}.isOuEnabled", f"Whether what {did} has organisation units."
        ),
        integer(f"{prefix}_time_zone_id", f"{source}.timeZoneId", f"Capillary's time zone ID of what {did}."),
        integer(f"{prefix}_currency_id", f"{source}.currencyId", f"Capillary's currency ID of what {did}."),
        integer(f"{prefix}_language_id", f"{source}.languageId", f"Language ID of what {did}; -1: none."),
    )
