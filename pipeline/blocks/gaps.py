"""Which tables an answer lacks when it comes with a warning: partial data (API.md, section 7).

The block is not in the answer then, or is in it without content, and that does not mean that the customer has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.blocks import TABLES
from pipeline.blocks.base import Table

_POINTS = (
    "pointsSummary",
    "loyaltyProgramDetails",
    "groupLoyaltyProgramDetails",
    "alternateCurrencyDetails",
    "promotionalPoints",
    "expirySchedules",
    "expiredPoints",
    "returnedPoints",
)
_UPGRADE = ("upgradeStrategies", "gapToUpgrade", "gapDetails")
_RENEWAL = ("gapToRenewSummary", "gapToRenew")

LOST_KEYS: dict[int, tuple[str, ...]] = {
    8062: _POINTS,  # points details fetch failed
    8063: ("segments",),  # segmentation details fetch failed
    8076: (*_UPGRADE, *_RENEWAL),  # gap details missing
    8088: ("statusLabel", "statusLabelReason"),  # customer status get failed
    91001: _POINTS,  # points details call failed
    91002: ("subscriptionInfo", "subscriptions"),  # subscription details call failed
    91004: ("segments",),  # segmentation call failed
    91013: _UPGRADE,  # tier upgrade call failed
    91014: _RENEWAL,  # tier renewal call failed
    91016: ("userGroup", "userGroups", "userGroup2", "userGroups2"),  # bad extended fields of user groups
    91017: ("userGroup", "userGroups", "userGroup2", "userGroups2"),
}
"""The keys of the answer that a warning's code says are missing.

Which of several calls fetched the points is not known: any of their failures may cost all of them.
"""

TORN: dict[int, frozenset[str]] = {8088: frozenset({"customer_status"})}
"""Tables whose row comes all the same, of what else is in it: the last one is the better one."""

_ALWAYS = frozenset({"customers", "warnings"})
"""Every answer brings these."""
_NO_GAPS = frozenset({91009})  # the survivor of a merge


def is_gap(code: int) -> bool:
    """Whether a warning of this code says that a block is missing."""
    return code in LOST_KEYS or (91000 <= code <= 91019 and code not in _NO_GAPS)


def tables_without(code: int) -> frozenset[str]:
    """The tables that may lack rows in an answer with this warning; all but two where the code is not known better."""
    if code not in LOST_KEYS:
        return frozenset(table.name for table in TABLES) - _ALWAYS
    lost = set(LOST_KEYS[code])
    return frozenset(table.name for table in TABLES if _steps(table) & lost) - _ALWAYS


def _steps(table: Table) -> set[str]:
    """The keys on the ways to a table's rows, and those that decide whether there is one."""
    return {*table.when, *_keys(table.rows)}


def _keys(paths: Iterable[str]) -> Iterable[str]:
    return (step.rstrip("[]{}?") for path in paths for step in path.split("."))
