"""Checks that need no history: one row too many is too many."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.checks.measure import Measured
from pipeline.config import ChecksConfig
from pipeline.store.snapshots import ManifestCheck


def hard_checks(measured: Measured, config: ChecksConfig) -> list[ManifestCheck]:
    """Keys are unique in each table, and each row's customer is in `customers`; of the rows looked at."""
    found = [
        _none_of("keys", measured.repeated, "rows have a key that another row has", config),
        _none_of("parents", measured.orphans, "rows are of customers that are not in customers", config),
    ]
    return [check for check in found if check is not None]


def _none_of(name: str, counts: Mapping[str, int], what: str, config: ChecksConfig) -> ManifestCheck | None:
    mode = config.mode_of(name)
    if mode == "off":
        return None
    bad = {table: count for table, count in counts.items() if count and table not in config.ignore}
    told = ", ".join(f"{count:,} in {table}" for table, count in bad.items())
    return ManifestCheck(
        name=name,
        passed=not bad,
        detail=f"{told or 'no'} {what}",
        severity=mode if bad else "hold",
        value=float(sum(bad.values())),
        band=[None, 0.0],
    )
