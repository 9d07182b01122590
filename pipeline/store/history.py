"""What good nights measured, kept for the checks of later ones.

work/<night>/measured.json      this night's, until it is published
work/history/<night>.json.gz    of a published night; these outlast the nights' folders and the snapshots
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.store.atomic import make_folder, storage_errors, write_atomically
from pipeline.store.workspace import PRIVATE, NightFolder

_UNREADABLE = (OSError, EOFError, zlib.error, ValidationError)

Found = dict[str, dict[str, tuple[float, int]]]
"""By check, and by what it is about (`table`, `table.column`, …): the value, and how many customers are behind it."""


class Measurements(BaseModel, defer_build=True):
    """What one night measured. `levels` are of all customers that answered; `drifts` of those known before,
    tonight against their own rows of `gap_days` ago on average.
    """

    model_config = ConfigDict(extra="ignore")
    night: date
    snapshot: str
    customers: int = 0  # that were looked at
    matched: int = 0  # of these, with rows in the last snapshot
    gap_days: float = 0.0
    levels: Found = {}
    drifts: Found = {}
    failed: list[str] = []  # `check: subject` of what was out of its band
    forced_reason: str = ""  # of a night that was published all the same


class History:
    """The published nights' measurements."""

    def __init__(self, workspace: Path) -> None:
        self._folder = workspace / "history"

    def nights_before(self, night: date, most: int) -> list[Measurements]:
        """The newest `most` nights before this one, newest first; one that cannot be read is left out."""
        names = [path for path in self._paths() if path.name < night.isoformat()]
        found = []
        for path in reversed(names[-most:]):
            with suppress(*_UNREADABLE):
                found.append(_read(path))
        return found

    def add(self, folder: NightFolder, snapshot: str, forced_reason: str = "", *, keep: int) -> None:
        """This snapshot was published: what it measured counts from now on. Nights beyond `keep` are forgotten.

        A snapshot that measured nothing (too few customers) leaves no trace. Raises StorageError.
        """
        measured = read_measured(folder)
        if measured is None or measured.snapshot != snapshot:
            return
        make_folder(self._folder, PRIVATE)
        kept = measured.model_copy(update={"forced_reason": forced_reason})
        data = gzip.compress(kept.model_dump_json().encode(), mtime=0)
        write_atomically(self._folder / f"{folder.night.isoformat()}.json.gz", data)
        self._remove(self._paths()[:-keep])

    def withdraw(self, after: str) -> None:
        """Nights whose snapshots are newer than `after` were taken back: they count no longer. Raises StorageError."""
        self._remove([path for path in self._paths() if _snapshot_of(path) > after])

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("????-??-??.json.gz"))

    def _remove(self, paths: list[Path]) -> None:
        with storage_errors("tidy", self._folder):
            for path in paths:
                path.unlink(missing_ok=True)


def _snapshot_of(path: Path) -> str:
    with suppress(*_UNREADABLE):
        return _read(path).snapshot
    return ""


def _read(path: Path) -> Measurements:
    return Measurements.model_validate_json(gzip.decompress(path.read_bytes()))


def write_measured(folder: NightFolder, measured: Measurements | None) -> None:
    """Keep what a night measured until it is known whether it is published. Raises StorageError."""
    path = _measured_path(folder)
    if measured is not None:
        write_atomically(path, measured.model_dump_json().encode())
        return
    with storage_errors("remove", path):
        path.unlink(missing_ok=True)


def read_measured(folder: NightFolder) -> Measurements | None:
    """What a night measured; None where it did not, or where the file cannot be read."""
    with suppress(OSError, ValidationError):
        return Measurements.model_validate_json(_measured_path(folder).read_bytes())
    return None


def _measured_path(folder: NightFolder) -> Path:
    return folder.root / "measured.json"
