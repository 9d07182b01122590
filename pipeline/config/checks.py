"""`checks`: what holds a night back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from pipeline.config.values import Number, Section, Whole, Word, with_nearest

CHECKS = (
    "outcomes",
    "failed",
    "gone",
    "asked",
    "coverage",
    "age",
    "bytes",
    "rejects",
    "unknown",
    "rows",
    "nulls",
    "blanks",
    "values",
    "new_values",
    "distinct",
    "amounts",
    "signs",
    "sums",
    "shift",
    "units",
    "dates",
    "future",
    "latest",
    "zones",
    "changed",
    "frozen",
    "backwards",
    "keys",
    "parents",
)
"""The checks that compare a night with others, or look at its rows; docs/operations.md tells what each means."""
CheckMode = Literal["hold", "warn", "off"]
_ONLY_WARN = frozenset({"failed", "asked", "coverage", "age", "bytes", "latest", "unknown"})
"""What may be unusual although every row is right."""


def _check_mode(value: object) -> object:
    """YAML takes a bare off for false."""
    return "off" if value is False else value


class ChecksConfig(Section):
    """What holds a night back. The sums always do; these are the checks that look at the rows."""

    sensitivity: Number = Field(1.0, gt=0, le=10)  # 2: bands half as wide
    min_customers: Whole = Field(100, ge=10)  # a night that asked fewer is judged by its sums alone
    mode: dict[Word, Annotated[CheckMode, BeforeValidator(_check_mode)]] = {}
    threshold: dict[Word, Annotated[Number, Field(gt=0)]] = {}  # how far out a number may be at the least
    ignore: list[Word] = []  # tables, or table.column
    keep_nights: Whole = Field(400, ge=1)

    def mode_of(self, check: str) -> CheckMode:
        """What a failure of this check does."""
        return self.mode.get(check, self.mode.get("all", "warn" if check in _ONLY_WARN else "hold"))

    @field_validator("mode", "threshold")
    @classmethod
    def _checks_are_known(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        known = (*CHECKS, "all") if info.field_name == "mode" else CHECKS
        if unknown := [name for name in value if name not in known]:
            raise ValueError(
                f"there is no check {with_nearest(unknown, known)}; known are {', '.join(known)}"
            )
        return value

    @field_validator("ignore")
    @classmethod
    def _ignored_are_known(cls, value: list[str], info: ValidationInfo) -> list[str]:
        tables: Iterable[str] = (info.context or {}).get("tables", ())
        columns: Iterable[str] = (info.context or {}).get("columns", ())
        known = [*tables, *columns]
        unknown = [
            one for one in value if one not in known and (columns or one.partition(".")[0] not in tables)
        ]
        if unknown and known:
            told = with_nearest(unknown, known)
            raise ValueError(
                f"there is no table or table.column {told}; `capillary-export tables` lists them"
            )
        return value
