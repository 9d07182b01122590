"""The bodies that the bench's server sends: the sandbox's, of ordinary customers, cut around the ID.

A fifth of the customers have everything, so that every table gets rows; with the others, who have the usual blocks,
that makes 5.4 KB on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pipeline.sandbox import known_ids, write_body

CUSTOMERS = 600
"""So many are drawn; those whom the API would not simply answer (absent, partial, merged …) are left out."""
DAY = date(2026, 11, 22)
USUAL = "points,mlp,segments"
EVERYTHING = (
    "points,mlp,segments,alternateCurrencies,promotionalPoints,expirySchedules,expiredPoints,returnedPoints,"
    "subscriptions,customerImage,associatedImages,userGroup"
)
PARAMS = "gapToUpgrade=0&gapToRenew=0&includedFraudDetails=true"
FULL_EVERY = 5
FIRST_ID = 700_000_000
STEP = 1_000_003
"""A prime, so that going round a base of any size visits each place once."""
BETWEEN_PIECES, BETWEEN_BODIES = b"\x01", b"\x02"
"""Control characters, which no JSON text contains."""


class Template(NamedTuple):
    """A body without its ID."""

    before: bytes
    after: bytes


def templates() -> list[Template]:
    """All prepared bodies, the same in every run."""
    return list(_templates())


def _templates() -> Iterator[Template]:
    for number, customer in enumerate(known_ids(CUSTOMERS)):
        embed = EVERYTHING if number % FULL_EVERY == 0 else USUAL
        body = write_body(customer, DAY, f"source=INSTORE&embed={embed}&{PARAMS}", CUSTOMERS)
        head = b'{"id":%d,' % customer
        if body.startswith(head) and body.endswith(b'"warnings":[]}'):
            yield Template(b'{"id":', body[len(head) - 1 :])


def body_of(customer_id: int, prepared: list[Template]) -> bytes:
    """What the server sends for an ID."""
    before, after = prepared[customer_id % len(prepared)]
    return before + b"%d" % customer_id + after


def mean_bytes(prepared: list[Template]) -> float:
    """The mean size of a body, with an ID of nine digits."""
    return sum(len(before) + 9 + len(after) for before, after in prepared) / len(prepared)


def write_bodies(path: Path, prepared: list[Template]) -> None:
    """The file that a server reads at its start."""
    path.write_bytes(BETWEEN_BODIES.join(BETWEEN_PIECES.join(one) for one in prepared))


def read_bodies(path: Path) -> list[Template]:
    """The same, read back."""
    return [Template(*one.split(BETWEEN_PIECES)) for one in path.read_bytes().split(BETWEEN_BODIES)]


def ids(count: int) -> Iterator[int]:
    """The IDs that a run asks for, out of order, as a brand's list is: each chunk of the journal spans them all."""
    return (FIRST_ID + place * STEP % count for place in range(count))
