"""Tonight's numbers against the last good nights': what is out of its band, and what that does to the night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt

from pipeline.checks.bands import (
    FEWEST,
    Band,
    Width,
    drift_band,
    level_band,
    past_drifts,
    past_levels,
    rate_band,
)
from pipeline.checks.rules import RULES, Rule, Unit
from pipeline.config import ChecksConfig
from pipeline.store.history import Measurements
from pipeline.store.snapshots import ManifestCheck

TOLD_OF_EACH = 5
"""So many of a check's failures are told one by one; of the others, how many."""
_LEVELS_OF_OTHERS = 0.5
"""Where so much less of tonight's customers than usual was known, levels only warn: newcomers differ."""
_NIGHTS_TOLD = 5
_ERRORS = 4.0


@dataclass(frozen=True)
class Finding:
    """One number and its band. `against` says what it was compared with."""

    rule: Rule
    subject: str
    value: float
    band: Band
    against: str
    severity: str = "hold"

    @property
    def excess(self) -> float:
        """How far outside its band; 0 inside."""
        return self.band.excess(self.value)

    @property
    def name(self) -> str:
        """As people and the history know it."""
        return f"{self.rule.name}: {self.subject}"


def judge(
    tonight: Measurements, past: Sequence[Measurements], config: ChecksConfig
) -> tuple[list[ManifestCheck], list[str]]:
    """The verdicts, one for each check that passed and one for each number that is out; and what holds, by name."""
    found = [one for one in _findings(tonight, past, config) if not _is_ignored(one.subject, config.ignore)]
    by_rule: dict[str, list[Finding]] = {}
    for one in found:
        by_rule.setdefault(one.rule.name, []).append(one)
    verdicts = [check for few in by_rule.values() for check in _verdicts(few)]
    return verdicts, [one.name for one in found if one.excess and one.severity == "hold"]


def _findings(tonight: Measurements, past: Sequence[Measurements], config: ChecksConfig) -> Iterator[Finding]:
    others = _has_unusual_customers(tonight, past)
    for rule in RULES.values():
        mode = config.mode_of(rule.name)
        level, drift = _widths(rule, config) if mode != "off" else (None, None)
        if level is not None:
            for one in _level_findings(level, tonight, past):
                yield replace(one, severity="warn" if others else mode)
        if drift is not None:
            for one in _drift_findings(drift, tonight, past):
                yield replace(one, severity=mode)


def _widths(rule: Rule, config: ChecksConfig) -> tuple[Width | None, Width | None]:
    """How wide the bands of a rule's levels and drifts are, as configured. A threshold is that of the narrower one."""
    usual = rule.drift if rule.drift is not None else rule.level
    factor = config.threshold[rule.name] / usual if usual and rule.name in config.threshold else 1.0
    spreads = 5.0 / config.sensitivity
    level, drift = (
        None if floor is None else Width(rule, floor * factor / config.sensitivity, spreads)
        for floor in (rule.level, rule.drift)
    )
    return level, drift


def _level_findings(width: Width, tonight: Measurements, past: Sequence[Measurements]) -> Iterator[Finding]:
    told = tonight.levels.get(width.rule.name, {})
    for subject, (value, customers) in _with_vanished(told, width.rule, past, tonight.customers).items():
        before = past_levels(past, width.rule, subject, tonight.night.weekday())
        band = level_band(width, before, customers)
        if band is not None and max(customers, before.customers) >= FEWEST:
            yield Finding(width.rule, subject, value, band, "the last good nights")


def _with_vanished(
    told: Mapping[str, tuple[float, int]], rule: Rule, past: Sequence[Measurements], customers: int
) -> Mapping[str, tuple[float, int]]:
    """A value that was told of all the last nights and is not there tonight has a share of 0."""
    if rule.name != "values" or len(past) < 3:
        return told
    always = set.intersection(*(set(night.levels.get("values", {})) for night in past[:3]))
    columns = {subject.partition("=")[0] for subject in told}
    gone = {one for one in always - set(told) if one.partition("=")[0] in columns}
    return {**told, **dict.fromkeys(gone, (0.0, customers))}


def _drift_findings(width: Width, tonight: Measurements, past: Sequence[Measurements]) -> Iterator[Finding]:
    for subject, (value, customers) in tonight.drifts.get(width.rule.name, {}).items():
        before, gap = past_drifts(past, width.rule, subject), tonight.gap_days
        if width.rule.is_rate:
            band = rate_band(width, before, customers, gap)
        else:
            band = drift_band(width, before, customers, gap, _chance(tonight, width.rule, subject, customers))
        if band is not None and customers >= FEWEST:
            yield Finding(width.rule, subject, value, band, f"the same customers {gap:.1f} days before")


def _chance(tonight: Measurements, rule: Rule, subject: str, customers: int) -> float:
    """How far a drift goes by chance, when customers move as they did, but each by itself: four standard errors.

    Where what they had comes and goes (an amount that is nought or thousands), few of them move a mean or a share far.
    """
    moved, behind = tonight.drifts.get(rule.chance, {}).get(_column_of(subject), (0.0, 0))
    if rule.chance == "changed":
        return _ERRORS * sqrt(moved * behind) / max(1, customers)  # so many went one way or the other
    return _ERRORS * moved / sqrt(max(1, behind))


def _has_unusual_customers(tonight: Measurements, past: Sequence[Measurements]) -> bool:
    """Whether many more of tonight's customers than usual were never seen before."""
    shares = sorted(night.matched / night.customers for night in past[:14] if night.customers)
    usual = shares[len(shares) // 2] if shares else 0.0
    return usual - tonight.matched / max(1, tonight.customers) > _LEVELS_OF_OTHERS


def _is_ignored(subject: str, ignore: Sequence[str]) -> bool:
    """Whether a table, or a table's column, is not to be judged."""
    column = _column_of(subject)
    return column in ignore or column.partition(".")[0] in ignore


def _column_of(subject: str) -> str:
    return subject.partition("=")[0].partition("<")[0]


# Telling


def _verdicts(found: Sequence[Finding]) -> Iterator[ManifestCheck]:
    rule, out = found[0].rule, sorted((one for one in found if one.excess), key=lambda one: -one.excess)
    if not out:
        said = f"{len(found):,} numbers within their bands ({rule.what})"
        yield ManifestCheck(name=rule.name, passed=True, detail=said)
    for severity in ("hold", "warn"):
        some = [one for one in out if one.severity == severity]
        yield from map(_failed, some[:TOLD_OF_EACH])
        if len(some) > TOLD_OF_EACH:
            yield _failed_too(rule, severity, some[TOLD_OF_EACH:])


def _failed(one: Finding) -> ManifestCheck:
    return ManifestCheck(
        name=one.name,
        passed=False,
        detail=_sentence(one),
        severity=one.severity,
        value=one.value,
        band=[_bound(one.band.low), _bound(one.band.high)],
    )


def _failed_too(rule: Rule, severity: str, others: Sequence[Finding]) -> ManifestCheck:
    some = ", ".join(one.subject for one in others[:10])
    more = ", …" if len(others) > 10 else ""
    said = f"out of their bands as well: {some}{more}"
    return ManifestCheck(
        name=f"{rule.name}: {len(others):,} more", passed=False, detail=said, severity=severity
    )


def _bound(number: float) -> float | None:
    return None if abs(number) == inf else number


def _sentence(one: Finding) -> str:
    """Value, band, history, in one line."""
    unit, band = one.rule.unit, one.band
    moved = "of the same customers, " if one.against.startswith("the same") else ""
    history = ", ".join(_told(number, unit) for number in band.nights[:_NIGHTS_TOLD])
    nights = f"last nights {history}" if history else "no night before tells"
    return f"{moved}{one.rule.what}: {_told(one.value, unit)}, expected {_told_band(band, unit)} ({nights})"


def _told_band(band: Band, unit: Unit) -> str:
    low, high = (None if abs(one) == inf else _told(one, unit) for one in (band.low, band.high))
    if low is None:
        return f"{high} at the most"
    return f"{low} at the least" if high is None else f"{low} … {high}"


def _told(number: float, unit: Unit) -> str:
    if unit is Unit.SHARE:
        return f"{number:.1%}"
    if unit is Unit.FACTOR:
        return f"×{10 ** min(number, 300):.3g}"
    return f"{number:.3g}"
