"""What every table promises, whatever its block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.blocks import ACCOUNTS, BLOCKS, TABLES, dictionary, embeds_for, table
from pipeline.blocks.base import Column, Kind, Privacy, Table
from pipeline.blocks.schema import RECORD, accounts_schema, arrow_schema, columns_of, part_schema
from pipeline.blocks.source import read_source
from pipeline.jsontext import Json
from tests.blocks.bodies import FULL, SMALL, full
from tests.blocks.collecting import as_table, collect, rows_of

EVERY_TABLE = pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
EVERY_TABLE_AND_ACCOUNT = pytest.mark.parametrize("each", [*TABLES, *ACCOUNTS], ids=lambda each: each.name)

SQL_RESERVED = frozenset(
    """
    all and any as asc between both by case cast check column constraint create cross current_date current_time
    current_timestamp default desc distinct drop else end except exists false fetch for foreign from full grant
    group having in inner insert intersect interval into is join leading left like limit natural new not null
    offset on only or order outer primary references right select set some table then to trailing true union
    unique update user using values when where window with
    """.split()  # noqa: SIM905 - easier to read than a list
)


def with_nulls(value: Json) -> Json:
    """The same shape with null for every scalar."""
    if isinstance(value, dict):
        return {key: with_nulls(inner) for key, inner in value.items()}
    return [with_nulls(inner) for inner in value] if isinstance(value, list) else None


def nulls_one_at_a_time(value: Json) -> list[Json]:
    """The document with null in the place of each of its keys in turn, at any depth."""
    if isinstance(value, dict):
        places: list[Any] = [*value]
    elif isinstance(value, list):
        places = [*range(len(value))]
    else:
        return []
    found: list[Json] = []
    for place in places:
        for inner in [None, *nulls_one_at_a_time(value[place])]:
            copied = value.copy()
            copied[place] = inner
            found.append(copied)
    return found


def everything_twice(value: Json) -> Json:
    """The same document with each list's elements given twice, so that no value tells them apart."""
    if isinstance(value, dict):
        return {key: everything_twice(inner) for key, inner in value.items()}
    return [everything_twice(inner) for inner in value] * 2 if isinstance(value, list) else value


BODIES = {
    "full": FULL,
    "small": SMALL,
    "empty": {},
    "nulls": with_nulls(FULL),
    "twice": everything_twice(FULL),
}


def snake(name: str) -> str:
    """The naming rule of `base.py`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def test_first_table_is_customers() -> None:
    """What is odd at the top of an answer belongs to the first table's row, so that is customers."""
    assert TABLES[0].name == "customers"


def test_names_of_tables_are_unique() -> None:
    """A table's name finds one table, data and accounts together."""
    names = [each.name for each in (*TABLES, *ACCOUNTS)]
    assert len(set(names)) == len(names)
    assert all(table(name).name == name for name in names)


def test_unknown_table_is_a_key_error() -> None:
    """There is no table of a name that is nobody's."""
    with pytest.raises(KeyError):
        table("nobody")


def test_full_body_reaches_every_table() -> None:
    """The invented body has something for each table but the one whose shape nobody knows."""
    assert {each.name for each in TABLES} - set(collect(full()).batches) == {"associated_images"}


def test_full_body_has_nothing_odd() -> None:
    """All of it is known and all of it fits."""
    collected = collect(full())
    assert (collected.rejects, collected.unknown) == ([], {})


def test_empty_answer_is_one_customer() -> None:
    """An empty document gives the customers' row and nothing else."""
    collected = collect({})
    assert {name: batch.num_rows for name, batch in collected.batches.items()} == {"customers": 1}
    assert (collected.rejects, collected.unknown) == ([], {})


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_rows_fit_the_schema(body: Json) -> None:
    """Every batch has its part's schema, and Arrow finds nothing wrong with it."""
    for name, batch in collect(body).batches.items():
        assert batch.schema.equals(part_schema(table(name)), check_metadata=True)
        as_table(batch)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_keys_are_unique(body: Json) -> None:
    """No key comes twice, over two customers with the same answer."""
    collected = collect(body, body)
    for name in collected.batches:
        keys = [tuple(row[column] for column in table(name).key) for row in rows_of(collected, name)]
        assert len(set(keys)) == len(keys), name


def test_null_everywhere_is_survived() -> None:
    """Null in any place loses no customer and is nothing that fails to fit."""
    bodies = nulls_one_at_a_time(FULL)
    collected = collect(*bodies)
    assert len(bodies) > 400
    assert collected.batches["customers"].num_rows == len(bodies)
    assert (collected.rejects, collected.unknown) == ([], {})


def test_rows_carry_the_answer_they_came_from() -> None:
    """Customer, time, night and record of each row are its answer's."""
    collected = collect(full(), full())
    for name in collected.batches:
        assert {(row["customer_id"], row[RECORD]) for row in rows_of(collected, name)} == {
            (4711, 0),
            (4712, 1),
        }


def test_drain_starts_afresh() -> None:
    """What was drained does not come again."""
    assert collect().batches == {}


@EVERY_TABLE_AND_ACCOUNT
def test_columns_are_described(each: Table) -> None:
    """Tables and columns say what they mean, in a sentence."""
    assert each.meaning.endswith(".")
    for column in each.columns:
        assert len(column.meaning) > 5, column.name
        assert column.meaning[-1] in ".…!", column.name


@EVERY_TABLE_AND_ACCOUNT
def test_column_names_are_plain_and_unique(each: Table) -> None:
    """snake_case, no name twice, no word that SQL reserves."""
    names = [column.name for column in (columns_of(each) if each.rows else each.columns)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"_?[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name
        assert name not in SQL_RESERVED, name


@EVERY_TABLE
def test_the_apis_own_words_are_kept(each: Table) -> None:
    """A column's name ends with its JSON key in snake_case."""
    for column in each.columns:
        source = read_source(column.source)
        if not source.special and not source.counts:
            assert column.name.endswith(snake(source.path[-1])), column


@EVERY_TABLE
def test_keys_are_columns(each: Table) -> None:
    """Each key starts with the customer and names columns of the table."""
    assert each.key[0] == "customer_id"
    assert set(each.key) <= {column.name for column in columns_of(each)}


@EVERY_TABLE
def test_schema_has_all_columns_in_order(each: Table) -> None:
    """customer_id first; fetched at, night and extra last; descriptions and privacy in the metadata."""
    schema = arrow_schema(each)
    assert schema.names == [
        "customer_id",
        *[column.name for column in each.columns],
        "_fetched_at",
        "_night",
        "extra",
    ]
    for field in schema:
        about = field.metadata or {}
        assert about[b"description"]
        assert about[b"privacy"].decode() in [*Privacy]


def test_offsets_stand_beside_their_instants() -> None:
    """With keep_offsets each instant has a text column behind it; ours has none."""
    names = arrow_schema(table("loyalty"), offsets=True).names
    assert names[names.index("create_date") + 1] == "create_date_offset"
    assert "_fetched_at_offset" not in names


@pytest.mark.parametrize("each", ACCOUNTS, ids=lambda each: each.name)
def test_accounts_have_exactly_their_columns(each: Table) -> None:
    """Nothing is added to the accounts' tables."""
    assert accounts_schema(each).names == [column.name for column in each.columns]


def test_accounts_columns() -> None:
    """The columns that the steps of a night write."""
    assert {each.name: " ".join(accounts_schema(each).names) for each in ACCOUNTS} == {
        "outcomes": "customer_id outcome reason_code reason http_status attempts calls latency_ms body_bytes"
        " other_id asked_as request_id _fetched_at _night extra",
        "rejects": "customer_id table_name column_name reason raw _fetched_at _night",
        "rejected_ids": "file line reason raw _night",
        "unknown_fields": "path json_type occurrences first_customer_id last_customer_id _night",
    }


PERSONAL = {
    "profiles": {"first_name": Privacy.NAME, "last_name": Privacy.NAME, "user_id": Privacy.IDENTIFIER},
    "identifiers": {"value": Privacy.IDENTIFIER, "card_id": Privacy.IDENTIFIER},
    "comm_channels": {"value": Privacy.CONTACT},
    "custom_fields": {"value": Privacy.FREE_TEXT},
    "extended_fields": {"value": Privacy.FREE_TEXT},
    "cards": {"card_number": Privacy.IDENTIFIER, "card_external_id": Privacy.IDENTIFIER},
    "card_fields": {"value": Privacy.FREE_TEXT},
    "associations": {"child_customers": Privacy.FREE_TEXT},
    "user_groups": {"raw": Privacy.FREE_TEXT, "fleet_group_users": Privacy.FREE_TEXT},
    "warnings": {"message": Privacy.FREE_TEXT},
    "partner_programs": {"partner_membership_id": Privacy.IDENTIFIER},
    "outcomes": {"asked_as": Privacy.IDENTIFIER, "reason": Privacy.FREE_TEXT},
    "rejects": {"raw": Privacy.FREE_TEXT},
    "rejected_ids": {"raw": Privacy.IDENTIFIER},
}


@pytest.mark.parametrize("name", PERSONAL)
def test_what_tells_of_a_person_says_so(name: str) -> None:
    """Names, contacts, identifiers and free text carry their privacy class."""
    given = {column.name: column.privacy for column in table(name).columns}
    assert {column: given[column] for column in PERSONAL[name]} == PERSONAL[name]


@EVERY_TABLE
def test_people_and_json_are_never_unclassified(each: Table) -> None:
    """JSON columns can hold anything, and a `…_name` of a person object is a name."""
    for column in columns_of(each):
        if column.kind is Kind.JSON:
            assert column.privacy is not Privacy.NONE, column.name
        if re.search(r"_by_name$", column.name):
            assert column.privacy is Privacy.NAME, column.name


@EVERY_TABLE
def test_measures_have_a_unit(each: Table) -> None:
    """Every decimal says what it counts."""
    assert [column.name for column in each.columns if column.kind is Kind.DECIMAL and not column.unit] == []


def test_embeds_are_those_of_the_wanted_tables() -> None:
    """In the order of BLOCKS, each once, whatever the order asked in."""
    assert embeds_for(["customers", "profiles", "cards"]) == []
    assert embeds_for(["tier_trackers", "points_summary", "segments", "loyalty_programs"]) == [
        "segments",
        "points",
        "mlp",
    ]
    assert "gapDetails" not in embeds_for(each.name for each in TABLES)


def test_dictionary_has_every_column() -> None:
    """One row per table and column, none without type and meaning."""
    rows = dictionary.rows()
    wanted = [(each.name, column.name) for each in TABLES for column in columns_of(each)]
    wanted += [(each.name, column.name) for each in ACCOUNTS for column in each.columns]
    assert [(row["table"], row["column"]) for row in rows] == wanted
    assert all(row["type"] and row["meaning"] for row in rows)
    assert {row["embed"] for row in rows if row["table"] == "loyalty_programs"} == {"mlp"}


def test_dictionary_shows_where_a_value_stands() -> None:
    """Paths are those of the answer, also where a column reads the object around its row."""
    paths = {(row["table"], row["column"]): row["path"] for row in dictionary.rows()}
    assert paths["profiles", "created_by_code"] == "profiles[].attribution.createdBy.code"
    assert paths["identifiers", "source"] == "profiles[].source"
    assert paths["customers", "profile_count"] == "#profiles"
    assert paths["tier_renewal_gaps", "tier_expiry_date"] == (
        "loyaltyProgramDetails[].gapToRenewSummary[].tierExpiryDate"
    )


def test_docs_are_fresh() -> None:
    """docs/tables.md is what the declarations say: else write it again (`dictionary.py` says how)."""
    docs = Path(__file__).parents[2] / "docs" / "tables.md"
    assert docs.read_text("utf-8") == dictionary.markdown()


def test_blocks_have_files_that_do_not_know_each_other() -> None:
    """A block imports what declares (`base`, `balances`), never another block."""
    folder = Path(dictionary.__file__).parent
    files = [path for path in folder.glob("*.py") if "\nBLOCK = Block(" in path.read_text("utf-8")]
    assert len(files) == len(BLOCKS)
    for path in files:
        imported = set(re.findall(r"^from (pipeline\.\S+)", path.read_text("utf-8"), re.MULTILINE))
        assert imported <= {"pipeline.blocks.base", "pipeline.blocks.balances"}, path.name


def test_types_are_few() -> None:
    """The types that every warehouse loads."""
    found = {str(field.type) for each in TABLES for field in arrow_schema(each)}
    assert found == {
        "int64",
        "string",
        "bool",
        "decimal128(38, 9)",
        "timestamp[us, tz=UTC]",
        "timestamp[us]",
        "date32[day]",
    }


def test_column_kinds_have_arrow_types() -> None:
    """A column of each kind makes a field."""
    for kind in Kind:
        column = Column("one", kind, "one", "One.")
        each = Table("things", "Things.", ("",), ("customer_id",), (column,))
        assert isinstance(arrow_schema(each).field("one").type, pa.DataType)
