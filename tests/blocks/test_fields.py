"""Custom and extended fields, one row each."""

from __future__ import annotations

from pipeline.jsontext import JsonFloat
from tests.blocks.bodies import full
from tests.blocks.collecting import own_rows


def test_custom_fields() -> None:
    """Per profile and map; names as the brand wrote them."""
    profile = {"profile_ordinal": 0, "source": "INSTORE", "account_id": "", "value_type": "string"}
    assert own_rows(full(), "custom_fields") == [
        {**profile, "list": "fields", "name": "Favorite Color", "value": "Green"},
        {**profile, "list": "fields", "name": "vip", "value": "true"},
        {**profile, "list": "allFields", "name": "vip", "value": "true"},
    ]


def test_extended_fields() -> None:
    """Typed values become text, and their JSON type says what they were."""
    assert own_rows(full(), "extended_fields") == [
        {"name": "city", "value": "Porto", "value_type": "string"},
        {"name": "children", "value": "2", "value_type": "integer"},
        {"name": "member", "value": "true", "value_type": "boolean"},
        {"name": "dob", "value_type": "null"},
    ]


def test_values_of_any_form() -> None:
    """Numbers keep their digits, objects become JSON text, "" stays."""
    fields = {"a": JsonFloat("1.50"), "b": {"c": [1]}, "d": "", "": "no name", "e f": "1971-5-7"}
    assert [
        (row["name"], row["value"], row["value_type"])
        for row in own_rows({"extendedFields": fields}, "extended_fields")
    ] == [
        ("a", "1.50", "number"),
        ("b", '{"c":[1]}', "object"),
        ("d", "", "string"),
        ("", "no name", "string"),
        ("e f", "1971-5-7", "string"),
    ]
