"""The morning page of any night: its facts with the planner's numbers, written where people look for it.

work/<night>/report.html            always
snapshots/<name>/report.html        beside the manifest, where the night has a snapshot
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.config import Config, QuotaConfig
from pipeline.errors import ExportError, UsageError
from pipeline.night.planning import forecast
from pipeline.night.tonight import Night, Options, Screen
from pipeline.plan.allowance import Allowance
from pipeline.plan.window import goes_on_until
from pipeline.report import Facts, Forecast, NightCalls, Source, Status, gather, page_of
from pipeline.report.facts import Series, Slot
from pipeline.store.atomic import write_atomically
from pipeline.store.snapshots import open_snapshots
from pipeline.store.workspace import NightFolder, Workspace

PAGE = "report.html"
PAUSE_S = 600
"""No call for so long: the night was not running, and what the quota would have allowed does not count."""
_OPEN_ENDED = (Status.STOPPED, Status.DIED)


class NightPage:
    """The page of one night, made as often as wanted; a night under way is read on from where the last one ended."""

    def __init__(self, config: Config, night: date, *, is_running: bool | None = None) -> None:
        """`is_running`: whether a run is at it; None: whoever holds the workspace is."""
        self._config = config
        self._folder = Workspace(config.work.path).night(night)
        self._snapshots = open_snapshots(config)
        self._is_running = is_running
        self._calls: NightCalls | None = None

    def facts(self, now: datetime) -> Facts:
        """The night as it stands. Raises UsageError where there is no such night."""
        source = Source(
            self._config,
            self._folder,
            self._snapshots,
            now,
            self._holds() if self._is_running is None else self._is_running,
            self._config.name,
            self._calls,
        )
        facts = gather(source)
        self._calls = source.calls
        if facts.started_at is None and not facts.snapshot:
            raise UsageError(f"There is no night {self._folder.night}.", "`status` lists the nights.")
        return _with_plan(facts, self._config, self._folder, now)

    def html(self, now: datetime, *, refresh_s: float = 0) -> str:
        """The page. Raises UsageError where there is no such night."""
        return page_of(self.facts(now), refresh_s=refresh_s)

    def write(self, now: datetime) -> str:
        """Write the page; gives where it lies. Raises UsageError, StorageError."""
        facts = self.facts(now)
        html = page_of(facts).encode()
        path = self._folder.root / PAGE
        if self._folder.root.exists():
            write_atomically(path, html)
        return self._snapshots.add(facts.snapshot, PAGE, html) if facts.snapshot else str(path)

    def _holds(self) -> bool:
        return Workspace(self._config.work.path).holder() is not None


def try_page(config: Config, night: date, now: datetime) -> str:
    """Make the page of a night that has ended. Gives a remark where that failed: nothing is held back for a page."""
    try:
        NightPage(config, night, is_running=False).write(now)
    except ExportError as exc:
        return f"The morning page: {exc}"
    except Exception as exc:
        return f"The morning page could not be made, which is a bug: {type(exc).__name__}"
    return ""


def _with_plan(facts: Facts, config: Config, folder: NightFolder, now: datetime) -> Facts:
    """What the quota allowed, and what comes next; where that cannot be told, the page says so."""
    allowed = _allowed(facts, config.quota, _zone(config))
    facts = replace(facts, spent=replace(facts.spent, allowed=allowed))
    try:
        plan = (
            _under_way(facts, folder) if facts.status is Status.RUNNING else _next(facts, config, folder, now)
        )
    except (ExportError, ValueError, OSError) as exc:
        return replace(facts, missing=[*facts.missing, f"The forecast: {exc}"])
    return replace(facts, forecast=plan)


def _allowed(facts: Facts, quota: QuotaConfig, zone: ZoneInfo | None) -> float | None:
    """How many calls the quota let through from the first call to the last; None where no call was made."""
    series, first, last = facts.series, facts.spent.first_at, facts.spent.last_at
    if first is None or last is None:
        return None
    total = 0.0
    for stretch in _stretches(series):
        began = max(first, stretch[0].at)
        ended = min(last, stretch[-1].at + timedelta(seconds=series.slot_s))
        earlier = [slot for slot in series.slots if slot.at < began]
        ages = np.repeat(
            [(began - slot.at).total_seconds() for slot in earlier], [slot.calls for slot in earlier]
        )
        total += Allowance(quota, zone, began, ages).calls_until(ended)
    return max(1.0, total)


def _stretches(series: Series) -> Iterator[list[Slot]]:
    """The slots in which the night ran, without its pauses."""
    running: list[Slot] = []
    for slot in series.slots:
        if slot.calls:
            if running and (slot.at - running[-1].at).total_seconds() > PAUSE_S + series.slot_s:
                yield running
                running = []
            running.append(slot)
    if running:
        yield running


def _under_way(facts: Facts, folder: NightFolder) -> Forecast | None:
    """As the run that is under way sees it (`night.asking` notes it every few seconds)."""
    noted: dict[str, Any] = json.loads(folder.progress.read_bytes()) if folder.progress.exists() else {}
    if not noted.get("ends_at") or facts.started_at is None:
        return None
    return Forecast(
        starts_at=facts.started_at,
        ids=facts.distinct,
        asked=noted["planned"],
        deferred=noted["deferred"],
        calls=noted["calls"],
        ends_at=datetime.fromisoformat(noted["ends_at"]),
        is_running=True,
    )


def _next(facts: Facts, config: Config, folder: NightFolder, now: datetime) -> Forecast | None:
    """Of the night that can be gone on with; else of the next one, at the hour at which this one began."""
    state = folder.state()
    if state is None or not state.listed:
        return None
    began, zone = datetime.fromisoformat(state.started_at), _zone(config)
    due, starts_at = facts.distinct, began
    if facts.status in _OPEN_ENDED and now < goes_on_until(began, config.window.until, zone):
        due = sum(facts.outcomes.get(one, 0) for one in ("deferred", "failed"))
        starts_at = now
    else:
        days = max(1, (now - began) // timedelta(days=1) + 1)
        starts_at = began + timedelta(days=days)
        state = state.model_copy(update={"started_at": starts_at.isoformat()})
    workspace = Workspace(config.work.path)
    night = Night(config, Options(now=lambda: starts_at), Screen(), workspace, folder, state, lock=-1)
    known = state.measured.snapshot_ids if state.measured else 0
    plan = forecast(night, facts.distinct, due, known)
    return Forecast(
        starts_at=starts_at,
        ids=due,
        asked=plan.asked,
        deferred=plan.deferred,
        calls=plan.calls_needed,
        ends_at=plan.ends_at,
        window_ends=plan.window_ends,
        disk_bytes=plan.disk_bytes,
        memory_bytes=plan.memory_bytes,
    )


def _zone(config: Config) -> ZoneInfo | None:
    return ZoneInfo(config.window.timezone) if config.window.timezone else None
