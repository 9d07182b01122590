"""How things stand: tonight, the last nights, the live snapshot."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.store.snapshots import Manifest, Snapshots, open_snapshots
from pipeline.store.workspace import NightFolder, Workspace

UNDER_WAY = ("started", "fetching")
"""States that a night is left in only by a death."""


def status_of(config: Config) -> dict[str, Any]:
    """Tonight, the last nights, the live snapshot, as JSON has them."""
    workspace = Workspace(config.work.path)
    live = open_snapshots(config).current()
    holder = workspace.holder()
    return {
        "running": holder is not None,
        "process": holder,
        "live": live.model_dump() if live else None,
        "nights": [_night_json(folder, holder) for folder in reversed(workspace.nights())],
    }


def _night_json(folder: NightFolder, holder: int | None) -> dict[str, Any]:
    state = folder.state()
    found: dict[str, Any] = {"night": folder.night.isoformat(), "state": "unknown", "ids": {"distinct": 0}}
    found |= {"snapshot": "", "reason": ""}
    if state is not None:
        found |= state.model_dump(mode="json")
    if holder is None and found["state"] in UNDER_WAY:
        found |= {"state": "interrupted", "reason": "The run died; `run` goes on where it stopped."}
    if holder is not None and folder.progress.exists():
        found["progress"] = json.loads(folder.progress.read_bytes())
    return found


def status_lines(found: dict[str, Any]) -> list[str]:
    """What is live, and how far a running night is, for people."""
    live = found["live"]
    lines = [f"Live: {live['snapshot']}, published {live['published_at']}" if live else "Live: nothing yet"]
    running = next((one["progress"] for one in found["nights"] if "progress" in one), None)
    if running:
        eta = f", about {running['eta_s'] / 60:.0f} minutes left" if running["eta_s"] else ""
        lines.append(
            f"Running (process {found['process']}): {running['done']:,} of {running['planned']:,}{eta}"
        )
    return lines


def manifest_of(config: Config, snapshots: Snapshots, night: date | None) -> Manifest:
    """The manifest of a night's snapshot; of the live one where no night is named."""
    live = snapshots.current()
    name = live.snapshot if live else ""
    if night is not None:
        state = Workspace(config.work.path).night(night).state()
        name = state.snapshot if state else ""
    if not name:
        raise UsageError(f"There is no snapshot of {night or 'any night'} yet.", "`status` lists the nights.")
    return snapshots.manifest(name)
