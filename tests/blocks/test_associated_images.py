"""One row per associated image; the shape is nobody's yet."""

from __future__ import annotations

from tests.blocks.bodies import SIGNED
from tests.blocks.collecting import own_rows


def test_whole_element_is_kept() -> None:
    """As JSON text, whatever it is."""
    doc = {"associatedImages": [{"code": "X1", "format": {"kind": "QR"}}]}
    assert own_rows(doc, "associated_images") == [
        {"ordinal": 0, "raw": '{"code":"X1","format":{"kind":"QR"}}'}
    ]


def test_signed_urls_are_not() -> None:
    """The rest of the element stays."""
    doc = {"associatedImages": [{"code": "X1", "url": SIGNED}]}
    assert own_rows(doc, "associated_images") == [
        {"ordinal": 0, "raw": '{"code":"X1","url":"(secret removed)"}'}
    ]
