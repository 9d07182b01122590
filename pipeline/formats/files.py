"""A table's data files: the snapshot's own Parquet files under a second name, in the table's folder.

Nothing is encoded twice. On a disk the second name is a link, in an object store the store makes the copy; only where
the table lies elsewhere than the export does a file travel. Each table owns its files: whatever other engines do to it
(vacuum, compaction) touches no snapshot, and no retention of snapshots touches it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.atomic import copy_file, make_folder, storage_errors
from pipeline.store.folder import LocalFolder
from pipeline.store.place import Place
from pipeline.store.snapshots import Manifest, ManifestFile, Snapshots, open_place

DATA = "data"
_AT_ONCE = 4


@dataclass(frozen=True)
class DataFile:
    """A finished Parquet file at `path`, relative to the table's location."""

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Shelf:
    """Where a table's files lie: a folder in a place."""

    place: Place
    folder: str

    def at(self, path: str) -> str:
        """A path in the table's folder, as the place knows it."""
        return f"{self.folder}/{path}".lstrip("/")

    def metadata_of(self, path: str) -> pq.FileMetaData:
        """The footer of a data file."""
        with storage_errors("read", Path(path)), self.place.open(self.at(path)) as file:
            return pq.read_metadata(file)

    def forget(self, kept: Collection[str]) -> None:
        """Remove the data files of runs that are not among `kept`."""
        for name in set(self.place.folders(self.at(DATA))) - set(kept):
            self.place.remove(self.at(f"{DATA}/{name}"), "part-00000.parquet")


def shelf_at(location: str, export: Place, scratch: Path) -> Shelf:
    """The shelf of a table at `location`: in the export itself, if it lies there. Raises StorageError."""
    bare = location.removeprefix("file://").replace("s3a://", "s3://", 1).rstrip("/")
    if bare.startswith(f"{export.url.rstrip('/')}/"):
        return Shelf(export, bare.removeprefix(f"{export.url.rstrip('/')}/"))
    return Shelf(open_place(bare, scratch), "")


class Source:
    """The files of a live snapshot, to be brought into tables."""

    def __init__(self, snapshots: Snapshots, manifest: Manifest, scratch: Path) -> None:
        self._snapshots, self._manifest, self._scratch = snapshots, manifest, scratch

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table, with their meanings."""
        first = self._path(self._manifest.tables[table].files[0])
        with storage_errors("read", Path(first)), self._snapshots.place.open(first) as file:
            return pq.read_schema(file)

    def bring(self, table: str, shelf: Shelf) -> list[DataFile]:
        """A table's files on its shelf; what is there already, whole, is not brought again. Raises StorageError."""
        name = self._manifest.snapshot
        folder = f"{DATA}/{name}"
        there = {entry.path: entry.bytes for entry in shelf.place.entries(shelf.at(folder))}
        brought, wanted = [], self._manifest.tables[table].files
        for file in wanted:
            short = file.path.rpartition("/")[2]
            brought.append(DataFile(f"{folder}/{short}", file.rows, file.bytes))
        missing = [
            (file, shelf.at(one.path))
            for file, one in zip(wanted, brought, strict=True)
            if there.get(one.path.removeprefix(f"{folder}/")) != file.bytes
        ]
        self._bring_each(missing, self._how(shelf))
        return brought

    def _bring_each(
        self, missing: list[tuple[ManifestFile, str]], bring: Callable[[ManifestFile, str], None]
    ) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done in [pool.submit(bring, file, target) for file, target in missing]:
                done.result()

    def _how(self, shelf: Shelf) -> Callable[[ManifestFile, str], None]:
        if shelf.place is self._snapshots.place:
            return lambda file, target: shelf.place.copy(self._path(file), target)
        return lambda file, target: self._carry(file, shelf.place, target)

    def _carry(self, file: ManifestFile, place: Place, target: str) -> None:
        """Between two places a file goes by the local disk, proved against its checksum."""
        with self._snapshots.place.reading(self._path(file), file.sha256) as local:
            if isinstance(place, LocalFolder):
                make_folder((place.root / target).parent)
                copy_file(local, place.root / target)
                return
            link = make_folder(self._scratch / "tables", 0o700) / target.replace("/", "~")
            link.unlink(missing_ok=True)  # a death left it
            copy_file(local, link)
            place.deliver(link, target)

    def _path(self, file: ManifestFile) -> str:
        return f"snapshots/{self._manifest.snapshot}/{file.path}"
