"""Every check by name: what it looks at, how far a number may be out, and how numbers are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pipeline.config import CHECKS


class Unit(Enum):
    """How a number is told: a share as per cent, a logarithm as a factor."""

    SHARE = "share"
    FACTOR = "factor"
    NUMBER = "number"


Side = Literal["both", "above", "below"]


@dataclass(frozen=True)
class Rule:
    """One check. `drift` is how far a number may move for the same customers, `level` how far it may be from the last
    nights', at a sensitivity of 1; None where that is not compared. `is_rate`: a share that grows with the days between
    two answers, judged by its usual rate a day. `noise`: how far one customer more or less moves the number of one.
    `chance` is the drift that tells how far the customers' own moves, each by itself, may move this one: of a share,
    how many rows changed; of a mean, how differently they moved.
    """

    name: str
    what: str  # the number, in words
    unit: Unit
    drift: float | None = None
    level: float | None = None
    side: Side = "both"
    is_rate: bool = False
    noise: float = 0.0
    chance: Literal["", "changed", "swing"] = ""


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("outcomes", "share of the IDs asked", Unit.SHARE, level=0.05),
        Rule("failed", "share of the IDs asked", Unit.SHARE, level=0.05, side="above"),
        Rule("gone", "share of the customers that answered last time", Unit.SHARE, drift=0.005, side="above"),
        Rule("asked", "share of the list asked tonight", Unit.SHARE, level=0.3, side="below"),
        Rule("coverage", "share of all IDs with rows in the snapshot", Unit.SHARE, level=0.02, side="below"),
        Rule(
            "age", "nights since all but the oldest twentieth were seen", Unit.FACTOR, level=0.5, side="above"
        ),
        Rule("bytes", "bytes of the usual answer", Unit.FACTOR, level=0.15),
        Rule("rejects", "values that fit no column, of each answer", Unit.NUMBER, level=0.05, side="above"),
        Rule("unknown", "unknown keys of each answer", Unit.NUMBER, level=0.2, side="above"),
        Rule("rows", "rows of each customer", Unit.FACTOR, drift=0.08, level=0.25, noise=1.3),
        Rule("nulls", "share of null", Unit.SHARE, drift=0.05, level=0.2, chance="changed"),
        Rule("blanks", "share of blank text", Unit.SHARE, drift=0.05, level=0.2, chance="changed"),
        Rule("values", "share of this value", Unit.SHARE, drift=0.06, level=0.25, chance="changed"),
        Rule("new_values", "share of values that nobody had before", Unit.SHARE, drift=0.01, side="above"),
        Rule("distinct", "distinct values of each row", Unit.FACTOR, drift=0.15, noise=1.0),
        Rule(
            "amounts",
            "mean size, as a power of ten",
            Unit.NUMBER,
            drift=0.1,
            level=0.4,
            noise=1.0,
            chance="swing",
        ),
        Rule(
            "signs", "share of zeros or negative numbers", Unit.SHARE, drift=0.05, level=0.2, chance="changed"
        ),
        Rule("sums", "sum of all, against before", Unit.FACTOR, drift=0.1, noise=1.0),
        Rule("shift", "factor of the usual row, against before", Unit.FACTOR, drift=0.01),
        Rule(
            "units", "share of the amounts exactly × or ÷ 100 or 1,000", Unit.SHARE, drift=0.01, side="above"
        ),
        Rule(
            "dates",
            "mean days from tonight, as a power of ten",
            Unit.NUMBER,
            drift=0.1,
            level=0.4,
            noise=1.0,
            chance="swing",
        ),
        Rule("future", "share of dates after tonight", Unit.SHARE, drift=0.05, level=0.2, chance="changed"),
        Rule("latest", "days from tonight to the newest moments", Unit.NUMBER, level=0.75, side="below"),
        Rule("zones", "share moved by the same hours", Unit.SHARE, drift=0.1, side="above"),
        Rule("changed", "share of the rows changed", Unit.SHARE, drift=0.1, side="above", is_rate=True),
        Rule("frozen", "share of the answers changed", Unit.SHARE, drift=0.0, side="below", is_rate=True),
        Rule("backwards", "share of the rows fallen", Unit.SHARE, drift=0.05, side="above", is_rate=True),
        Rule("keys", "rows whose key another row has", Unit.NUMBER),
        Rule("parents", "rows of customers that are not in customers", Unit.NUMBER),
    )
}
assert set(RULES) == set(CHECKS)
