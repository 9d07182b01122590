"""Answers as declared are decoded into classes: the same rows as the patient way gives, and everything else refused."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

from pipeline.blocks import TABLES
from pipeline.blocks.base import Table, integer, json_text, text
from pipeline.blocks.collect import LESSON, PATIENCE, Collected, Collector, Options
from pipeline.jsontext import Json, JsonFloat, decode, dump
from tests.blocks.bodies import full
from tests.blocks.collecting import FETCHED_US, NIGHT
from tests.blocks.test_nothing_lost import PLACES, replaced

Path = tuple[str | int, ...]
HASH = "0123456789abcdef"
COLLECTOR = Collector(TABLES, Options(NIGHT))


def usual(path: Path = (), value: Json = None) -> dict[str, Any]:
    """The full body without its other spellings; with another value in one place."""
    doc: Any = replaced(path, value) if path else full()
    for block, number, key in (("gapToUpgrade", 0, "upgrade_based_on"), ("cardDetails", 1, "cardnumber")):
        with suppress(KeyError, TypeError, IndexError, AttributeError):
            doc[block][number].pop(key)
    return doc if type(doc) is dict else {}


def is_usual(body: bytes, collector: Collector = COLLECTOR) -> bool:
    """Whether the quick way takes a body by itself."""
    taken = collector.add_usual(body, 4711, FETCHED_US, 1, HASH)
    collector.drain()
    return taken


def both_ways(bodies: list[bytes], tables: tuple[Table, ...] = TABLES) -> tuple[Collected, Collected, int]:
    """What comes of bodies taken the quick way where it takes them, and of all taken the patient way."""
    quick, patient, taken = Collector(tables, Options(NIGHT)), Collector(tables, Options(NIGHT)), 0
    for number, body in enumerate(bodies):
        told = 4711 + number, FETCHED_US, number, HASH
        if quick.add_usual(body, *told):
            taken += 1
        else:
            quick.add(decode(body).doc, *told)
        patient.add(decode(body).doc, *told)
    return quick.drain(), patient.drain(), taken


def test_the_full_body_is_usual() -> None:
    """Every block and every known key are declared, other spellings too, so it goes the quick way."""
    assert is_usual(dump(usual()).encode())
    assert is_usual(dump(full()).encode())


def test_a_value_in_any_place_gives_the_same_either_way() -> None:
    """Odd values, other forms, nulls and empty objects, in each place of the body in turn."""
    dice = random.Random(7)
    odd: list[Json] = [
        "",
        "x",
        None,
        5,
        True,
        JsonFloat("1.50"),
        10**30,
        [],
        {},
        [None, {}],
        [{"a": 1}],
        {"a": None},
    ]
    bodies = [dump(usual(path, value)).encode() for path in PLACES for value in dice.sample(odd, 2)]
    quick, patient, taken = both_ways(bodies)
    assert quick == patient
    assert len(bodies) // 3 < taken < len(bodies)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":1,"mood":"good"}',
        b'{"id":1,"profiles":["text"]}',
        b'{"id":1,"loyaltyInfo":[]}',
        b'{"id":1,"segments":5}',
        b'{"id":1,"cardDetails":{"cardId":1}}',
        b'{"id":NaN}',
        b'{"id":"\xff"}',
        b'{"id":',
        b"[]",
        b"[" * 5000,
    ],
)
def test_what_is_not_as_declared_is_refused(body: bytes) -> None:
    """And leaves nothing behind: no row, nothing counted, nothing rejected."""
    collector = Collector(TABLES, Options(NIGHT))
    assert not collector.add_usual(body, 1, FETCHED_US, 1, HASH)
    assert collector.drain() == Collected({}, [], {})


@pytest.mark.parametrize(
    ("leak", "is_dropped"), [("true", True), ("false", True), ("null", False), ("5", False)]
)
def test_thrift_leaks_of_the_tier_gaps_are_usual(leak: str, is_dropped: bool) -> None:
    """The API says `setCurrentValue: true` beside `currentValue`; another value under such a name is told."""
    values = '{"currentValue":1,"setCurrentValue":' + leak + "}"
    body = '{"id":1,"gapToUpgrade":[{"customerUpgradeEntityValues":' + values + "}]}"
    quick, patient, taken = both_ways([body.encode()])
    assert quick == patient
    assert (taken == 1, quick.unknown == {}) == (is_dropped, is_dropped)


def test_after_many_refusals_few_are_tried() -> None:
    """Where every answer has a key that nobody declared, decoding them twice would cost more than it brings."""
    collector = Collector(TABLES, Options(NIGHT))
    odd = b'{"profiles":["text"]}'
    assert not any(is_usual(odd, collector) for _ in range(PATIENCE))
    assert sum(is_usual(b'{"id":1}', collector) for _ in range(PATIENCE)) == PATIENCE
    assert not any(is_usual(odd, collector) for _ in range(PATIENCE + 1))
    taken = [is_usual(b'{"id":1}', collector) for _ in range(PATIENCE)]
    assert taken == [False] * (PATIENCE - 1) + [True]


SPELLINGS = [
    b'{"id":1,"cardDetails":[{"cardnumber":"A"},{"cardNumber":"B"},{"cardNumber":null,"cardnumber":"C"}]}',
    b'{"id":1,"cardDetails":[{"cardNumber":"A","cardnumber":"B"},{"cardNumber":"C","cardnumber":null}]}',
    b'{"id":1,"gapToUpgrade":[{"upgrade_threshold":1.50,"upgradeThreshold":null,"upgrade_based_on":7}]}',
    b'{"id":1,"gapToUpgrade":[{"upgrade_threshold":1.50,"upgradeThreshold":"2"}]}',
    b'{"id":1,"gapToUpgrade":[{"customerUpgradeEntityValues":{"current_value":"x","gap_to_upgrade":2}}]}',
]


def test_other_spellings_are_usual() -> None:
    """The first spelling that holds a value counts; a second value is kept in `extra` and told."""
    quick, patient, taken = both_ways(SPELLINGS)
    assert (quick, taken) == (patient, len(SPELLINGS))
    numbers = quick.batches["cards"]["card_number"].to_pylist()
    assert numbers == ["A", "B", "C", "A", "C"]
    assert set(quick.unknown) == {
        ("cardDetails[].cardnumber", "string"),
        ("cardDetails[].cardnumber", "null"),
        ("gapToUpgrade[].upgrade_threshold", "number"),
    }


@pytest.mark.parametrize(
    "odd",
    [
        b'{"mood":{"of":1.50},"id":1}',
        b'{"id":1,"profiles":[{"nick":null,"fields":{}},{"nick":"x","source":"S"}]}',
        b'{"id":1,"gapToUpgrade":{"nick":1}}',
        b'{"id":1,"loyaltyInfo":{"attributionV2":{"createdBy":{"shoe size":[43]}}}}',
        b'{"id":1,"gapToUpgrade":[{"customerUpgradeEntityValues":{"class":"a","current_value":3}}]}',
    ],
)
def test_a_key_that_keeps_coming_is_learned(odd: bytes) -> None:
    """When the API has a new field, answers with it become usual; the field is kept and told as before."""
    quick, patient, taken = both_ways([odd] * (LESSON + 20))
    assert quick == patient
    assert taken == 20
    assert sum(len(field.seen) for field in quick.unknown.values()) >= LESSON + 20


def test_a_key_that_no_class_can_have_is_never_learned() -> None:
    """A quote, a backslash or a control character in a key that keeps coming: told and kept, and nobody dies of it."""
    odd = b'{"id":1,"a\\u0001b":1,"profiles":[{"x\\"y\\\\":2}]}'
    quick, patient, taken = both_ways([odd] * (LESSON + 20))
    assert (quick, taken) == (patient, 0)
    assert {path for path, _ in quick.unknown} == {"a\x01b", 'profiles[].x"y\\'}


def test_what_comes_rarely_or_in_ever_other_words_is_not_learned() -> None:
    """Keys that are data would make a class larger and larger."""
    collector = Collector(TABLES, Options(NIGHT))
    assert not any(is_usual(b'{"id":1,"mood%d":1}' % number, collector) for number in range(3 * LESSON))
    assert not collector.learned


def test_numbers_are_looked_at_by_column_as_well_as_one_by_one() -> None:
    """Numbers of every form in one column, each the same as when it was decoded."""
    forms = ["1", "-0", "0.50", "-1.1996371E9", "1E-30", "1E400", "1.0000000001", "null", '"7"', '""', '"x"']
    forms += ["true", "{}", "[]", "[1.5]"]
    forms += ["9" * 29, "9" * 30, '"\\u00e9"', '"\\ud83d\\ude00"', '"é"', '{"a":1,"a":2.50}', "1" * 400]
    bodies = [b'{"id":1,"loyaltyInfo":{"lifetimePurchases":%s}}' % form.encode() for form in forms]
    quick, patient, taken = both_ways(bodies)
    assert (quick, taken) == (patient, len(bodies))


OUTER: dict[str, Any] = {"rows": ("around.things[]?",), "key": ("customer_id",)}
ROOT = Table("root", "One.", ("",), ("customer_id",), (integer("things", "#around.things", "How many."),))


@pytest.mark.parametrize(
    "body",
    [
        b'{"around":{}}',
        b'{"around":{"things":null}}',
        b'{"around":{"things":{}}}',
        b'{"around":{"things":{"class":null}}}',
        b'{"around":{"things":[{"class":"x","a b":"y"},null]}}',
        b"{}",
    ],
)
def test_keys_that_no_language_likes_and_objects_that_are_empty(body: bytes) -> None:
    """`{}` is not null where a list inside gives a row of its own; a reserved word or a blank is a key like others."""
    columns = (
        text("is_class", "class", "A word."),
        text("a_b", "a b", "Two."),
        json_text("raw", "@row", "All."),
    )
    for some in (columns, columns[:2]):
        quick, patient, _ = both_ways([body], (ROOT, Table("things", "One.", columns=some, **OUTER)))
        assert quick == patient
