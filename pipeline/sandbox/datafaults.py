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

# Blocks that come by embed: what an answer lacks that was asked for none of them.
BLOCKS = (
    "pointsSummary",
    "loyaltyProgramDetails",
    "groupLoyaltyProgramDetails",
    "subscriptionInfo",
    "promotionalPoints",
    "expirySchedules",
    "expiredPoints",
    "returnedPoints",
    "userGroup",
    "gapDetails",
    "customerImage",
    "associatedImages",
    "segments",
    "cardLoyaltyDetails",
    "associationDetails",
    "statusLabel",
    "statusLabelReason",
    "alternateCurrencyDetails",
)

STORES = 40
"""A customer's store is its number in the base, modulo this."""

_MONEY = frozenset({"lifetimePurchases", "cumulativePurchases", "lifeTimePurchases"})
_POINTS = frozenset({"loyaltyPoints", "lifetimePoints", "totalAvailablePoints", "points"})
_TIERS = frozenset({"currentSlab", "nextSlab"})
_IDENTIFIERS = frozenset({"mobile", "email"})
_LABELS = frozenset({"statusLabel", "label"})
_TRANSLATED = {
    "Active": "Aktiv",
    "VIP-hold": "VIP-Sperre",
    "Suspended": "Gesperrt",
    "ACTIVE": "AKTIV",
    "NEW CARD": "NEUE KARTE",
}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d:\d\d)(.*)", re.ASCII)
_SHIFT = timedelta(hours=5, minutes=30)


def _embed_missing(body: Document, block: str) -> None:
    body.pop(BLOCK_OF.get(block, block), None)


def _money_x100(body: Document, _: str) -> None:
    _rewrite(body, lambda key, value: _times(value, 100) if key in _MONEY else value)


def _times(value: object, factor: float) -> object:
    text = raw_text(value)
    if text is not None:
        return raw(repr(float(text) * factor))
    return value * factor if isinstance(value, int | float) else value


def _segments_empty(body: Document, _: str) -> None:
    if "segments" in body:
        body["segments"] = {}


def _tier_renamed(body: Document, tier: str) -> None:
    """All tiers, or the one named."""
    _rewrite(
        body,
        lambda key, value: f"{value} Club" if key in _TIERS and value and tier in ("", value) else value,
    )


def _tier_new(body: Document, _: str) -> None:
    """Everybody is in a tier that nobody was in."""
    _rewrite(body, lambda key, value: "Diamond" if key == "currentSlab" else value)


def _embeds_missing(body: Document, _: str) -> None:
    for block in BLOCKS:
        body.pop(block, None)


def _points_zero(body: Document, _: str) -> None:
    _rewrite(body, lambda key, value: 0.0 if key in _POINTS else value)


def _points_negative(body: Document, _: str) -> None:
    _rewrite(body, lambda key, value: _times(value, -1) if key in _POINTS else value)


def _purchases_low(body: Document, per_cent: str) -> None:
    """Lifetime purchases are some per cent lower: 10, if not said."""
    factor = 1 - float(per_cent or 10) / 100
    _rewrite(body, lambda key, value: _times(value, factor) if key in _MONEY else value)


def _numbers_rounded(body: Document, _: str) -> None:
    _rewrite(body, lambda _, value: _whole(value))


def _whole(value: object) -> object:
    text = raw_text(value)
    number = float(text) if text is not None else value
    return round(number) if isinstance(number, float) else value


def _identifiers_blank(body: Document, _: str) -> None:
    """Mobiles and e-mails are there, but blank."""

    def blank(node: Document) -> None:
        if node.get("type") in _IDENTIFIERS and "value" in node:
            node["value"] = ""

    _visit(body, blank)


def _visit(node: object, change: Callable[[Document], None]) -> None:
    """Shows every object, at every depth, to a change."""
    if isinstance(node, dict):
        change(node)
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _visit(inner, change)


def _other_source(body: Document, _: str) -> None:
    """The profiles of a source that was not asked for."""
    _rewrite(body, lambda key, value: "ECOMMERCE" if key == "source" else value)


def _lists_truncated(body: Document, _: str) -> None:
    """Of every list the first item only."""

    def cut(node: Document) -> None:
        node.update({key: value[:1] for key, value in node.items() if isinstance(value, list)})

    _visit(body, cut)


def _fields_renamed(body: Document, _: str) -> None:
    """Custom fields have a prefix that they never had."""

    def rename(node: Document) -> None:
        fields = node.get("fields")
        if isinstance(fields, dict):
            node["fields"] = {f"custom_{name}": value for name, value in fields.items()}

    _visit(body, rename)


def _fields_null(body: Document, _: str) -> None:
    fields = body.get("extendedFields")
    if isinstance(fields, dict):
        body["extendedFields"] = dict.fromkeys(fields)


def _status_translated(body: Document, _: str) -> None:
    """The labels of customers, identifiers and cards, as an account in another language has them."""
    _rewrite(body, lambda key, value: _TRANSLATED.get(str(value), value) if key in _LABELS else value)


def _dates_far(body: Document, _: str) -> None:
    """Every moment is a hundred years later."""
    _rewrite(body, lambda _, value: _a_century_on(value))


def _a_century_on(value: object) -> object:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    return f"{int(found[1][:4]) + 100}{found[0][4:]}" if found else value


def _booleans_text(body: Document, _: str) -> None:
    _rewrite(body, lambda _, value: ("No", "Yes")[value] if isinstance(value, bool) else value)


def _warned(body: Document, _: str) -> None:
    """A warning on the answer, though nothing is missing in it."""
    warning = {"status": False, "code": 8062, "message": "Points details fetch failed"}
    body["warnings"] = [warning]


def _names_swapped(body: Document, _: str) -> None:
    """First and last names have changed places."""

    def swap(node: Document) -> None:
        if "firstName" in node and "lastName" in node:
            node["firstName"], node["lastName"] = node["lastName"], node["firstName"]

    _visit(body, swap)


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
    """half-missing, groups-stuck and others strike before there is a body; server.py knows what they do."""


DATA_FAULTS: dict[str, DataFault] = {
    "embed-missing": _embed_missing,
    "money-x100": _money_x100,
    "segments-empty": _segments_empty,
    "tier-renamed": _tier_renamed,
    "dates-shifted": _dates_shifted,
    "half-missing": _nothing,
    "groups-stuck": _nothing,
    "tier-new": _tier_new,
    "embeds-missing": _embeds_missing,
    "points-zero": _points_zero,
    "points-negative": _points_negative,
    "purchases-low": _purchases_low,
    "numbers-rounded": _numbers_rounded,
    "identifiers-blank": _identifiers_blank,
    "other-source": _other_source,
    "lists-truncated": _lists_truncated,
    "fields-renamed": _fields_renamed,
    "fields-null": _fields_null,
    "status-translated": _status_translated,
    "dates-far": _dates_far,
    "booleans-text": _booleans_text,
    "warned": _warned,
    "names-swapped": _names_swapped,
    "stale": _nothing,
    "store-missing": _nothing,
    "duplicate-bodies": _nothing,
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
