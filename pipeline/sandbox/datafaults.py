"""Faults of the data, for whole nights: every reply is well formed and every status is 200, but the content
is wrong. Each is a function on the body, which it changes in place."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from pipeline.sandbox.rawjson import Document, raw, raw_text

DataFault = Callable[[Document, str], None]

# The block that an embed's name brings, where the two differ.
BLOCK_OF = {
    "mlp": "loyaltyProgramDetails",
    "points": "pointsSummary",
    "subscriptions": "subscriptionInfo",
    "alternateCurrencies": "alternateCurrencyDetails",
    "customerStatus": "statusLabel",
    "cards": "cardDetails",
}

_MONEY = frozenset({"lifetimePurchases", "cumulativePurchases", "lifeTimePurchases"})
_TIERS = frozenset({"currentSlab", "nextSlab"})
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d:\d\d)(.*)", re.ASCII)
_SHIFT = timedelta(hours=5, minutes=30)


def _embed_missing(body: Document, block: str) -> None:
    body.pop(BLOCK_OF.get(block, block), None)


def _money_x100(body: Document, _: str) -> None:
    _rewrite(body, lambda key, value: _times_100(value) if key in _MONEY else value)


def _times_100(value: object) -> object:
    text = raw_text(value)
    if text is not None:
        return raw(repr(float(text) * 100))
    return value * 100 if isinstance(value, int | float) else value


def _segments_empty(body: Document, _: str) -> None:
    if "segments" in body:
        body["segments"] = {}


def _tier_renamed(body: Document, _: str) -> None:
    _rewrite(body, lambda key, value: f"{value} Club" if key in _TIERS and value else value)


def _dates_shifted(body: Document, _: str) -> None:
    """Every moment moves by 5 h 30 min and keeps its zone: what a zone applied twice does."""
    _rewrite(body, lambda key, value: _shift(value))


def _shift(value: object) -> object:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    day, between, time, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}") + _SHIFT
    except (ValueError, OverflowError):
        return value
    return moment.isoformat(sep=between) + zone


def _rewrite(node: object, change: Callable[[str, object], object]) -> None:
    """Puts every scalar that has a key through a change, at every depth."""
    if isinstance(node, list):
        for item in node:
            _rewrite(item, change)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, dict | list):
                _rewrite(value, change)
            else:
                node[key] = change(key, value)


def _nothing(body: Document, _: str) -> None:
    """half-missing and groups-stuck strike before there is a body."""


DATA_FAULTS: dict[str, DataFault] = {
    "embed-missing": _embed_missing,
    "money-x100": _money_x100,
    "segments-empty": _segments_empty,
    "tier-renamed": _tier_renamed,
    "dates-shifted": _dates_shifted,
    "half-missing": _nothing,
    "groups-stuck": _nothing,
}


def _profiles_as_object(body: Document) -> None:
    body["profiles"] = {"0": body.get("profiles")}


def _loyalty_as_text(body: Document) -> None:
    body["loyaltyInfo"] = "loyalty"


def _segments_as_list(body: Document) -> None:
    body["segments"] = ["Active", 1, None]


def _cards_as_text(body: Document) -> None:
    body["cardDetails"] = "none"


def _amount_as_object(body: Document) -> None:
    body["loyaltyInfo"] = {"loyaltyType": 1, "lifetimePurchases": {"amount": "12,5"}}


def _programs_as_numbers(body: Document) -> None:
    key = "loyaltyProgramDetails" if "loyaltyProgramDetails" in body else "extendedFields"
    body[key] = [17, "x", None, [1.5]]


# One of these is picked for a body that `wrong-type` strikes.
WRONG_TYPES: tuple[Callable[[Document], None], ...] = (
    _profiles_as_object,
    _loyalty_as_text,
    _segments_as_list,
    _cards_as_text,
    _amount_as_object,
    _programs_as_numbers,
)
