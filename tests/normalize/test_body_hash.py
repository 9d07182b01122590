"""The hash of an answer tells whether the customer changed, not whether the bytes did."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.normalize.body_hash import body_hash

DOCUMENT: dict[str, Any] = {
    "id": 7,
    "loyaltyInfo": {"loyaltyType": "loyalty", "lifetimePurchases": 24000.0},
    "customerImage": [
        {"code": 200, "file": {"fileHandle": "a-b", "s3Token": "t1"}, "filePath": "https://s/1?X=1"}
    ],
    "associatedImages": [{"type": "BARCODE", "secureFilePath": 'https://s/2?a=\\"1'}],
    "warnings": [],
}


def hashed(**changes: Any) -> str:
    return body_hash(json.dumps(DOCUMENT | changes, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"warnings": [{"status": False, "code": 8054, "message": "Account id is not passed"}]},
        {
            "customerImage": [
                {"code": 200, "file": {"fileHandle": "a-b", "s3Token": "t2"}, "filePath": "https://s/9"}
            ]
        },
        {"associatedImages": [{"type": "BARCODE", "secureFilePath": "https://s/3"}]},
    ],
    ids=["a warning", "a signed picture", "a signed barcode"],
)
def test_what_differs_from_call_to_call_does_not_count(changes: dict[str, Any]) -> None:
    """Warnings, signed URLs and storage tokens are of the call."""
    assert hashed(**changes) == hashed()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 8},
        {"loyaltyInfo": {"loyaltyType": "loyalty", "lifetimePurchases": 24000.1}},
        {"segments": {}},
        {"customerImage": [{"code": 200, "file": {"fileHandle": "other"}}]},
        {"customerImage": []},
    ],
)
def test_what_is_the_customers_counts(changes: dict[str, Any]) -> None:
    """Another value, a new block, another picture."""
    assert hashed(**changes) != hashed()


def test_the_order_of_the_blocks_does_not_count() -> None:
    """The same blocks the other way round are the same customer; a value that moved to another block is not."""
    backwards = json.dumps(dict(reversed(DOCUMENT.items())), separators=(",", ":")).encode()
    assert body_hash(backwards) == hashed()
    assert body_hash(b'{"a":1,"b":2}') != body_hash(b'{"a":2,"b":1}')


def test_a_signed_url_in_an_unknown_block_does_not_count() -> None:
    """Its query is left out, wherever it stands."""
    first, second = (
        json.dumps(
            {"id": 1, "news": {"at": f"https://s/p.png?X-Amz-Date={one}&X-Amz-Signature={one}"}}
        ).encode()
        for one in ("111", "222")
    )
    assert body_hash(first) == body_hash(second)
    assert body_hash(first.replace(b"p.png", b"q.png")) != body_hash(second)


def test_pages_count_and_odd_bodies_are_hashed_as_they_are() -> None:
    """Invalid UTF-8, NaN, no object: still a hash of 16 hex digits, the same for the same bytes."""
    assert body_hash(b'{"id":1}', [b'{"id":1,"userGroups":[]}']) != body_hash(b'{"id":1}')
    for body in (b'{"id":NaN}', b'{"id":"\xff"}', b"[]", b"", b"[" * 5000):
        assert len(body_hash(body)) == 16
        assert body_hash(body) == body_hash(body)
