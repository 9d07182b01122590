"""The workspace: one private folder per night, every path by name, its lock, its state.

work/lock                       held by the one run that may write here
work/<night>/state.json         how far the night is
work/<night>/ids.i64            the night's distinct IDs in input order, 8 bytes each
work/<night>/rejected_ids.parquet
work/<night>/journal/           chunk-00000.sealed …
work/<night>/parts/<table>/     chunk-00000.part …
work/known/<night>.known        what was known of every ID after that night (store/knowledge.py)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import LockedError, StorageError
from pipeline.store.atomic import make_folder, storage_errors, sync_folder, write_atomically

PRIVATE = 0o700
LOCK_PATIENCE_S = 5.0
"""How long a dead run's helper process may still hold the lock while it ends."""


ENDED = ("published", "taken along")
"""States of a night whose every answer is in a snapshot, or in a later night's journal."""
_FORGOTTEN = ".forgotten-"


class IdCounts(BaseModel, defer_build=True):
    """What the reader found in the CSVs."""

    model_config = ConfigDict(extra="forbid")
    read: int = 0
    distinct: int = 0
    repeated: int = 0
    rejected: int = 0
    carried: int = 0  # answered earlier tonight (or by a night that died), but not in this reading


class Measured(BaseModel, defer_build=True):
    """What a night took, for the plan of the next ones. Sums over all starts of the night."""

    model_config = ConfigDict(extra="forbid")
    ids: int  # with a verdict
    calls: int
    latency_us: int  # mean of its calls
    night_bytes: int  # journal and parts
    snapshot_ids: int  # in the snapshot's `outcomes`
    snapshot_bytes: int
    memory_bytes: int  # peak of all processes
    merge_bytes: int = 0  # of the first one, which merges alone; 0: an older version, which did not note it


class NightState(BaseModel, defer_build=True):
    """How far a night is. Written whole, atomically, at each step."""

    model_config = ConfigDict(extra="forbid")
    night: date
    started_at: str
    ids: IdCounts = Field(default_factory=IdCounts)
    listed: bool = False
    state: str = "started"  # started, fetching, stopped, held, published, taken along
    reason: str = ""
    snapshot: str = ""
    published_records: int = -1  # how many journal records the snapshot was made from
    swinging_to: str = ""  # the snapshot that the pointer is being moved to, until it is known to be there
    swinging_records: int = -1
    updated_at: str = ""
    measured: Measured | None = None  # at the last publish


@dataclass(frozen=True)
class NightFolder:
    """One night's folder."""

    root: Path
    night: date

    @property
    def journal(self) -> Path:
        """Where the chunks lie."""
        return self.root / "journal"

    @property
    def parts(self) -> Path:
        """Where the parts lie, one folder per table."""
        return self.root / "parts"

    @property
    def ids(self) -> Path:
        """The night's distinct IDs, int64 little-endian, in input order."""
        return self.root / "ids.i64"

    @property
    def identifiers(self) -> Path:
        """What was asked by, where not by customer IDs: one a line, in the order of `ids`."""
        return self.root / "identifiers.txt"

    @property
    def rejected_ids(self) -> Path:
        """The CSV rows that hold no ID."""
        return self.root / "rejected_ids.parquet"

    @property
    def progress(self) -> Path:
        """What a running night counts, for `status` from a second shell."""
        return self.root / "progress.json"

    @property
    def step(self) -> Path:
        """Which step a run is at, since when, and in which process."""
        return self.root / "step.json"

    def make(self) -> NightFolder:
        """Make the folders, for the owner's eyes only."""
        for folder in (self.root, self.journal, self.parts):
            make_folder(folder, PRIVATE)
        return self

    def state(self) -> NightState | None:
        """The night's state; None when it never began."""
        path = self.root / "state.json"
        try:
            return NightState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            cause = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else exc.strerror
            raise StorageError(
                f"Cannot read {path}: {cause}.", "Move it away; `run` makes it again."
            ) from exc

    def save(self, state: NightState) -> None:
        """Write the state, atomically."""
        write_atomically(self.root / "state.json", state.model_dump_json(indent=1).encode())


class Workspace:
    """All nights of one export."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def night(self, night: date) -> NightFolder:
        """A night's folder, whether it exists or not."""
        return NightFolder(self.root / night.isoformat(), night)

    def nights(self) -> list[NightFolder]:
        """The nights that have a folder, oldest first."""
        found = []
        for path in sorted(self.root.glob("????-??-??/")):
            with suppress(ValueError):
                found.append(NightFolder(path, date.fromisoformat(path.name)))
        return found

    @contextmanager
    def lock(self, patience_s: float = LOCK_PATIENCE_S) -> Iterator[int]:
        """Hold the workspace; gives the lock's descriptor, for a helper process to inherit.

        The kernel drops the lock with its last holder, so a dead run leaves none behind. Raises LockedError
        when another run holds it.
        """
        make_folder(self.root, PRIVATE)
        path = self.root / "lock"
        with storage_errors("lock the workspace", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with storage_errors("lock the workspace", path):
                _acquire(descriptor, path, patience_s)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process that holds the workspace now, if one does; 0 when it has not said yet which it is."""
        path = self.root / "lock"
        if not path.exists():
            return None
        with storage_errors("look at the lock", path):
            descriptor = os.open(path, os.O_RDWR)
            try:
                # Shared, so that two who look don't take each other for a run.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _pid_in(descriptor) or 0
            finally:
                os.close(descriptor)
        return None

    def forget_nights(self, keep: int) -> list[date]:
        """Remove all but the newest `keep` nights, where no answer waits in them. Gives the nights removed.

        A held night, one that has not ended and one whose state cannot be read stay. A folder loses its name
        before it is emptied, so that a death in between leaves no half night.
        """
        removed = []
        for folder in self.nights()[:-keep]:
            with suppress(OSError, StorageError):
                state = folder.state()
                if state is not None and state.state in ENDED:
                    folder.root.rename(self.root / f"{_FORGOTTEN}{folder.root.name}")
                    sync_folder(self.root)  # or a power loss brings the name back, and half of the night
                    removed.append(folder.night)
        for path in self.root.glob(f"{_FORGOTTEN}*/"):
            shutil.rmtree(path, ignore_errors=True)
        return removed


def _acquire(descriptor: int, path: Path, patience_s: float) -> None:
    """Take the lock. A live holder is hardly waited for; a dead one's helper process gets a moment to end."""
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(descriptor)
            if time.monotonic() - began > (min(1.0, patience_s) if _is_alive(pid) else patience_s):
                raise LockedError(
                    f"Another run (process {pid or 'unknown'}) holds the workspace {path.parent}.",
                    "Wait for it (`capillary-export status` shows it), or stop it.",
                ) from None
            time.sleep(0.05)
        else:
            return


def _pid_in(descriptor: int) -> int | None:
    try:
        noted: dict[str, Any] = json.loads(os.pread(descriptor, 200, 0))
        return int(noted["pid"])
    except (ValueError, KeyError):
        return None


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended, and only its parent has not noticed (Linux)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
