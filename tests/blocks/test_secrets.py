"""Signed URLs and image tokens are in nothing that is exported, whatever form the answer takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.blocks.secrets import REMOVED, without_secrets
from pipeline.jsontext import Json
from tests.blocks.bodies import IMAGE, SIGNED, full
from tests.blocks.collecting import collect, rows_of

TRACES = ("c0ffee", "deadbeef", "badcafe")
FILE: Any = IMAGE["file"]


def everything(doc: Json) -> str:
    """All that comes out, as one text."""
    collected = collect(doc)
    rows = [rows_of(collected, name) for name in collected.batches]
    return repr((rows, collected.rejects, collected.unknown))


ANSWERS: dict[str, Json] = {
    "as documented": {"customerImage": [IMAGE]},
    "one image alone": {"customerImage": IMAGE},
    "a list in a list": {"customerImage": [[IMAGE]]},
    "text": {"customerImage": SIGNED},
    "texts": {"customerImage": [SIGNED]},
    "file as a list": {"customerImage": [IMAGE | {"file": [FILE]}]},
    "file as text": {"customerImage": [IMAGE | {"file": SIGNED}]},
    "under an unknown key": {"customerImage": [{"url": SIGNED, "images": [IMAGE]}]},
    "another spelling": {"customerImage": [{"file_path": SIGNED, "file": {"s3_token": "badcafe"}}]},
    "in a known column": {"customerImage": [IMAGE | {"message": SIGNED, "code": SIGNED}]},
    "unknown block": {"customerImages": [IMAGE], "pictures": {"secureFilePath": "c0ffee"}},
    "associated images": {
        "associatedImages": [IMAGE, {"front": {"filePath": "c0ffee"}}, {"barcode": SIGNED}]
    },
    "associated images as texts": {"associatedImages": [SIGNED]},
    "as a key": {"customerImage": [{SIGNED: 1}]},
    "in another block's raw column": {"returnedPoints": [{"proof": SIGNED}], "userGroup": [{"logo": SIGNED}]},
    "in a profile": {"profiles": [{"filePath": "c0ffee", "attribution": {"filePath": "c0ffee"}}]},
    "in a profile's conflicts": {"profiles": [{"conflictingProfileList": [{"image": IMAGE}]}]},
    "everything": full(),
}


@pytest.mark.parametrize("doc", ANSWERS.values(), ids=ANSWERS)
def test_no_secret_comes_out(doc: Json) -> None:
    """No column, extra, reject or unknown field holds one."""
    assert not [trace for trace in TRACES if trace in everything(doc)]


def test_repeated_block_is_scrubbed() -> None:
    """What is rejected because its key came twice is JSON text too."""
    text = without_secrets(json.dumps([IMAGE]))
    assert not [trace for trace in TRACES if trace in text]
    assert json.loads(text)[0]["filePath"] == REMOVED


def test_what_is_no_secret_stays() -> None:
    """Text that only sounds like one is left as it was, to the digit."""
    for text in ('{"design":1.50,"filePathLength":3}', '{"a":"signature"}', '"sig"', "[1e5]"):
        assert without_secrets(text) == text


def test_text_that_is_no_json_is_removed_whole() -> None:
    """Where a secret cannot be cut out, nothing stays."""
    assert without_secrets('{"filePath": "c0ffee') == f'"{REMOVED}"'
