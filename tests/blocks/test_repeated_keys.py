"""A key that comes twice at the top of a body: the last one counts, and what it hid is told."""

from __future__ import annotations

import pytest

from pipeline.jsontext import decode


def test_the_first_of_two_is_told() -> None:
    """A documented body has extendedFields twice."""
    decoded = decode(b'{"id":1,"extendedFields":{"a":1.50},"x":2,"extendedFields":{"b":2}}')
    assert decoded.doc == {"id": 1, "extendedFields": {"b": 2}, "x": 2}
    assert decoded.repeated == (("extendedFields", {"a": "1.50"}),)
    assert decoded.problem == ""


def test_any_key_at_the_top_is_watched() -> None:
    """Whatever block comes twice, compact or with white space."""
    for body in (
        b'{"id":1,"loyaltyInfo":{"a":1},"loyaltyInfo":{}}',
        b'{"id": 1, "loyaltyInfo": {"a": 1}, "loyaltyInfo": {}}',
    ):
        assert decode(body).repeated == (("loyaltyInfo", {"a": 1}),)


@pytest.mark.parametrize(
    "body",
    [
        b'{"extendedFields":{"a":1}}',
        b'{"extendedFields":{"a":1},"extendedFields":{"a":1}}',
        b'{"extendedFields":{},"cardDetails":[{"extendedFields":{"a":1}},{"extendedFields":{"a":2}}]}',
        b'{"x":"\\"extendedFields\\":","y":{"extendedFields":{"extendedFields":1}}}',
        b'["extendedFields","extendedFields"]',
        b'{"a":1,"a":1}',
        b'{ "a" : 1 }',
        b"{}",
        '{"\u0928\u093e\u092e":1,"caf\\u00e9":2}'.encode(),
    ],
)
def test_nothing_is_told_where_nothing_is_lost(body: bytes) -> None:
    """Once, twice the same, or further in."""
    assert decode(body).repeated == ()


def test_patient_reading_tells_too() -> None:
    """A body that the strict decoder refuses."""
    decoded = decode(b'{"a":NaN,"b":1,"b":2}')
    assert decoded.doc == {"a": "NaN", "b": 2}
    assert decoded.repeated == (("b", 1),)
