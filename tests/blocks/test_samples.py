"""The documented sample bodies, where they stand beside the checkout: each fits, nothing is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.jsontext import decode
from tests.blocks.collecting import collect

FOLDER = Path(__file__).parents[3] / "shared" / "api" / "samples"
NO_CUSTOMER = ("10_", "12_", "20_", "22_", "30_", "40_", "44_")
"""Siblings of the endpoint and errors without a body: their shapes are not a customer's."""
SAMPLES = [path for path in sorted(FOLDER.glob("*.json")) if not path.name.startswith(NO_CUSTOMER)]

pytestmark = pytest.mark.skipif(not SAMPLES, reason="the samples stand beside the author's checkout only")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_goes_through(path: Path) -> None:
    """No reject, no unknown field, one customer."""
    decoded = decode(path.read_bytes())
    collected = collect(decoded.doc)
    assert decoded.problem == ""
    assert (collected.rejects, collected.unknown) == ([], {})
    assert collected.batches["customers"].num_rows == 1


def test_paths_of_customer_bodies_are_known() -> None:
    """Every path that anyone has seen in a customer's body has a column (or a reason to be left out)."""
    lines = (FOLDER.parent / "observed_paths.tsv").read_text("utf-8").splitlines()[1:]
    paths = [line.split("\t")[0].removeprefix("(frag).") for line in lines]
    for path in paths:
        if path.startswith("(sibling)"):
            continue
        doc: object = None
        for part in reversed(path.split(".")):
            name = part.replace("[]", "").replace("{*}", "any")
            doc = {name: [doc] if part.endswith("[]") else doc}
        assert collect(doc).unknown == {}, path
