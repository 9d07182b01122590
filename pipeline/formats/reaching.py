"""Bring every table of a format to the live snapshot: one commit a table, each at most once a run.

The Parquet snapshot and its pointer stay the truth. What is done here comes after the pointer swung, may stop anywhere,
and is finished by whoever comes next: a table whose newest commit of ours is the live snapshot's is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.errors import ExportError, HeldError, StorageError, TakenError, UnclearError
from pipeline.formats.base import ClashError, Format, Opened, Run, Seen
from pipeline.formats.files import DataFile, Source
from pipeline.store.lakehouse import (
    MarkedTable,
    Marker,
    being_read,
    instant,
    let_go,
    read_marker,
    write_marker,
)
from pipeline.store.snapshots import Manifest, Snapshots

ORPHANS_STAY = timedelta(hours=1)
"""The format's own files that nothing refers to may be of a commit under way, for so long."""


@dataclass
class Reached:
    """How far the tables are. `failed` and `unknown` name tables and why; `behind` was not tried after a failure."""

    format: str
    snapshot: str
    tables: dict[str, MarkedTable] = field(default_factory=dict)
    committed: list[str] = field(default_factory=list)  # now; the others had the run already
    failed: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)
    hint: str = ""
    overtaken: str = ""  # by which snapshot; whoever published it brings the tables there
    remark: str = ""  # trouble with what only tidies up

    @property
    def is_whole(self) -> bool:
        """Whether every table is at the snapshot."""
        return not (self.failed or self.unknown or self.behind or self.overtaken)

    def told(self) -> str:
        """For people: what is done, what failed, what nobody knows, and who goes on."""
        count, now = len(self.tables), len(self.committed)
        if self.is_whole:
            return f"{self.format}: {count} tables are at {self.snapshot}, {now} of them committed now."
        lines = [
            f"{self.format}: {count} tables are at {self.snapshot or 'the live snapshot'}, others are not:"
        ]
        lines += [f"  {name} failed: {why}" for name, why in self.failed.items()]
        lines += [f"  {name} is unknown: {why}" for name, why in self.unknown.items()]
        if self.behind:
            lines.append(f"  {len(self.behind)} keep their last version: {', '.join(self.behind)}")
        if self.overtaken:
            lines.append(f"  Another publisher was first: {self.overtaken}, and brings the tables there.")
        else:
            lines.append("The Parquet snapshot is live all the same. `run` goes on with the tables.")
        return "\n".join(lines) + (f" {self.hint}" if self.hint and not self.overtaken else "")


def reach(tables: Format, snapshots: Snapshots, *, scratch: Path, now: datetime) -> Reached | None:
    """Bring every table to the live snapshot. None where there is none.

    What goes wrong is told in the result; only a pointer or manifest that cannot be read raises StorageError.
    """
    live = snapshots.current()
    if live is None:
        return None
    manifest = snapshots.manifest(live.snapshot)
    work = _Reaching(tables, snapshots, manifest, scratch)
    for name in manifest.tables:
        if work.goes_on:
            work.bring(name)
        else:
            work.found.behind.append(name)
    if work.found.is_whole:
        work.mark(now)
    return work.found


class _Reaching:
    """One way to the live snapshot, table by table."""

    def __init__(self, tables: Format, snapshots: Snapshots, manifest: Manifest, scratch: Path) -> None:
        self._tables, self._snapshots, self._manifest = tables, snapshots, manifest
        self._source = Source(snapshots, manifest, scratch)
        self._run = Run(manifest.snapshot, manifest.night, manifest.calls.get("made", 0))
        self.found = Reached(tables.name, manifest.snapshot)
        self.goes_on = True

    def bring(self, table: str) -> None:
        """One table, or why not. After trouble that is not this table's own, the others are left alone."""
        try:
            self.found.tables[table] = self._brought(table)
        except ClashError as exc:
            self._note(self.found.failed, table, exc)
        except UnclearError as exc:
            self.goes_on = False
            self._note(self.found.unknown, table, exc)
        except HeldError as exc:
            self.goes_on = False
            self.found.overtaken = exc.message
            self.found.behind.append(table)
        except ExportError as exc:
            self.goes_on = False
            self._note(self.found.failed, table, exc)

    def _note(self, where: dict[str, str], table: str, exc: ExportError) -> None:
        where[table] = exc.message
        self.found.hint = self.found.hint or exc.hint

    def _brought(self, table: str) -> MarkedTable:
        """Twice at the most: another engine may have tidied the table between the look and the commit."""
        for is_last in (False, True):
            seen = self._tables.look(table)
            if seen.run == self._manifest.snapshot and seen.version is not None:
                return MarkedTable(location=seen.location, version=seen.version)
            opened = self._tables.open(seen, self._source.schema(table))
            files = self._source.bring(table, opened.shelf)
            try:
                version = self._commit(opened, files, seen)
            except TakenError:
                self._refuse_overtaken()
                if is_last:
                    raise
            else:
                self.found.committed.append(table)
                return MarkedTable(location=opened.location, version=version)
        raise AssertionError("the second try returns or raises")

    def _commit(self, opened: Opened, files: list[DataFile], seen: Seen) -> int:
        """Upon what was seen before the pointer was looked at: so a run that was overtaken commits nothing."""
        self._refuse_overtaken()
        try:
            return opened.commit(files, self._run)
        except UnclearError as exc:
            return self._found_out(seen.table, exc)

    def _found_out(self, table: str, exc: UnclearError) -> int:
        """The answer to a commit was lost, or said nothing: the table itself tells."""
        try:
            again = self._tables.look(table)
        except StorageError as blind:
            raise UnclearError(
                f"Unknown whether {table} was committed: {exc.message} Looking failed too: {blind.message}",
                blind.hint,
            ) from exc
        if again.run == self._manifest.snapshot and again.version is not None:
            return again.version
        raise StorageError(exc.message, "`run` tries it again.") from exc

    def _refuse_overtaken(self) -> None:
        live = self._snapshots.current()
        if live is None or live.snapshot != self._manifest.snapshot:
            raise HeldError(f"{live.snapshot if live else 'no snapshot'} is live by now")

    def mark(self, now: datetime) -> None:
        """Tell readers; the tables are there already, so trouble here is a remark."""
        place, found = self._snapshots.place, self.found
        told = read_marker(place)
        if told and (told.format, told.snapshot, told.tables) == (found.format, found.snapshot, found.tables):
            return
        marker = Marker(
            format=found.format,
            snapshot=found.snapshot,
            night=self._manifest.night.isoformat(),
            reached_at=instant(now),
            tables=found.tables,
        )
        try:
            write_marker(place, marker)
        except StorageError as exc:
            found.remark = f"{exc.message} {exc.hint}".strip()


def forget(tables: Format, snapshots: Snapshots, *, grace_s: float, now: datetime) -> None:
    """Let go of the versions whose snapshots are gone, but of none that somebody may still be reading.

    Raises StorageError; the next publish tries again.
    """
    marker, live = read_marker(snapshots.place), snapshots.current()
    if marker is None or live is None or marker.snapshot != live.snapshot:
        return  # tables are on their way: nothing goes meanwhile
    kept = {*snapshots.complete(), live.snapshot, *being_read(marker, now, grace_s)}
    let_go(snapshots.place, kept)
    idle_since = now - max(ORPHANS_STAY, timedelta(seconds=grace_s))
    for table in marker.tables:
        tables.forget(table, kept, idle_since)
