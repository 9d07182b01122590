"""`lakehouse.json`: which run all tables have reached, and the version of each that holds it.

The tables of a format are committed one by one; each by itself is whole at any moment, but for a minute some are a
night ahead of others. Who wants all of one run reads this file and asks each table for its version.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.store.place import Content, Place

MARKER = "lakehouse.json"
_STEP_BYTES = 16 << 10
"""In an object store its length is a multiple of this: see `Place.padded_to`."""
_REMEMBERED = timedelta(days=8)


class MarkedTable(BaseModel, defer_build=True):
    """A table and the version that holds the run: Delta's version, Iceberg's snapshot ID."""

    location: str
    version: int


class Marker(BaseModel, defer_build=True):
    """The content of lakehouse.json. `earlier` has the versions of the runs that can still be read."""

    model_config = ConfigDict(extra="ignore")
    format: str
    snapshot: str
    night: str
    reached_at: str
    tables: dict[str, MarkedTable]
    earlier: dict[str, dict[str, int]] = {}
    was_live_until: dict[str, str] = {}


def no_run(format_: str) -> Marker:
    """What is told of tables that no run has reached yet."""
    return Marker(format=format_, snapshot="", night="", reached_at="", tables={})


def read_marker(place: Place) -> Marker | None:
    """What all tables have reached; None where there was never a run, or where nobody can read it."""
    return _parsed(place.read(MARKER))


def _parsed(content: Content | None) -> Marker | None:
    try:
        return Marker.model_validate_json(content.data) if content else None
    except ValidationError:
        return None  # it is made anew


def write_marker(place: Place, marker: Marker) -> None:
    """All tables have reached a run: say so, and what was there before. Raises StorageError."""
    seen = place.read(MARKER)
    before = _parsed(seen)
    if before is not None and before.format == marker.format:
        marker = marker.model_copy(update=_remembered(before, marker))
    place.replace(MARKER, _bytes(marker, place), seen)


def _bytes(marker: Marker, place: Place) -> bytes:
    data = marker.model_dump_json(indent=1).encode() + b"\n"
    return data.ljust(math.ceil(len(data) / _STEP_BYTES) * _STEP_BYTES) if place.padded_to else data


def _remembered(before: Marker, marker: Marker) -> dict[str, object]:
    versions = {name: table.version for name, table in before.tables.items()}
    earlier = {**before.earlier, before.snapshot: versions}
    ceased = {**before.was_live_until, before.snapshot: marker.reached_at}
    horizon = datetime.fromisoformat(marker.reached_at) - _REMEMBERED
    return {
        "earlier": {name: one for name, one in earlier.items() if name != marker.snapshot},
        "was_live_until": {
            name: at
            for name, at in ceased.items()
            if name != marker.snapshot and datetime.fromisoformat(at) > horizon
        },
    }


def let_go(place: Place, kept: Collection[str]) -> None:
    """Tell no more of runs whose versions are going to go. Raises StorageError."""
    seen = place.read(MARKER)
    marker = _parsed(seen)
    if marker is None or set(marker.earlier) <= set(kept):
        return
    earlier = {name: one for name, one in marker.earlier.items() if name in kept}
    place.replace(MARKER, _bytes(marker.model_copy(update={"earlier": earlier}), place), seen)


def being_read(marker: Marker, now: datetime, grace_s: float) -> set[str]:
    """The runs that ceased to be the tables' newest a moment ago: who began to read then may still be reading."""
    return {
        name
        for name, until in marker.was_live_until.items()
        if now - datetime.fromisoformat(until) < timedelta(seconds=grace_s)
    }


def instant(now: datetime) -> str:
    """A moment, as the files tell it."""
    return now.astimezone(UTC).isoformat(timespec="seconds")
