"""How things stand, in words; and the manifest that a command is about."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import Config

SILENT_S = 30.0
"""A fetch that notes nothing for so long stands still."""


def status_lines(found: dict[str, Any]) -> list[str]:
    """What is live, and what runs, for people."""
    live = found["live"]
    lines = [f"Live: {live['snapshot']}, published {live['published_at']}" if live else "Live: nothing yet"]
    if found["trouble"]:
        lines = [f"Live: not known. {found['trouble']}"]
    if tables := found["lakehouse"]:
        behind = "" if tables["whole"] else "; some are on their way to the live snapshot: `run` goes on"
        count, run = len(tables["versions"]), tables["snapshot"] or "no run"
        lines.append(f"{tables['format']}: {count} tables at {run}{behind}")
    night = next((one for one in found["nights"] if one["is_running"]), None)
    if night is not None:
        step = night["step"]
        lines.append(
            f"Running (process {found['process']}): night {night['night']}, {step['step']} since {step['since']}"
        )
    elif found["running"]:
        lines.append(f"The workspace is held by process {found['process'] or 'unknown'}.")
    return lines


def progress_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """How far the newest night is, or was when it was last heard of; nothing of one that ended well."""
    from pipeline.status import duration_text, standing_rows

    night = found["nights"][0] if found["nights"] else None
    if night is None or night["progress"] is None or night["state"] in ("published", "taken along"):
        return []
    progress = night["progress"]
    rows = standing_rows(progress)
    is_fetching = night["is_running"] and night["step"]["step"] == "fetching"
    if not is_fetching:  # what was is no forecast
        rows = [row for row in rows if row[0] not in ("ends", "pace")]
    if not is_fetching or progress["heard_s"] > SILENT_S:
        rows.insert(0, ("last heard of", f"{progress['at']}, {duration_text(progress['heard_s'])} ago"))
    return rows


def last_night(config: Config) -> date:
    """The newest night of the workspace; where it has none, that of the live snapshot. Raises UsageError."""
    from pipeline.store.snapshots import open_snapshots
    from pipeline.store.workspace import Workspace

    nights = Workspace(config.work.path).nights()
    if nights:
        return nights[-1].night
    snapshots = open_snapshots(config)
    live = snapshots.current()
    if live is None:
        raise UsageError("There is no night yet.", "`run` begins one.")
    return snapshots.manifest(live.snapshot).night
