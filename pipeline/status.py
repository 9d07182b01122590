"""How things stand, read from the files of the nights: what runs, how far it is, what is live. Changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config import Config
from pipeline.errors import StorageError
from pipeline.store.lakehouse import no_run, read_marker
from pipeline.store.snapshots import Pointer, Snapshots, open_snapshots
from pipeline.store.workspace import NightFolder, Workspace

UNDER_WAY = ("started", "fetching")
"""States that a night is left in only by a death."""
KEPT = 4


def status_of(config: Config, now: datetime | None = None) -> dict[str, Any]:
    """Tonight, the last nights (newest first), the live snapshot, as JSON has them. Raises StorageError for a state
    that cannot be read; an export that does not answer is told under `trouble`.

    A night that a run is at has `is_running` and its `step`; `progress` has the counts of a night's last run.
    """
    workspace = Workspace(config.work.path)
    holder = workspace.holder()
    folders = list(reversed(workspace.nights()))
    running = _running(folders, holder)
    nights = [_night(folder, folder is running, now or datetime.now(UTC)) for folder in folders]
    about = {"running": holder is not None, "process": holder, "nights": nights, "disk": _disk(config)}
    return {**_live(config), **about}


def standing_of(config: Config, now: datetime | None = None) -> dict[str, Any]:
    """The same with the manifests of the live and of the newest night's snapshot: what metrics are made from."""
    now = now or datetime.now(UTC)
    found = status_of(config, now)
    newest = found["nights"][0]["snapshot"] if found["nights"] else ""
    manifests = {"live_manifest": _manifest(config, (found["live"] or {}).get("snapshot", ""))}
    manifests["newest_manifest"] = _manifest(config, newest)
    return {**found, **manifests, "version": __version__, "now": now.isoformat()}


def _manifest(config: Config, name: str) -> dict[str, Any] | None:
    """None where there is none, or it cannot be had now."""
    try:
        return _manifest_once(config.output.url, name, config) if name else None
    except StorageError:
        return None


_MANIFESTS: dict[tuple[str, str], dict[str, Any]] = {}


def _manifest_once(url: str, name: str, config: Config) -> dict[str, Any]:
    """A manifest never changes: it is fetched once. Two are kept, the live snapshot's and the newest night's."""
    if (url, name) not in _MANIFESTS:
        found = open_snapshots(config).manifest(name).model_dump(mode="json")
        while len(_MANIFESTS) >= KEPT:
            del _MANIFESTS[next(iter(_MANIFESTS))]
        _MANIFESTS[url, name] = found
    return _MANIFESTS[url, name]


def _live(config: Config) -> dict[str, Any]:
    try:
        snapshots = open_snapshots(config)
        live = snapshots.current()
        tables = _lakehouse(config, snapshots, live)
    except StorageError as exc:
        return {"live": None, "lakehouse": None, "trouble": f"{exc.message} {exc.hint}".strip()}
    return {"live": live.model_dump() if live else None, "lakehouse": tables, "trouble": None}


def _lakehouse(config: Config, snapshots: Snapshots, live: Pointer | None) -> dict[str, Any] | None:
    """Which run the tables of Delta Lake or Iceberg have reached, as `lakehouse.json` tells; None without such tables.

    `whole` is whether it is the live snapshot; before the first run, `snapshot` is empty.
    """
    if config.output.format == "parquet":
        return None
    marker = read_marker(snapshots.place) or no_run(config.output.format)
    versions = {name: table.version for name, table in marker.tables.items()}
    about = {"format": marker.format, "snapshot": marker.snapshot, "reached_at": marker.reached_at}
    return {**about, "whole": live is not None and live.snapshot == marker.snapshot, "versions": versions}


def _disk(config: Config) -> dict[str, int] | None:
    """The disk under the workspace, in bytes; None before the first night."""
    try:
        found = shutil.disk_usage(config.work.path)
    except OSError:
        return None
    return {"total_bytes": found.total, "free_bytes": found.free}


def _running(folders: list[NightFolder], holder: int | None) -> NightFolder | None:
    """The night that the workspace's holder is at: the newest note of it, for process numbers come again."""
    if holder is None:
        return None
    noted = [
        (step["since"], folder) for folder in folders if (step := _read(folder.step)).get("pid") == holder
    ]
    return max(noted, key=lambda one: one[0])[1] if noted else None


def _night(folder: NightFolder, is_running: bool, now: datetime) -> dict[str, Any]:
    state = folder.state()
    found: dict[str, Any] = {"night": folder.night.isoformat(), "state": "unknown", "ids": {"distinct": 0}}
    found |= {"snapshot": "", "reason": "", "is_running": is_running}
    if state is not None:
        found |= state.model_dump(mode="json")
    if not is_running and found["state"] in UNDER_WAY:
        found |= {"state": "interrupted", "reason": "The run died; `run` goes on where it stopped."}
    found |= {"step": _read(folder.step) or None, "progress": _progress(folder, is_running)}
    if found["progress"] is not None:
        heard = datetime.fromisoformat(found["progress"]["at"])
        found["progress"]["heard_s"] = max(0.0, (now - heard).total_seconds())
    return found


def _progress(folder: NightFolder, is_running: bool) -> dict[str, Any] | None:
    """The counts of the last run; while another one runs that has not begun to fetch, nobody's."""
    progress = _read(folder.progress)
    if "at" not in progress:
        return None
    if is_running and progress["pid"] != _read(folder.step).get("pid"):
        return None
    return progress


def _read(path: Path) -> dict[str, Any]:
    """Written without a sync: a power loss may leave it empty."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# In words


def standing_rows(progress: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far a run is (`Tally.standing`), for people: what, and the numbers."""
    planned, done = progress["planned"], progress["done"]
    share = f" ({done / planned:.0%})" if planned else ""
    left = f", {progress['deferred']:,} left for another night" if progress["deferred"] else ""
    return [
        ("done", f"{done:,} of {planned:,} IDs{share}{left}"),
        (
            "outcomes",
            ", ".join(f"{count:,} {word}" for word, count in progress["outcomes"].items() if count) or "–",
        ),
        ("pace", _pace(progress)),
        (
            "calls",
            f"{progress['calls']:,} made, {progress['repeated']:,} to be made again, "
            f"{progress['throttled']:,} throttled; "
            f"{progress['in_flight']:,} in flight of {progress['allowed_in_flight']:,}",
        ),
        ("latency", _latency(progress)),
        ("ends", _end(progress)),
        (
            "disk",
            f"{bytes_text(progress['disk_free_bytes'])} left, "
            f"{bytes_text(progress['disk_used_bytes'])} used since the start",
        ),
    ]


def _pace(progress: Mapping[str, Any]) -> str:
    now, allowed = progress["calls_per_s_now"], progress["allowed_per_s"]
    if allowed is None:
        return f"{now * 60:,.0f} calls a minute, no limit"
    return f"{now * 60:,.0f} calls a minute of {allowed * 60:,.0f} allowed ({now / allowed:.0%})"


def _latency(progress: Mapping[str, Any]) -> str:
    p50, p95 = progress["latency_p50_ms"], progress["latency_p95_ms"]
    return "–" if p50 is None else f"half under {p50:,.0f} ms, 95 % under {p95:,.0f} ms"


def _end(progress: Mapping[str, Any]) -> str:
    if progress["eta_s"] is None:
        return "not known yet"
    ends_at = progress["ends_at"] and datetime.fromisoformat(progress["ends_at"]).astimezone()
    clock = f"about {ends_at:%Y-%m-%d %H:%M}, " if ends_at else ""
    return f"{clock}in {duration_text(progress['eta_s'])}"


def duration_text(seconds: float) -> str:
    """So long, in one unit."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return (
                f"{seconds / length:,.1f} {unit}" if unit != "minutes" else f"{seconds / length:.0f} {unit}"
            )
    return f"{seconds:.0f} seconds"


def bytes_text(count: float) -> str:
    """So many bytes, in the unit that fits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"
