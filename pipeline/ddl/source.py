"""Which snapshot is to be loaded, and where its files lie: a folder, an export, or an object store's URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from pipeline.config import allows_http
from pipeline.errors import StorageError, UsageError
from pipeline.store.folder import LocalFolder
from pipeline.store.place import Place
from pipeline.store.snapshots import MANIFEST, POINTER, Manifest, Pointer

_HINT = "Give a snapshot's folder, its manifest.json, or the export folder with its current.json."


@dataclass(frozen=True)
class Source:
    """A snapshot and the folder or URL that its manifest's paths are relative to; no slash at its end."""

    base: str
    manifest: Manifest

    @property
    def scheme(self) -> str:
        """`file`, `s3`, `gs`, `az`, …"""
        return self.base.partition("://")[0].lower() if "://" in self.base else "file"

    @property
    def name(self) -> str:
        """The snapshot's name."""
        return self.manifest.snapshot


def find_source(url: str) -> Source:
    """The snapshot that a folder, manifest.json, export folder or current.json means.

    Raises UsageError where there is none, StorageError where it cannot be read.
    """
    if not url.isprintable():
        raise UsageError("The snapshot's URL holds a character that cannot be printed.", _HINT)
    base, last = _split(url)
    if "://" not in base and Path(base).is_file():
        raise UsageError(f"{url} is a file, and no {MANIFEST}.", _HINT)
    with open_place(base) as place:
        if last != POINTER and (found := place.read(MANIFEST)) is not None:
            return Source(base, _manifest(found.data, base))
        pointed = place.read(POINTER) if last != MANIFEST else None
        if pointed is None:
            raise UsageError(f"There is no snapshot at {url}.", _HINT)
        path = _pointer(pointed.data, base).manifest
        if (found := place.read(path)) is None:
            raise StorageError(
                f"{base}/{POINTER} names {path}, which is not there.", "`status` lists what is."
            )
        return Source(f"{base}/{path}".removesuffix(f"/{MANIFEST}"), _manifest(found.data, f"{base}/{path}"))


def _split(url: str) -> tuple[str, str]:
    """The folder, and `manifest.json` or `current.json` where the URL names one.

    URLs stay as they are; paths become absolute, so that the script runs from any folder.
    """
    given = url.removeprefix("file://")
    here = (given if "://" in given else Path(given).absolute().as_posix()).rstrip("/")
    folder, _, last = here.rpartition("/")
    return (folder, last) if last in (MANIFEST, POINTER) else (here, "")


@contextmanager
def open_place(base: str) -> Iterator[Place]:
    """The folder, to read from. Raises StorageError."""
    if "://" not in base:
        yield LocalFolder(Path(base))
        return
    from pipeline.store.remote import open_remote  # a folder on a disk does without

    with TemporaryDirectory(prefix="capillary-export-") as scratch:
        yield open_remote(base, Path(scratch), allow_http=allows_http())


def _manifest(content: bytes, where: str) -> Manifest:
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as exc:
        raise StorageError(f"Cannot read the manifest of {where}.", "Is it a whole snapshot?") from exc


def _pointer(content: bytes, where: str) -> Pointer:
    try:
        return Pointer.model_validate_json(content)
    except ValidationError as exc:
        hint = "`rollback --to SNAPSHOT` writes it anew."
        raise StorageError(f"Cannot read the pointer {where}/{POINTER}.", hint) from exc
