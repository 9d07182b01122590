"""Where analysts read: snapshot folders and the pointer that says which one is live.

current.json
snapshots/<name>/manifest.json               written last: a folder without it is nobody's
snapshots/<name>/<table>/part-00000.parquet

Where all this lies, on a disk or in an object store, is behind `Place`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import EllipsisType

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config import Config, allows_http
from pipeline.errors import HeldError, StorageError, TakenError, UnclearError
from pipeline.store.folder import LocalFolder
from pipeline.store.place import Content, Place

POINTER = "current.json"
MANIFEST = "manifest.json"
_OURS = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}Z).*")
"""Folders named like this are ours to remove when no manifest is in them; others are not."""
_REMEMBERED = timedelta(days=8)
"""So long the pointer tells when a snapshot ceased to be live; `output.grace` is shorter."""


class ManifestFile(BaseModel, defer_build=True):
    """One data file; `path` is relative to the manifest's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


class ManifestTable(BaseModel, defer_build=True):
    """One table's files."""

    rows: int
    files: list[ManifestFile]
    schema_fingerprint: str


class ManifestCheck(BaseModel, defer_build=True):
    """What was checked before readers could see the snapshot. Only what fails with the severity `hold` holds it.

    `value` and `band` (from, to; null where open) are of checks that compare a number.
    """

    name: str
    passed: bool
    detail: str
    severity: str = "hold"
    value: float | None = None
    band: list[float | None] | None = None


class Manifest(BaseModel, defer_build=True):
    """What a snapshot is and how it came to be."""

    model_config = ConfigDict(extra="ignore")
    snapshot: str
    night: date
    created_at: str
    version: str
    schema_version: int
    previous: str | None = None
    ids: dict[str, int]
    outcomes: dict[str, int]
    calls: dict[str, int]
    tables: dict[str, ManifestTable]
    changes: dict[str, ManifestTable] = {}  # against the snapshot `previous`; empty where they are not wanted
    checks: list[ManifestCheck]
    customers_by_night: dict[str, int] = {}  # by the night that fetched their rows: how old the snapshot is
    config_sha256: str
    forced_reason: str | None = None


class Pointer(BaseModel, defer_build=True):
    """The content of current.json. `was_live_until` is for retention: who began to read then may still be reading."""

    model_config = ConfigDict(extra="allow")
    snapshot: str
    published_at: str
    manifest: str
    was_live_until: dict[str, str] = {}


@dataclass(frozen=True)
class Retention:
    """A snapshot stays while one of these wants it: it is among the newest, or young, or was live a moment ago."""

    newest: int
    days: float = 0.0
    grace_s: float = 0.0


@dataclass(frozen=True)
class Draft:
    """A snapshot under way: where its files are written, and the door they leave by."""

    name: str
    folder: Path
    place: Place

    def deliver(self, file: Path) -> None:
        """A file is finished and synced."""
        self.place.deliver(file, f"{_folder(self.name)}/{file.relative_to(self.folder).as_posix()}")


class Snapshots:
    """The export, wherever it lies. Every method raises StorageError where the store does not do its part."""

    def __init__(self, place: Place | Path) -> None:
        self._place = LocalFolder(place) if isinstance(place, Path) else place

    @property
    def url(self) -> str:
        """Where the export lies."""
        return self._place.url

    @property
    def place(self) -> Place:
        """The export's folder or prefix itself."""
        return self._place

    def check(self) -> None:
        """Try everything that publishing needs."""
        self._place.check()

    def where(self, name: str) -> str:
        """A snapshot's folder, as people are told."""
        return f"{self._place.url}/{_folder(name)}"

    # Reading

    def current(self) -> Pointer | None:
        """The live snapshot; None before the first. Raises StorageError where the pointer cannot be read."""
        return self._pointer_in(self._place.read(POINTER))

    def _pointer_in(self, content: Content | None) -> Pointer | None:
        try:
            return Pointer.model_validate_json(content.data) if content else None
        except ValidationError as exc:
            raise StorageError(
                f"Cannot read the pointer {self.url}/{POINTER}.",
                "`rollback --to SNAPSHOT` writes it anew.",
            ) from exc

    def manifest(self, name: str) -> Manifest:
        """A snapshot's manifest."""
        path = f"{_folder(name)}/{MANIFEST}"
        found = self._place.read(path)
        try:
            return Manifest.model_validate_json(found.data if found else b"")
        except ValidationError as exc:
            raise StorageError(
                f"Cannot read the manifest {self.url}/{path}.", "Is it a whole snapshot?"
            ) from exc

    def complete(self) -> list[str]:
        """The names of all whole snapshots, oldest first."""
        return sorted(filter(self.is_complete, self._place.folders("snapshots")))

    def is_complete(self, name: str) -> bool:
        """Whether a whole snapshot of that name is there."""
        return self._place.has(f"{_folder(name)}/{MANIFEST}")

    def page(self, name: str, file: str) -> bytes | None:
        """A page beside a manifest; None where there is none."""
        found = self._place.read(f"{_folder(name)}/{file}")
        return found.data if found else None

    def paths(self, manifest: Manifest, table: str) -> Iterator[Path]:
        """A table's files, in order, each as a local path that holds until the next one is asked for."""
        found = manifest.tables.get(table)
        for file in found.files if found else ():
            path = f"{_folder(manifest.snapshot)}/{file.path}"
            with self._place.reading(path, file.sha256) as local:
                yield local

    # Writing

    def begin(self, name: str) -> Draft:
        """A fresh folder for a snapshot; what a death left there is removed. Raises TakenError."""
        return Draft(name, self._place.begin(_folder(name)), self._place)

    def take(self, table: ManifestTable, source: str, target: str) -> None:
        """A table of one snapshot for another one, file by file."""
        for file in table.files:
            self._place.copy(f"{_folder(source)}/{file.path}", f"{_folder(target)}/{file.path}")

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest: from now on the folder is a snapshot, though not yet the live one."""
        self._check_files(manifest)
        path, data = f"{_folder(manifest.snapshot)}/{MANIFEST}", _json(manifest)
        try:
            self._place.create(path, data)
        except (TakenError, UnclearError):
            found = self._place.read(path)  # a request that was sent twice meets its own work
            if found is None or found.data != data:
                raise

    def amend(self, manifest: Manifest) -> None:
        """Write the manifest of a whole snapshot anew."""
        self._place.write(f"{_folder(manifest.snapshot)}/{MANIFEST}", _json(manifest))

    def add(self, name: str, file: str, data: bytes) -> str:
        """A page beside the manifest. Gives where it lies."""
        self._place.write(f"{_folder(name)}/{file}", data)
        return f"{self.where(name)}/{file}"

    def _check_files(self, manifest: Manifest) -> None:
        """No manifest is written of files that are not there, whole."""
        tables = [*manifest.tables.values(), *manifest.changes.values()]
        wanted = {file.path: file.bytes for table in tables for file in table.files}
        there = {entry.path: entry.bytes for entry in self._place.entries(_folder(manifest.snapshot))}
        if missing := sorted(path for path, size in wanted.items() if there.get(path) != size):
            raise StorageError(
                f"{len(missing)} files of {self.where(manifest.snapshot)} are not as they were written, "
                f"such as {missing[0]}.",
                "Does another program clean up there? `run` makes the snapshot again.",
            )

    # The commit point

    def point(
        self, name: str, published_at: str, *, instead_of: str | EllipsisType | None = ..., **more: object
    ) -> Pointer:
        """Swing the pointer: the one commit point. `instead_of` is the live snapshot that this one was made upon.

        Raises HeldError where another is live by now, UnclearError where nobody can say whether it swung, and
        StorageError where it did not.
        """
        seen = self._place.read(POINTER)
        before = self._before(seen, instead_of)
        pointer = Pointer(
            snapshot=name,
            published_at=published_at,
            manifest=f"{_folder(name)}/{MANIFEST}",
            was_live_until=self._ceased(before, name, published_at),
            **more,
        )
        self._swing(_of_length(pointer, self._place.padded_to), seen)
        return pointer

    def _before(self, seen: Content | None, instead_of: str | EllipsisType | None) -> Pointer | None:
        if isinstance(instead_of, EllipsisType):
            with suppress(StorageError):  # a damaged pointer is written anew
                return self._pointer_in(seen)
            return None
        before = self._pointer_in(seen)
        if (before and before.snapshot) != instead_of:
            raise _overtaken(before)
        return before

    def _ceased(self, before: Pointer | None, name: str, at: str) -> dict[str, str]:
        """Which snapshots were live until when, as far as they are there and anybody may still be reading them."""
        if before is None:
            return {}
        ceased = {**before.was_live_until, before.snapshot: at}
        horizon = _instant(at) - _REMEMBERED
        recent = {one: until for one, until in ceased.items() if one != name and _instant(until) > horizon}
        return {one: until for one, until in recent.items() if self.is_complete(one)}

    def _swing(self, data: bytes, seen: Content | None) -> None:
        """Twice at the most: after an answer that says nothing, or that may be to our own first try, look."""
        for is_last in (False, True):
            try:
                self._place.replace(POINTER, data, seen)
            except (TakenError, UnclearError) as exc:
                found = self._look(exc)
                if found and found.data == data:
                    return
                if (found and found.data) != (seen and seen.data):
                    raise _overtaken(self._pointer_in(found)) from exc
                if is_last:
                    raise StorageError(f"The pointer was not moved: {exc.message}", exc.hint) from exc
            else:
                return

    def _look(self, exc: StorageError) -> Content | None:
        try:
            return self._place.read(POINTER)
        except StorageError as blind:
            raise UnclearError(
                f"Unknown whether the pointer {self.url}/{POINTER} was moved: {exc.message} "
                f"Looking failed too: {blind.message}",
                "Readers see the last snapshot or the new one, either whole. When the store answers again, `status` "
                "shows which, and `run` finds out by itself.",
            ) from exc

    # Retention

    def forget(self, retention: Retention, now: datetime) -> list[str]:
        """Remove the snapshots that nothing in `retention` wants, and what deaths left; never the live one.

        The manifest goes first, so that a death in between leaves no snapshot that looks whole and is not. What
        cannot be removed hinders no other, and is told at the end; the next publish tries again.
        """
        live, whole, folders = self.current(), self.complete(), self._place.folders("snapshots")
        kept = _kept(live, whole, retention, now)
        idle_since = now - timedelta(seconds=retention.grace_s)
        unfinished = {
            name
            for name in set(folders) - set(whole)
            if _OURS.fullmatch(name) and name < max(kept, default="") and self._is_idle(name, idle_since)
        }
        removed, troubles = [], []
        for name in sorted((set(whole) - kept) | unfinished):
            try:
                self._place.remove(_folder(name), MANIFEST)
                removed.append(name)
            except StorageError as exc:
                troubles.append(exc)
        self._place.sweep(idle_since)
        if troubles:
            raise troubles[0]
        return removed

    def _is_idle(self, name: str, since: datetime) -> bool:
        """Whether nothing was written there since: a snapshot under way, of another machine, is not swept."""
        entries = self._place.entries(_folder(name))  # some stores go on listing a folder that holds nothing
        return bool(entries) and all(entry.written_at <= since for entry in entries)


def open_snapshots(config: Config) -> Snapshots:
    """The export of a config. Raises StorageError."""
    return Snapshots(open_place(config.output.url, config.work.path / "transit"))


def open_place(url: str, scratch: Path) -> Place:
    """A folder, or a prefix in an object store with a local folder for files on their way. Raises StorageError."""
    if "://" not in url:
        return LocalFolder(Path(url))
    from pipeline.store.remote import open_remote  # an export on a disk does without

    return open_remote(url, scratch, allow_http=allows_http())


def _folder(name: str) -> str:
    return f"snapshots/{name}"


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(indent=1).encode() + b"\n"


def _overtaken(live: Pointer | None) -> HeldError:
    return HeldError(
        f"Another publisher was first: {live.snapshot if live else 'no snapshot'} is live now.",
        "`run` again makes this night's tables upon it. Do two machines publish to the same output.url?",
    )


def _of_length(pointer: Pointer, length: int) -> bytes:
    """The pointer's text, so long where the place asks for that: of what does not fit, who ceased first is left out."""
    text = _json(pointer)
    while length and len(text) > length and pointer.was_live_until:
        first = min(pointer.was_live_until, key=lambda one: _instant(pointer.was_live_until[one]))
        pointer.was_live_until.pop(first)
        text = _json(pointer)
    return text.ljust(length)


def _kept(live: Pointer | None, whole: list[str], retention: Retention, now: datetime) -> set[str]:
    days = timedelta(days=retention.days)
    young = {name for name in whole if days and now - _made_at(name) < days}  # the clock may have gone back
    ceased = live.was_live_until if live else {}
    grace = timedelta(seconds=retention.grace_s)
    being_read = {name for name, until in ceased.items() if now - _instant(until) < grace}
    return set(whole[-retention.newest :]) | young | being_read | ({live.snapshot} if live else set())


def _made_at(name: str) -> datetime:
    """When a snapshot was made, by its name; long ago where the name does not say."""
    found = _OURS.fullmatch(name)
    if found is None:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.strptime(found[1], "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
