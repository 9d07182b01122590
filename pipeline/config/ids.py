"""`ids`: where the customer IDs are."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from pipeline.config.values import Number, Section, Whole, Word

IDENTIFIERS = (
    "mobile",
    "email",
    "externalId",
    "cardnumber",
    "cardExternalId",
    "wechat",
    "line",
    "cuid",
    "unionId",
    "martjackId",
    "fbId",
)
"""What the lookup form may ask by (API.md, sections 4 and 6.2)."""


class IdsConfig(Section):
    """Where the customer IDs are."""

    paths: list[Word] = Field(min_length=1)
    column: Word | Whole = "customer_id"
    identifier: Literal[IDENTIFIERS] | None = None  # type: ignore[valid-type]
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    header: bool | None = None
    encoding: str | None = None
    max_rejected_share: Number = Field(0.01, ge=0, le=1)
