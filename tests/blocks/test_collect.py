"""What leaves the usual way: unknown keys, other spellings, values of another form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.blocks.base import Block, Table, text
from pipeline.blocks.collect import Collector, Options
from pipeline.blocks.compile import write_flatten
from pipeline.blocks.leftovers import MAX_UNKNOWN_PATHS, MORE_PATHS
from pipeline.blocks.shape import shape_of
from pipeline.blocks.source import read_source
from pipeline.jsontext import Json, JsonFloat
from tests.blocks.bodies import full
from tests.blocks.collecting import FETCHED_US, NIGHT, collect, own_rows, rows_of


def extras(doc: Json, name: str) -> list[Any]:
    """The `extra` of a table's rows, read."""
    return [row["extra"] and json.loads(row["extra"]) for row in rows_of(collect(doc), name)]


def rejects(doc: Json) -> list[tuple[str, str, str, str]]:
    """What was rejected: table, column, reason, raw."""
    return [(r.table_name, r.column_name, r.reason, r.raw) for r in collect(doc).rejects]


def test_unknown_key_stays_with_its_row() -> None:
    """In the row's extra by its path from there, and counted with its whole path."""
    doc = {"profiles": [{"source": "A"}, {"nick": "M", "attribution": {"why": [1]}}], "mood": "good"}
    assert extras(doc, "profiles") == [None, {"nick": "M", "attribution.why": [1]}]
    assert extras(doc, "customers") == [{"mood": "good"}]
    unknown = {key: len(field.seen) for key, field in collect(doc).unknown.items()}
    assert unknown == {
        ("mood", "string"): 1,
        ("profiles[].nick", "string"): 1,
        ("profiles[].attribution.why", "array"): 1,
    }


def test_unknown_key_counts_its_customers() -> None:
    """Whose answers had it; apart by type."""
    collected = collect({"mood": 1}, {}, {"mood": 2}, {"mood": "bad"})
    customers = {key: [one for one, _ in field.seen] for key, field in collected.unknown.items()}
    assert customers == {("mood", "integer"): [4711, 4713], ("mood", "string"): [4714]}
    assert {field.table for field in collected.unknown.values()} == {"customers"}


def test_unknown_keys_that_are_data_do_not_fill_the_memory() -> None:
    """Past a bound they are counted together; each value is still in its row's extra."""
    doc = {f"key-{number}": number for number in range(MAX_UNKNOWN_PATHS + 50)}
    collected = collect(doc)
    assert len(collected.unknown) == MAX_UNKNOWN_PATHS + 1
    assert len(collected.unknown[MORE_PATHS, "integer"].seen) == 50
    assert extras(doc, "customers") == [doc]


def test_extra_of_a_table_with_several_places() -> None:
    """Its paths are relative to the row, wherever the row stood."""
    doc = {"profiles": [{"identifiers": [{"x": 1}], "identifiersAll": [{"x": 2}]}]}
    assert extras(doc, "identifiers") == [{"x": 1}, {"x": 2}]


def test_other_spelling_is_read() -> None:
    """snake_case of the docs' table as well as the JSON's camelCase."""
    doc = {"upgradeStrategies": [{"upgrade_based_on": "POINTS"}]}
    assert own_rows(doc, "tier_upgrade_gaps")[0]["upgrade_based_on"] == "POINTS"
    assert collect(doc).unknown == {}


def test_both_spellings_at_once_lose_nothing() -> None:
    """The usual one is read, the other kept."""
    doc = {"cardDetails": [{"cardNumber": "A", "cardnumber": "B"}]}
    row = own_rows(doc, "cards")[0]
    assert (row["card_number"], row["extra"]) == ("A", '{"cardnumber":"B"}')


def test_thrift_leaks_are_dropped() -> None:
    """`setX: true` tells about the API's inside; other values under such names are kept."""
    doc = {"gapToUpgrade": [{"setUpgradeBasedOn": True, "setPoints": 5, "setup": True}]}
    assert extras(doc, "tier_upgrade_gaps") == [{"setPoints": 5, "setup": True}]


def test_object_where_a_list_should_be_is_a_list_of_one() -> None:
    """Lone objects are read."""
    assert len(own_rows({"profiles": {"source": "A"}}, "profiles")) == 1


def test_list_where_an_object_should_be_is_kept() -> None:
    """Two loyaltyInfo would be two rows of one key: none is made, all is kept, and told."""
    doc = {"loyaltyInfo": [{"loyaltyType": "a"}, {"loyaltyType": "b"}]}
    assert own_rows(doc, "loyalty") == []
    assert extras(doc, "customers") == [doc]
    assert rejects(doc)[0][:3] == ("loyalty", "", "expected an object, got array")


@pytest.mark.parametrize(
    "block", ["loyaltyInfo", "segments", "extendedFields", "subscriptionInfo", "fraudDetails"]
)
def test_empty_list_is_an_empty_object(block: str) -> None:
    """Some writers have no other word for an empty object; nothing is lost, nothing told."""
    assert collect({block: []}).rejects == []


@pytest.mark.parametrize("odd", ["text", 5, JsonFloat("1.50"), True])
def test_scalar_where_an_object_should_be_is_kept(odd: Json) -> None:
    """In the extra of the row around it, and told."""
    doc = {"profiles": [{"attribution": odd}], "segments": odd, "cardDetails": odd}
    assert extras(doc, "profiles") == [
        {"attribution": json.loads(json.dumps(odd)) if type(odd) is not JsonFloat else 1.5}
    ]
    assert sorted(extras(doc, "customers")[0]) == ["cardDetails", "segments"]
    assert {(table, reason.split(",")[0]) for table, _, reason, _ in rejects(doc)} == {
        ("profiles", "expected an object"),
        ("segments", "expected an object"),
        ("cards", "expected a list of objects"),
    }


def test_several_odd_elements_are_all_kept() -> None:
    """Elements of a list that are no objects each keep their place in extra."""
    assert list(extras({"profiles": ["a", {"source": "X"}, "b"]}, "customers")[0].values()) == ["a", "b"]
    assert own_rows({"profiles": ["a", {"source": "X"}, None]}, "profiles") == [{"ordinal": 1, "source": "X"}]


def test_names_that_look_the_same_in_extra_are_all_kept() -> None:
    """A key with a dot in it beside the object it sounds like."""
    doc = {"cardDetails": [{"statusInfo.label": "x", "statusInfo": {"label": [1]}}]}
    assert extras(doc, "cards") == [{"statusInfo.label": "x", "statusInfo.label#1": [1]}]


def test_value_that_does_not_fit_is_kept_and_told() -> None:
    """Null in its column, raw in extra, one line in rejects with the answer's time and record."""
    collected = collect({}, {"loyaltyInfo": {"lifetimePurchases": "much"}})
    row = rows_of(collected, "loyalty")[0]
    assert (row["lifetime_purchases"], row["extra"]) == (None, '{"lifetimePurchases":"much"}')
    assert [tuple(reject) for reject in collected.rejects] == [
        (
            4712,
            "loyalty",
            "lifetime_purchases",
            "expected a number, got a string that is none",
            '"much"',
            FETCHED_US,
            1,
        )
    ]


def test_rounded_value_is_kept_without_a_reject() -> None:
    """Float noise is common: the raw number is in extra, and nobody is told."""
    doc = {"pointsSummary": {"loyaltyPoints": JsonFloat("0.12345678949")}}
    assert own_rows(doc, "points_summary")[0]["extra"] == '{"loyaltyPoints":0.12345678949}'
    assert rejects(doc) == []


def test_zone_of_the_cluster_reaches_the_columns() -> None:
    """A date-time without its zone is read with the cluster's; without one it is told."""
    doc = {"profiles": [{"autoUpdateTime": "2026-01-01 05:30:00"}]}
    row = rows_of(collect(doc, zone="Asia/Kolkata"), "profiles")[0]
    assert row["auto_update_time"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert rejects(doc) == [
        ("profiles", "auto_update_time", "a date-time without its zone", '"2026-01-01 05:30:00"')
    ]


def test_offsets_are_kept_where_wanted() -> None:
    """Beside each instant the zone it was written with."""
    row = rows_of(collect(full(), keep_offsets=True), "profiles")[0]
    assert (row["create_date_offset"], row["modified_date_offset"]) == ("+05:30", "Z")
    assert "create_date_offset" not in rows_of(collect(full()), "profiles")[0]


@pytest.mark.parametrize("body", [None, [], "text", 5, [{"id": 1}]])
def test_body_that_is_no_object_gives_no_row(body: Json) -> None:
    """It is told, where it says anything."""
    collected = collect(body)
    assert collected.batches == {}
    assert len(collected.rejects) == (0 if body == [] else 1)


def test_repeated_keys_are_told() -> None:
    """What the decoder lost to a repeated key is rejected with the answer's time and record."""
    collector = Collector((Table("customers", "One.", ("",), ("customer_id",), ()),), Options(NIGHT))
    collector.add({}, 1, FETCHED_US, 9, "hash", [("extendedFields", {"city": "Porto"})])
    assert [tuple(reject) for reject in collector.drain().rejects] == [
        (
            1,
            "customers",
            "extendedFields",
            "repeated key, the last counts",
            '{"city":"Porto"}',
            FETCHED_US,
            9,
        )
    ]


def test_waiting_rows_are_counted() -> None:
    """`len` says when it is time to drain."""
    collector = Collector((Table("things", "One.", ("things[]",), ("customer_id",), ()),), Options(NIGHT))
    collector.add({"things": [{}, {}]}, 1, FETCHED_US, 0, "hash")
    assert len(collector) == 2
    collector.drain()
    assert len(collector) == 0


def test_contradicting_declarations_are_refused() -> None:
    """The same place cannot be a list for one table and a map for another."""
    one = Table("one", "One.", ("things[]",), ("customer_id",), ())
    two = Table("two", "Two.", ("things{}",), ("customer_id",), ())
    with pytest.raises(ValueError, match="things is declared as list and as map"):
        shape_of([one, two])


def test_conditional_rows_cannot_stand_alone() -> None:
    """Some row must always be there to keep what is odd."""
    with pytest.raises(ValueError, match="rows under a condition"):
        shape_of([Table("one", "One.", ("",), ("customer_id",), (), when=("a",))])


def test_only_the_outer_objects_own_values_can_be_read() -> None:
    """A path further into an outer object would need a walk of its own."""
    with pytest.raises(ValueError, match="own values"):
        read_source("^.a.b")


def test_flattening_can_be_read() -> None:
    """The function is written from declarations, and shows them."""
    block = Block(
        (Table("things", "One.", ("things[]",), ("customer_id",), (text("name", "name", "Its name."),)),)
    )
    assert "A0((o1.get('name'), nth,))" in write_flatten(block.tables)
