"""Where analysts read: snapshot folders and the pointer that says which one is live.

export/current.json
export/snapshots/<name>/manifest.json               written last: a folder without it is nobody's
export/snapshots/<name>/<table>/part-00000.parquet
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import StorageError
from pipeline.store.atomic import make_folder, storage_errors, write_atomically

_OURS = "snapshots/????-??-??T??????Z*/"
"""Folders named like this are ours to remove when no manifest is in them; others are not."""


class ManifestFile(BaseModel):
    """One data file; `path` is relative to the manifest's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


class ManifestTable(BaseModel):
    """One table's files."""

    rows: int
    files: list[ManifestFile]
    schema_fingerprint: str


class ManifestCheck(BaseModel):
    """What was checked before readers could see the snapshot."""

    name: str
    passed: bool
    detail: str


class Manifest(BaseModel):
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
    checks: list[ManifestCheck]
    config_sha256: str
    forced_reason: str | None = None


class Pointer(BaseModel):
    """The content of current.json."""

    model_config = ConfigDict(extra="allow")
    snapshot: str
    published_at: str
    manifest: str


class Snapshots:
    """The export folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        """A snapshot's folder."""
        return self.root / "snapshots" / name

    def current(self) -> Pointer | None:
        """The live snapshot; None before the first. Raises StorageError where the pointer cannot be read."""
        path = self.root / "current.json"
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            raise StorageError(
                f"Cannot read the pointer {path}.", "`rollback --to SNAPSHOT` writes it anew."
            ) from exc

    def manifest(self, name: str) -> Manifest:
        """A snapshot's manifest. Raises StorageError."""
        path = self.folder(name) / "manifest.json"
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as exc:
            raise StorageError(f"Cannot read the manifest {path}.", "Is it a whole snapshot?") from exc

    def complete(self) -> list[str]:
        """The names of all whole snapshots, oldest first."""
        return sorted(path.parent.name for path in self.root.glob("snapshots/*/manifest.json"))

    def is_complete(self, name: str) -> bool:
        """Whether a whole snapshot of that name is there."""
        return (self.folder(name) / "manifest.json").exists()

    def begin(self, name: str) -> Path:
        """A fresh folder for a snapshot; what a death left there is removed."""
        folder = self.folder(name)
        with storage_errors("begin the snapshot", folder):
            if folder.exists():
                shutil.rmtree(folder)
        return make_folder(folder)

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest: from now on the folder is a snapshot, though not yet the live one."""
        path = self.folder(manifest.snapshot) / "manifest.json"
        write_atomically(path, manifest.model_dump_json(indent=1).encode() + b"\n")

    def point(self, name: str, published_at: str, **more: object) -> Pointer:
        """Swing the pointer: the one commit point."""
        pointer = Pointer(
            snapshot=name, published_at=published_at, manifest=f"snapshots/{name}/manifest.json", **more
        )
        write_atomically(self.root / "current.json", pointer.model_dump_json(indent=1).encode() + b"\n")
        return pointer

    def forget(self, keep: int) -> list[str]:
        """Remove the oldest whole snapshots beyond `keep`, and what deaths left; never the live one.

        The manifest goes first, so that a death in between leaves no snapshot that looks whole and is not.
        """
        live = self.current()
        whole = self.complete()
        kept = set(whole[-keep:]) | ({live.snapshot} if live else set())
        unfinished = {path.name for path in self.root.glob(_OURS)} - set(whole)
        left_by_deaths = {name for name in unfinished if name < max(kept, default="")}
        removed = sorted((set(whole) | left_by_deaths) - kept)
        for name in removed:
            with suppress(OSError):
                (self.folder(name) / "manifest.json").unlink(missing_ok=True)
                shutil.rmtree(self.folder(name))
        for path in self.root.glob(".current.json.*.tmp"):
            path.unlink(missing_ok=True)
        return [name for name in removed if not self.folder(name).exists()]
