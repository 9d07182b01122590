"""A night under way: what it was told, where it lies, how far it is, how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.config import Config
from pipeline.errors import HeldError, StoppedError, StorageError
from pipeline.formats import Reached
from pipeline.plan import Plan
from pipeline.stats import Tally
from pipeline.store.atomic import write_quickly
from pipeline.store.columns import let_go
from pipeline.store.snapshots import Manifest, Snapshots, open_snapshots
from pipeline.store.workspace import NightFolder, NightState, Workspace


class Screen:
    """What a night tells while it runs; this one keeps quiet. The command line has one that draws."""

    def step(self, text: str) -> None:
        """A step begins."""

    def event(self, name: str, /, **fields: object) -> None:
        """Something happened (events.py): its name, and what is to be known of it."""

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """The fetch runs; gives what to call now and then."""
        yield lambda: None


@dataclass(frozen=True)
class Options:
    """What the command line adds to the config."""

    night: date | None = None
    limit: int | None = None
    until: time | None = None
    no_publish: bool = False
    unpublished: Mapping[str, str] = field(
        default_factory=lambda: {"state": "held", "reason": "--no-publish"}
    )
    only: frozenset[str] | None = None  # rebuild just these tables, and take the others as they are
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass
class Result:
    """How the night ended. `manifest` is the snapshot made, `live` whether readers see it.

    `folder` is its path or URL; `remark` what went wrong after the commit point, if anything did; `tables` how far
    those of `output.format` are.
    """

    night: date
    manifest: Manifest | None = None
    folder: str | None = None
    remark: str = ""
    live: bool = False
    unchanged: bool = False
    stopped: StoppedError | None = None
    held: HeldError | None = None
    plan: Plan | None = None
    tables: Reached | None = None  # of Delta Lake or Iceberg


@dataclass
class Night:
    """A night under way: its folders, its state, what it was told."""

    config: Config
    options: Options
    screen: Screen
    workspace: Workspace
    folder: NightFolder
    state: NightState
    lock: int
    stopped: StoppedError | None = field(default=None)
    fetch_bytes: int = 0  # the most that both processes had during the fetch
    unseen: list[tuple[float, int]] = field(default_factory=list)  # when and how many calls no journal has
    caught_up: list[str] = field(
        default_factory=list
    )  # tables of `output.format` that an earlier run had left behind
    mended: int = 0  # how often the second process died for no reason that was found

    @property
    def zone(self) -> ZoneInfo | None:
        """The window's zone; None for the machine's."""
        name = self.config.window.timezone
        return ZoneInfo(name) if name else None

    @cached_property
    def snapshots(self) -> Snapshots:
        """The export."""
        return open_snapshots(self.config)

    def tell(self, name: str, /, **fields: object) -> None:
        """Tell whoever watches of an event."""
        self.screen.event(name, **fields)

    def begins(self, step: str, text: str = "") -> None:
        """A step begins: it is noted for `status` in another shell, and shown where there is a text.

        What the one before it had in memory and can be read again is let go.
        """
        let_go()
        if text:
            self.screen.step(text)
        about = {"step": step, "since": self.options.now().isoformat(timespec="seconds"), "pid": os.getpid()}
        with suppress(StorageError):  # the step itself will tell
            write_quickly(self.folder.step, json.dumps(about).encode())

    def save(self, **changes: Any) -> None:
        """Note how far the night is."""
        updated = self.options.now().isoformat(timespec="seconds")
        self.state = self.state.model_copy(update={**changes, "updated_at": updated})
        self.folder.save(self.state)


@dataclass(frozen=True)
class Previous:
    """The live snapshot that the new one builds on; nothing before the first."""

    manifest: Manifest | None
    snapshots: Snapshots

    def has(self, table: str) -> bool:
        """Whether the snapshot has such a table."""
        return self.manifest is not None and table in self.manifest.tables

    def bytes_of(self, table: str) -> int:
        """How much a table's files take; 0 when the snapshot lacks it."""
        found = self.manifest.tables.get(table) if self.manifest else None
        return sum(file.bytes for file in found.files) if found else 0

    def rows_of(self, table: str) -> int:
        """How many rows it has; 0 when the snapshot lacks it."""
        found = self.manifest.tables.get(table) if self.manifest else None
        return found.rows if found else 0

    def files(self, table: str) -> Iterator[Path]:
        """A table's files, in order, each there until the next one is asked for; none when the snapshot lacks it."""
        return self.snapshots.paths(self.manifest, table) if self.manifest else iter(())


def previous_of(night: Night) -> Previous:
    """The snapshot to build on: the live one, or, when this night made it, the one that it was built on.

    Where retention has removed that one, the live one serves: tonight's rows are replaced in it all the same.
    """
    snapshots = night.snapshots
    live = snapshots.current()
    name = live.snapshot if live else None
    while name is not None:
        manifest = snapshots.manifest(name)
        is_gone = manifest.previous is not None and not snapshots.is_complete(manifest.previous)
        if manifest.night != night.folder.night or is_gone:
            return Previous(manifest, snapshots)
        name = manifest.previous
    return Previous(None, snapshots)
