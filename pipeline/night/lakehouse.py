"""After the pointer swung: the tables of `output.format`, brought to the live snapshot and kept tidy."""

from __future__ import annotations

from datetime import datetime

from pipeline import formats
from pipeline.config import Config
from pipeline.errors import StorageError
from pipeline.formats import Reached
from pipeline.night.tonight import Night, Result
from pipeline.store.snapshots import Snapshots


def bring_tables(config: Config, snapshots: Snapshots, now: datetime) -> Reached | None:
    """Every table at the live snapshot; None where there are only snapshots, or none is live.

    The snapshot is live whatever happens here: trouble is told in the result. Raises UsageError where the library is
    missing.
    """
    tables = formats.open_tables(config, snapshots)
    if tables is None:
        return None
    try:
        return formats.reach(tables, snapshots, scratch=config.work.path / "transit", now=now)
    except StorageError as exc:
        return Reached(tables.name, "", failed={"every table": exc.message}, hint=exc.hint)


def bring_formats(night: Night, result: Result) -> None:
    """The tables, at the live snapshot."""
    if night.config.output.format == "parquet":
        return
    night.begins("tables", f"bringing the {night.config.output.format} tables to the snapshot")
    found = result.tables = bring_tables(night.config, night.snapshots, night.options.now())
    if found is None:
        return
    found.committed = [*night.caught_up, *found.committed]
    if found.remark:
        result.remark = f"{result.remark} {found.remark}".strip()
    about = {"format": found.format, "snapshot": found.snapshot, "committed": len(found.committed)}
    if found.is_whole:
        night.tell("tables.reached", **about)
    else:
        without = {"failed": found.failed, "unknown": found.unknown, "behind": found.behind}
        night.tell("tables.behind", **about, **without, overtaken=found.overtaken or None)


def tidy_formats(night: Night, result: Result) -> None:
    """Old versions go as their snapshots do. Raises StorageError; the next publish tries again."""
    tables = formats.open_tables(night.config, night.snapshots)
    if tables is not None and result.tables is not None and result.tables.is_whole:
        formats.forget(tables, night.snapshots, grace_s=night.config.output.grace, now=night.options.now())


def catch_up(night: Night) -> None:
    """Tables that a death or a catalog's bad hour left behind, before the hours of fetching; tried again after it.

    `lakehouse.json` tells whether there are any; no catalog is asked.
    """
    if night.config.output.format == "parquet":
        return
    live, marker = night.snapshots.current(), formats.read_marker(night.snapshots.place)
    if live is not None and (marker is None or marker.snapshot != live.snapshot):
        ahead = Result(night.folder.night)
        bring_formats(night, ahead)
        night.caught_up = ahead.tables.committed if ahead.tables else []
