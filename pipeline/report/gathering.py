"""Gathers the facts of a night from its files. A night that died, or is under way, has fewer of them, and that is told.

Nothing here raises for what cannot be read: the page says what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline import __version__
from pipeline.config import Config
from pipeline.errors import ExportError
from pipeline.outcome import Outcome
from pipeline.report.calls import NightCalls, Sums
from pipeline.report.facts import Age, Before, Drift, Facts, ReasonCount, Series, Spent, Status
from pipeline.store.lakehouse import no_run, read_marker
from pipeline.store.parquet import read_batches
from pipeline.store.parts import chunk_parts, read_part
from pipeline.store.snapshots import Manifest, Pointer, Snapshots
from pipeline.store.workspace import NightFolder, NightState

T = TypeVar("T")
DRAWN_SLOTS = 180
"""So many points a plot has at the most."""
BEFORE = 7
"""So many earlier nights are compared with."""
PACED_S = 3600.0
"""Limits over longer windows are a budget, and no line in a plot of calls a minute."""
MOST_KINDS = 2000
"""So many different paths or rejects are told apart; hostile answers could bring any number."""
CLOCK_SET_US = 60_000_000
"""Calls from so long before the night began are its own still: the clock may have been set meanwhile."""
_UNDER_WAY = ("started", "fetching")


@dataclass
class Source:
    """Where a night's facts are. `calls` may be kept from one gathering of a running night to the next."""

    config: Config
    folder: NightFolder
    snapshots: Snapshots
    now: datetime
    is_running: bool = False
    config_name: str = "CONFIG"
    calls: NightCalls | None = None
    missing: list[str] = field(default_factory=list)

    def read(self, what: str, reading: Callable[[], T], otherwise: T) -> T:
        """What `reading` gives; where it cannot be read, the page goes on without it and says so."""
        try:
            return reading()
        except ExportError as exc:
            self.missing.append(f"{what}: {exc.message}")
        except (OSError, pa.ArrowException, ValueError) as exc:
            self.missing.append(f"{what}: {type(exc).__name__}")
        return otherwise

    @property
    def zone(self) -> ZoneInfo | None:
        """The window's zone; None for the machine's."""
        name = self.config.window.timezone
        return ZoneInfo(name) if name else None


def gather(source: Source) -> Facts:
    """The night's facts; the forecast and what the quota allowed are the planner's to add."""
    state = source.read("The night's state", source.folder.state, None)
    pointer = source.read("The pointer to the live snapshot", source.snapshots.current, None)
    manifest = source.read("The night's snapshot", lambda: _manifest(source, state), None)
    facts = _of_state(source, state, manifest, pointer)
    facts = source.read("The night's calls", lambda: _with_calls(source, facts, manifest), facts)
    if manifest is not None:
        facts = _with_manifest(facts, manifest)
    facts = replace(
        facts,
        before=source.read("The snapshots of the nights before", lambda: _before(source, facts), []),
        age=source.read("The age of the rows", lambda: _age(source, facts, manifest), None),
        unknown_fields=source.read("The unknown fields", lambda: _unknown_fields(source, manifest), []),
        rejects=source.read("The rejected values", lambda: _rejects(source, manifest), []),
        rejected_rows=source.read("The rejected rows", lambda: _rejected_rows(source), []),
    )
    if source.config.output.format != "parquet":
        marker = source.read("The tables' versions", lambda: read_marker(source.snapshots.place), None)
        facts = replace(facts, tables_of=marker or no_run(source.config.output.format))
    return replace(facts, missing=tuple(dict.fromkeys(source.missing)))


# How the night stands


def _manifest(source: Source, state: NightState | None) -> Manifest | None:
    """The night's snapshot; where its folder is gone, the newest one that says it is of this night."""
    snapshots = source.snapshots
    if state is not None:
        name = state.snapshot
        return snapshots.manifest(name) if name and snapshots.is_complete(name) else None
    every = (snapshots.manifest(name) for name in reversed(snapshots.complete()))
    return next((manifest for manifest in every if manifest.night == source.folder.night), None)


def _of_state(
    source: Source, state: NightState | None, manifest: Manifest | None, pointer: Pointer | None
) -> Facts:
    facts = Facts(
        night=source.folder.night,
        status=_status(source, state, manifest, pointer),
        made_at=source.now.astimezone(UTC),
        zone=source.config.window.timezone or "",
        config=source.config_name,
        version=__version__,
        live=pointer.snapshot if pointer else "",
        published_at=_instant(pointer.published_at) if pointer else None,
        export=source.snapshots.url,
    )
    if state is None:
        return facts
    return replace(
        facts,
        reason=state.reason,
        started_at=_instant(state.started_at),
        ended_at=_instant(state.updated_at),
        ids=state.ids,
    )


def _status(
    source: Source, state: NightState | None, manifest: Manifest | None, pointer: Pointer | None
) -> Status:
    live = pointer.snapshot if pointer else ""
    if state is None or state.state == "published":
        return Status.PUBLISHED if manifest and manifest.snapshot == live else Status.SUPERSEDED
    if state.state in _UNDER_WAY:
        return Status.RUNNING if source.is_running else Status.DIED
    if state.state == "held" and manifest and not _holding(manifest) and state.reason.startswith("--"):
        return Status.WAITING
    return Status(state.state)


def _holding(manifest: Manifest) -> bool:
    return any(not check.passed and check.severity == "hold" for check in manifest.checks)


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC)


def _with_manifest(facts: Facts, manifest: Manifest) -> Facts:
    """Of a night that has a snapshot, the manifest's sums are the ones that people see elsewhere."""
    ids = facts.ids if facts.ids.distinct else facts.ids.model_copy(update=manifest.ids)
    facts = replace(
        facts,
        ids=ids,
        version=manifest.version,
        snapshot=manifest.snapshot,
        forced_reason=manifest.forced_reason or "",
        rows={name: table.rows for name, table in manifest.tables.items()},
        checks=manifest.checks,
        ended_at=facts.ended_at or _instant(manifest.created_at),
    )
    if facts.status in (Status.STOPPED, Status.DIED, Status.RUNNING):
        return facts  # it has gone on since that snapshot was made
    calls = manifest.calls
    spent = replace(
        facts.spent,
        made=calls.get("made", 0),
        repeated=calls.get("repeated", 0),
        throttled=calls.get("throttled", 0),
    )
    return replace(facts, outcomes=manifest.outcomes, spent=spent)


# Calls


def _with_calls(source: Source, facts: Facts, manifest: Manifest | None) -> Facts:
    if facts.started_at is None:
        if manifest is not None:
            source.missing.append("The calls one by one: the night's folder is no longer kept")
        return facts
    began = int(facts.started_at.timestamp() * 1e6) - CLOCK_SET_US
    source.calls = source.calls or NightCalls(source.folder, began)
    return _summed(source, facts, source.calls.refresh())


def _summed(source: Source, facts: Facts, sums: Sums) -> Facts:
    account = sums.account()
    verdicts = sum(account.outcomes.values())
    outcomes = {
        **account.outcomes,
        Outcome.DEFERRED.word: max(0, facts.ids.distinct - verdicts),
    }
    told = [replace(one, text=sums.texts.get((one.outcome, one.code), "")) for one in account.reasons]
    again = [ReasonCount(Outcome.RETRIED, code, count) for code, count in sums.again.items()]
    spent = Spent(
        made=sums.made,
        repeated=account.repeated,
        throttled=sums.throttled,
        pages=sums.pages,
        earlier=sums.timeline.outside,
        first_at=_moment(sums.timeline.first),
        last_at=_moment(sums.timeline.last),
        in_flight_most=source.config.quota.max_in_flight,
        latency_ms=sums.latency_us / sums.made / 1000 if sums.made else None,
    )
    return replace(
        facts,
        outcomes=outcomes,
        spent=spent,
        series=with_quota(sums.timeline.series(DRAWN_SLOTS), source),
        slowest=sums.timeline.series(DRAWN_SLOTS * 4, at_least_s=60),
        reasons=sorted([*told, *again], key=lambda one: -one.count),
    )


def _moment(micros: int) -> datetime | None:
    return datetime.fromtimestamp(micros / 1e6, UTC) if micros else None


def with_quota(series: Series, source: Source) -> Series:
    """With what each slot may have: the shortest of the limits that hold then, in calls a minute."""
    quota, zone = source.config.quota, source.zone

    def at(moment: datetime) -> float:
        limits = quota.limits_at(moment, zone)
        return min(
            (60 * one.calls / one.per_s for one in limits if one.per_s <= PACED_S), default=float("inf")
        )

    return replace(series, quota=[at(slot.at) for slot in series.slots])


# The snapshots


def _before(source: Source, facts: Facts) -> list[Before]:
    """The last published nights before this one, newest first: one snapshot a night."""
    found: dict[date, Before] = {}
    for name in reversed(source.snapshots.complete()):
        manifest = source.snapshots.manifest(name)
        if manifest.night < facts.night and manifest.night not in found and _counts(manifest):
            rows = {table: about.rows for table, about in manifest.tables.items()}
            distinct = manifest.ids.get("distinct", 0)
            found[manifest.night] = Before(manifest.night, name, rows, manifest.outcomes, distinct)
        if len(found) == BEFORE:
            break
    return list(found.values())


def _counts(manifest: Manifest) -> bool:
    return bool(manifest.forced_reason) or not _holding(manifest)


def _age(source: Source, facts: Facts, manifest: Manifest | None) -> Age | None:
    """Of this night's snapshot where it is what readers see or may come to see; else of the live one."""
    is_own = manifest is not None and facts.status not in (Status.STOPPED, Status.DIED, Status.RUNNING)
    if not is_own:
        has_data = bool(facts.live) and source.snapshots.is_complete(facts.live)
        manifest = source.snapshots.manifest(facts.live) if has_data else None
    if manifest is None:
        return None
    by_night = {date.fromisoformat(day): count for day, count in manifest.customers_by_night.items()}
    by_night = by_night or _customers_by_night(source.snapshots.paths(manifest, "customers"))
    return Age(facts.night, by_night, is_own, manifest.snapshot)


def _customers_by_night(paths: Iterable[Path]) -> dict[date, int]:
    """From the rows themselves, for a snapshot whose manifest does not say it."""
    found: Counter[date] = Counter()
    for path in paths:
        for batch in read_batches(path, ["_night"], use_threads=False):
            nights = pa.Table.from_batches([batch]).group_by("_night", use_threads=False)
            for row in nights.aggregate([([], "count_all")]).to_pylist():
                found[row["_night"]] += row["count_all"]
    return dict(found)


# What fits no column


def _unknown_fields(source: Source, manifest: Manifest | None) -> list[Drift]:
    if manifest is not None and "unknown_fields" in manifest.tables:
        found: list[Drift] = []
        for path in source.snapshots.paths(manifest, "unknown_fields"):
            for batch in read_batches(path, ["path", "json_type", "occurrences"], use_threads=False):
                rows = batch.slice(0, MOST_KINDS).to_pylist()
                found += [Drift(row["path"], row["json_type"], row["occurrences"]) for row in rows]
        return sorted(found, key=lambda one: -one.count)
    paths = chunk_parts(source.folder.parts, "unknown_fields")
    return _drifts(paths, ["path", "json_type"], lambda row: (row["path"], row["json_type"]))


def _rejects(source: Source, manifest: Manifest | None) -> list[Drift]:
    if manifest is not None and "rejects" in manifest.tables:
        paths: Iterable[Path] = source.snapshots.paths(manifest, "rejects")
    else:
        paths = chunk_parts(source.folder.parts, "rejects")
    columns = ["table_name", "column_name", "reason"]
    return _drifts(paths, columns, lambda row: (_column(row), row["reason"]))


def _column(row: dict[str, Any]) -> str:
    return ".".join(filter(None, (row["table_name"], row["column_name"])))


def _rejected_rows(source: Source) -> list[Drift]:
    if not source.folder.rejected_ids.exists():
        return []
    paths = [source.folder.rejected_ids]
    return _drifts(paths, ["file", "reason"], lambda row: (row["file"], row["reason"]))


def _drifts(
    paths: Iterable[Path], columns: list[str], told: Callable[[dict[str, Any]], tuple[str, str]]
) -> list[Drift]:
    """How often each kind came, the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for path in paths:
        for batch in read_part(path, columns):
            table = pa.Table.from_batches([batch]).group_by(columns, use_threads=False)
            for row in table.aggregate([([], "count_all")]).to_pylist():
                key = told(row)
                found[key if key in found or len(found) < MOST_KINDS else ("others", "")] += row["count_all"]
    return [Drift(where, what, count) for (where, what), count in found.most_common()]
