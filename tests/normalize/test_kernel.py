"""The kernel against the way by hand: the same rows, rejects, unknown keys and hashes, whatever an answer holds."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bodies import body_of, ids, templates
from pipeline.blocks import TABLES
from pipeline.blocks.base import Table, integer, json_text, local_time, text
from pipeline.blocks.collect import LESSON, Options
from pipeline.jsontext import Json, JsonFloat, dump
from pipeline.normalize.answers import Answers, Bodies, Gathered
from pipeline.normalize.body_hash import body_hash
from pipeline.normalize.kernel.collecting import KernelCollector
from pipeline.normalize.kernel.library import kernel, why_not
from pipeline.normalize.kernel.plan import write_plan
from tests.blocks.bodies import full
from tests.blocks.test_nothing_lost import PLACES, VALUES, replaced
from tests.blocks.test_usual import OUTER, ROOT, SPELLINGS

OPTIONS = Options(date(2026, 11, 22))
pytestmark = pytest.mark.skipif(kernel() is None, reason=f"no kernel: {why_not()}")

Told = tuple[Any, ...]


@cache
def two_ways(tables: tuple[Table, ...], zone: ZoneInfo | None) -> tuple[Answers, Answers]:
    """With the kernel and without; with a zone, offsets are kept, too. Making them compiles: the tests share them."""
    options = replace(OPTIONS, zone=zone, keep_offsets=zone is not None)
    by_kernel, by_hand = Answers(tables, options), Answers(tables, options)
    by_hand._kernel = None
    return by_kernel, by_hand


def both_ways(bodies: list[bytes], zone: ZoneInfo | None = None, tables: tuple[Table, ...] = TABLES) -> float:
    """Assert that both ways give the same; how many of the bodies the kernel took, as a share."""
    by_kernel, by_hand = two_ways(tables, zone)
    for number, body in enumerate(bodies):
        told = 4711 + number, body, (), 1_790_000_000_000_000 + number, number
        assert by_kernel.add(*told) == by_hand.add(*told), body
    refused = by_kernel._waiting
    same(by_kernel.drain(), by_hand.drain())
    return 1 - refused / len(bodies)


def same(one: Gathered, other: Gathered) -> None:
    """The same rows in the same order, the same rejects, the same unknown keys of the same answers."""
    assert one.batches.keys() == other.batches.keys()
    for name, batches in one.batches.items():
        (mine,), (theirs,) = batches, other.batches[name]
        mine.validate(full=True)
        for column in mine.schema.names:
            assert mine.column(column).equals(theirs.column(column)), (name, column)
    assert one.rejects == other.rejects
    assert one.unknown.keys() == other.unknown.keys()
    for key, field in one.unknown.items():
        assert field.table == other.unknown[key].table
        assert sorted(field.seen) == sorted(other.unknown[key].seen)


def leaf(value: str, name: str = "loyaltyInfo", key: str = "lifetimePurchases") -> bytes:
    """A small answer with JSON text in one place."""
    return b'{"id":1,"%b":{"%b":%b}}' % (name.encode(), key.encode(), value.encode())


ODD: list[Json] = ["", "x", None, 5, True, 10**30, [], {}, [None, {}], [{"a": 1}], {"a": None}, "5", "true"]
ODD += [JsonFloat("1.50"), JsonFloat("7.0"), "2026-02-29", "2026-11-22T10:00:00+05:30", "2026-11-22 10:00:00"]


def test_the_full_body_is_taken() -> None:
    """Every block, other spellings too, wholly by the kernel."""
    assert both_ways([dump(full()).encode()]) == 1


def test_a_value_in_any_place_gives_the_same() -> None:
    """Odd values, other forms, nulls and empty objects, in each place of the body in turn."""
    dice = random.Random(11)
    bodies = [dump(replaced(path, value)).encode() for path in PLACES for value in dice.sample(ODD, 3)]
    assert both_ways(bodies) > 0.8


def test_a_surprise_in_any_object_gives_the_same() -> None:
    """Keys that no declaration names, in every object of the body; leaks of Thrift among them."""
    bodies = []
    for path in PLACES:
        holder: Any = full()
        for name in path:
            holder = holder[name]
        if isinstance(holder, dict):
            surprises = {"surprise": [1, {"b": JsonFloat("1.0")}], "a": None, "setMood": True, "setCode": 5}
            bodies.append(dump(replaced(path, holder | surprises)).encode())
    assert both_ways(bodies) > 0.9


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_in_any_place_gives_the_same(path: tuple[str | int, ...], value: Json) -> None:
    """Whatever JSON can say, wherever."""
    both_ways([dump(replaced(path, value)).encode()])


BODY = dump(full()).encode()
REMARKABLE = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"\x00",
    b"\xff",
    b"\xc3\xa9",
    b"0",
    b"-",
    b"e",
]
REMARKABLE += [
    b"null",
    b'"\\ud83d\\ude00"',
    b"\\u0000",
    b"\xed\xa0\x80",
    b'"id":1,',
    b'{"a":1,"a":2}',
    b"1e5",
    b"Z",
    b".",
]


@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 12), st.sampled_from(REMARKABLE)),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_body_gives_the_same(damages: list[tuple[float, int, bytes]]) -> None:
    """Bytes cut out and put in anywhere: what no strict decoder reads, the kernel does not take either."""
    body = BODY
    for where, cut, put in damages:
        at = int(where * len(body))
        body = body[:at] + put + body[at + cut :]
    kernel_alone = two_ways(TABLES, None)[0]._kernel
    assert kernel_alone
    taken = kernel_alone.add(body, 1, 1, 1) is not None
    kernel_alone.drain()
    if taken:
        msgspec.json.decode(body.decode())
    both_ways([body])


@pytest.mark.parametrize("cut", [1, 2, 3, 50, 51, 333, 1000, len(BODY) - 1, len(BODY) - 2])
def test_a_body_that_was_cut_off_is_refused(cut: int) -> None:
    """At any place; and leaves nothing."""
    collector = KernelCollector(TABLES, OPTIONS)
    assert collector.add(BODY[:cut], 1, 1, 1) is None
    assert not collector.drain().batches


NUMBERS = [
    "1",
    "-0",
    "0",
    "0.50",
    "-0.0",
    "-1.1996371E9",
    "1E-30",
    "0E-30",
    "1E400",
    "0E400",
    "1.0000000001",
    "1e2",
    "1.5E1",
]
NUMBERS += [
    "1.0000000000000000000",
    "9" * 29,
    "9" * 30,
    "9" * 29 + ".123456789",
    "0." + "0" * 9 + "1",
    "1" * 400,
    "123.4e-2",
]
NUMBERS += [
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "999999999999999999",
    "7.0",
    "7.10",
    "01",
]
STRINGS = [f'"{number}"' for number in NUMBERS] + [
    '"+5"',
    '"5."',
    '".5"',
    '"1_0"',
    '" 1"',
    '"00012"',
    '"-"',
    '"--1"',
    '"1e"',
]
STRINGS += [
    '""',
    '"x"',
    '"TRUE"',
    '"False"',
    '"truer"',
    '"\\u00e9"',
    '"\\ud83d\\ude00 \\/"',
    '"é\\n"',
    '"1\\u0030"',
    '"null"',
]
OTHERS = [
    "true",
    "false",
    "null",
    "{}",
    "[]",
    "[1.5]",
    '{"a":1,"a":2.50}',
    '{"a": 1}',
    '["x\\"y"]',
    "[-0]",
    "[[[[{}]]]]",
]
OTHERS += [
    '{"url":"https://x/?X-Amz-Signature=1"}',
    '{"filePath":"x","S3Token":"t"}',
    '"?sig=1"',
    '{"profile":"sigh"}',
]
OTHERS += ["[" * 70 + "]" * 70, "1.5e", "tru", "nul", "'x'", "NaN", "-"]
TIMES = [
    "2026-11-22T10:00:00+05:30",
    "2026-11-22T10:00:00Z",
    "2026-11-22 10:00:00+0530",
    "2026-11-22T10:00Z",
    "2026-11-22T10Z",
]
TIMES += [
    "2026-11-22T10:00:00.5Z",
    "2026-11-22T10:00:00.123456-03:00",
    "2026-11-22T10:00:00.1234567Z",
    "2026-11-22T10:00:00,5Z",
]
TIMES += [
    "2026-11-22T24:00:00Z",
    "2026-11-22T23:59:60Z",
    "2026-13-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
]
TIMES += [
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-05:30",
    "0001-01-01T00:00:00+05:30",
    "0000-01-01T00:00:00Z",
    "1969-12-31",
]
TIMES += [
    "2026-11-22T10:00:00",
    "2026-11-22 10:00",
    "2026-11-22",
    "2026-11-2",
    "20261122",
    "2026-11-22T10:00:00+25:00",
    "9999-12-31",
]
TIMES += [
    "1900-02-29",
    "2000-02-29",
    "0001-01-01",
    "2026-11-31",
    "2026-11-22T",
    "2026-11-22T10:00:00.",
    "2026-11-22T10:00:00 Z",
    "Z",
]
LEAVES = NUMBERS + STRINGS + OTHERS + [f'"{time}"' for time in TIMES]


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("loyaltyInfo", "lifetimePurchases"),  # a decimal
        ("loyaltyInfo", "loyaltyType"),  # text
        ("pointsSummary", "programId"),  # an integer
        ("pointsSummary", "slabExpiryDate"),  # an instant
        ("associationDetails", "childCustomers"),  # JSON, and a count of it
        ("extendedFields", "any"),  # an entry of a map
        ("segments", "any"),  # the same, a row for each element of a list
        ("loyaltyInfo", "nobodyKnows"),
    ],
)
@pytest.mark.parametrize("zone", [None, ZoneInfo("Asia/Kolkata")])
def test_every_way_to_write_a_value_gives_the_same(block: str, key: str, zone: ZoneInfo | None) -> None:
    """Numbers, texts, times and others that are nearly right, in a column of each kind; with and without offsets."""
    both_ways([leaf(written, block, key) for written in LEAVES], zone)


CUSTOMER = Table("customer", "One.", ("",), ("customer_id",), (integer("number", "id", "Its ID."),))
LOCAL = Table(
    "one",
    "One.",
    ("one",),
    ("customer_id",),
    (local_time("at", "at", "When."), json_text("raw", "@row", "All."), text("kind", "@place", "None.")),
)


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.([0-9]{0,8}|0{8}|[0-9]{8}[05]0{0,3}|[0-9]{9}50{0,3}|[0-9]{0,45})[0-9])?"
                  r"([eE][+-]?[0-9]{1,5})?", fullmatch=True, alphabet="0123456789-+.eE")
)  # fmt: skip
def test_any_number_is_rounded_to_the_same(number: str) -> None:
    """Half to the even one, the raw number in `extra`; too many digits before the point are a reject."""
    both_ways([leaf(number), leaf(f'"{number}"')])


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("zeros", [0, 1, 20])
def test_halves_go_to_the_even_one(sign: str, zeros: int) -> None:
    """Ties, and a little less and more than a tie, also where they carry over, or nothing is left but the sign."""
    found = []
    for kept in ("0.000000000", "0.000000001", "0.000000002", "7.999999999", "9" * 29 + ".999999999"):
        for dropped in ("5", "50", "49999999999999", "50000000001", "1", "9" * 20):
            found.append(leaf(sign + kept + "0" * zeros + dropped))
    both_ways(found)


def test_the_way_by_hand_is_made_once_and_learns() -> None:
    """When the first answer wants it, not before; it stays, with what it has learned of answers before."""
    answers = Answers(TABLES, OPTIONS)
    answers.add(1, BODY, (), 1, 1)
    answers.drain()
    assert answers._made is None
    assert answers.learned == frozenset()
    for number in range(2 * LESSON):
        answers.add(1, b'{"id":1,"profiles":[{"new":1}],"loyaltyInfo":{"a":1,"a":2}}', (), 1, number)
        answers.drain()
    made = answers._by_hand
    assert ("profiles[]", "new") in answers.learned
    other = Answers(TABLES, OPTIONS)
    other.learn(answers.learned)
    assert other.learned == answers.learned == made.learned


def test_batches_outlive_the_collector() -> None:
    """They lie in its memory, which stays as long as one of them."""
    collector = KernelCollector(TABLES, OPTIONS)
    assert collector.add(BODY, 1, 1, 1) is not None
    batches = collector.drain().batches
    told = {name: batch.to_pylist() for name, batch in batches.items()}
    del collector
    others = [KernelCollector(TABLES, OPTIONS) for _ in range(3)]
    assert all(other.add(BODY, 2, 2, 2) for other in others)
    assert {name: batch.to_pylist() for name, batch in batches.items()} == told


def test_local_times_and_whole_objects() -> None:
    """Which no block has in so many forms."""
    assert (
        both_ways([b'{"one":{"at":%b}}' % written.encode() for written in LEAVES], tables=(CUSTOMER, LOCAL))
        > 0.8
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"around":{}}',
        b'{"around":{"things":null}}',
        b'{"around":{"things":[]}}',
        b'{"around":{"things":{}}}',
        b'{"around":{"things":{"class":null}}}',
        b'{"around":{"things":[{"class":"x","a b":"y"},null]}}',
        b'{"around":[]}',
        b"{}",
        b"[]",
        b"5",
        b"",
        b" { } ",
    ],
)
def test_lists_that_always_give_a_row(body: bytes) -> None:
    """`{}` is not null where a list inside gives a row of its own."""
    columns = (
        text("is_class", "class", "A word."),
        text("a_b", "a b", "Two."),
        json_text("raw", "@row", "All."),
    )
    for some in (columns, columns[:2]):
        both_ways([body], tables=(ROOT, Table("things", "One.", columns=some, **OUTER)))


@pytest.mark.parametrize(
    "body",
    [
        *SPELLINGS,
        b'{"id":1,"id":2}',
        b'{"id":1,"mood":1,"mood":2}',
        b'{"id":1,"profiles":[{"source":"A","source":"B"}]}',
        b'{"id":1,"mood":"good","setMood":true}',
        b'{"id":1,"setMood":true}',
        b'{"id":1,"m\\u006fod":"good","mood":2}',
        b'{"id":1,"extendedFields":{"a":1,"a":2,"b":[],"\\u0061":3,"c":{"d":"\\u00e9"}}}',
        b'{"id":1,"segments":{"a":[],"b":["x",null,5,{"y":1}],"c":null}}',
        b'{"id":1,"segments":{"a":[],"a":["x"]}}',
        b' { "id" : 1 , "profiles" : [ { "source" : "A" } , null ] , "segments" : { "a" : [ "b" ] } } \n',
        '{"id":1,"profiles":[{"firstName":"\u00e9\U0001f600","lastName":"\\u00e9\\t"}],"extendedFields":{"\u533a":"\u57df"}}'.encode(),
        b'{"id":1,"profiles":[{"firstName":"\\ud83d"}]}',
        b'{"id":1,"profiles":[{"firstName":"a\xc0\x80"}]}',
        b'{"customerImage":[{"filePath":"https://x/?Signature=1","secureFilePath" : "a\\"b","name":"n"}],"id":1}',
        b'{"associatedImages":{"filePath":"https://x/p","s3Token":"t","code":"c"},"warnings":[],"errors":[]}',
        b'{"id":1,"customerImage":[{"name":"https://x/?x-amz-y","file":{"s3Token":"t","name":"?sig=1"}}]}',
        b'{"id":1,"warnings":[{"code":1}],"errors":[{"code":2}]}',
    ],
)
def test_keys_and_forms(body: bytes) -> None:
    """Spellings, keys that come twice, maps, white space, escapes, images: the same rows and the same hash."""
    both_ways([body])


SECRETS = st.sampled_from(
    [
        "a",
        "?sig=",
        "&Signature=",
        "?x-goog-a_1=",
        "?x-goog-=",
        "?x-goog-é=",
        "X-Amz-",
        "x-amz",
        "awsAccessKeyId=1",
        "awsaccesskeyid",
        "sig=",
        "https://x/?a=1&key-pair-id=2",
        "Key-pair-id",
        "?ſig=",
        "design",
        "?sigma=",
    ]
) | st.just("")
KEYS = st.sampled_from(
    ["a", "b", "filePath", "file_path", "x.S3_Token", "s3token.x", "secureFilePath", "?sig=", "\u00e9"]
)
SCALARS = SECRETS | st.sampled_from([None, True, 0, 5, JsonFloat("1.50")])


@given(
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    KEYS,
    st.booleans(),
)
def test_secrets_are_removed_from_what_is_kept_as_json(value: Json, key: str, has_blanks: bool) -> None:
    """From whole rows as from unknown keys, however deep they stand and however they are written."""
    element = dump({"code": 1, key: value}).encode()
    body = b'{"id":1,"associatedImages":[%b],"profiles":[{"mood":%b}]}' % (element, dump(value).encode())
    both_ways([body.replace(b",", b", ") if has_blanks else body])


def test_answers_as_a_night_has_them_are_all_taken() -> None:
    """Those of the bench's server; also between others that go by hand, in the order of the answers."""
    prepared = templates()
    bodies = [body_of(one, prepared) for one in ids(60)]
    assert both_ways(bodies) == 1
    mixed = [body for usual in bodies for body in (usual, b'{"id":1,"profiles":["x"]}')]
    assert both_ways(mixed) == 0.5


def test_answers_of_any_length_are_hashed_side_by_side() -> None:
    """Each one's hash stands in its row and is that of `body_hash`, wherever a block of BLAKE2b ends.

    Also between answers that are refused, and such as the kernel does not hash.
    """
    usual = [b'{"id":1,"mood":"%b"}' % (b"x" * length) for length in (*range(520), 9_000, 70_000, 600_000)]
    others = [b'{"id":1,"profiles":["x"]}', b'{"id":1,"mood":"https://x?Signature=1"}', b'{"id":1,"mood":"']
    bodies = [
        body
        for number, one in enumerate(usual)
        for body in (one, others[number % 3])[: 1 + (number % 7 == 0)]
    ]
    random.Random(7).shuffle(bodies)
    lengths = np.array(list(map(len, bodies)))
    abouts = np.stack([np.arange(len(bodies))] * 3, axis=1)
    answers = Answers(TABLES, OPTIONS)
    hashes = answers.add_many(Bodies(b"".join(bodies), np.cumsum(lengths) - lengths, lengths), abouts)
    (customers,) = answers.drain().batches["customers"]
    wanted = list(map(body_hash, bodies))
    assert [f"{number:016x}" for number in hashes.tolist()] == wanted
    assert customers.column("body_hash").to_pylist() == wanted


def test_the_next_answers_start_afresh() -> None:
    """After a drain nothing of before is there; a refused answer leaves nothing in between."""
    collector = KernelCollector(TABLES, OPTIONS)
    for _ in range(2):
        assert (
            collector.add(b'{"id":1,"mood":1,"loyaltyInfo":{"lifetimePurchases":"x"}}', 1, 1, 1) is not None
        )
        assert (
            collector.add(b'{"id":2,"extendedFields":{"a":{"b": 1}},"profiles":[{"firstName":"x"}]}', 2, 2, 2)
            is None
        )
        found = collector.drain()
        assert found.batches.keys() == {"customers", "loyalty"}
        assert [found.batches[name].num_rows for name in found.batches] == [1, 1]
        assert (len(found.rejects), len(found.unknown)) == (1, 1)


def test_a_declaration_that_the_kernel_does_not_know_is_refused() -> None:
    """At once, not when an answer comes."""
    odd = Table("one", "One.", ("",), ("customer_id",), (integer("kind", "@key", "A word as a number."),))
    with pytest.raises(ValueError, match="kind: '@key' as int"):
        write_plan((odd,), offsets=False)
