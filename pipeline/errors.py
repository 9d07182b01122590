"""What can go wrong, sorted by what happens next.

ExportError                  everything this program raises on purpose; carries a hint and an exit code
├── UsageError            2  wrong use, config or input; nothing was started
├── RetriableError        –  one call failed; wait and ask again (never leaves fetch/)
├── FatalError               the night stops; what is journalled stays
│   ├── StoppedError      3  signal, closed window or outage: `run` goes on
│   ├── RefusedError      5  the API refuses us (401, 403)
│   ├── LockedError       6  another run holds the workspace
│   └── StorageError      7  disk full, no permission, store away
│       ├── JournalError  7  a journal file is damaged where it must not be
│       ├── HelperError   7  the second process died
│       ├── TakenError    7  another writer was first
│       └── UnclearError  7  sent but not answered: it may have been done, or not
└── HeldError             4  finished, but a check failed: the last snapshot stays live
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes that cron lines hang on (see `capillary-export --help`)."""

    OK = 0
    BUG = 1
    USAGE = 2
    STOPPED = 3
    HELD = 4
    REFUSED = 5
    LOCKED = 6
    STORAGE = 7


class ExportError(Exception):
    """A mistake of the user's or the world's: told in plain words, without a traceback.

    `hint` says what to do next; `exit_code` is what the command ends with.
    """

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(ExportError):
    """Wrong use, config or input. Nothing was started."""

    exit_code = Exit.USAGE


class RetriableError(ExportError):
    """One call failed in a way that may pass. `retry_after_s` is what the server asked for, if it did."""

    def __init__(self, message: str, hint: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class FatalError(ExportError):
    """The night stops here. What is journalled stays."""


class StoppedError(FatalError):
    """Stopped before the end by a signal, the window or an outage. `run` goes on.

    `publish` says whether what the night has so far is published all the same (window, outage), or not (signal);
    `as_planned` whether that is how such nights are meant to end (window, budget).
    """

    exit_code = Exit.STOPPED

    def __init__(
        self, message: str, hint: str = "", *, publish: bool = False, as_planned: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.publish = publish
        self.as_planned = as_planned


class RefusedError(FatalError):
    """The API refuses our credentials or our rights (401, 403)."""

    exit_code = Exit.REFUSED


class LockedError(FatalError):
    """Another run holds the workspace."""

    exit_code = Exit.LOCKED


class StorageError(FatalError):
    """The disk or the object store failed us. Nothing is half-published."""

    exit_code = Exit.STORAGE


class JournalError(StorageError):
    """A sealed journal file is damaged."""


class HelperError(StorageError):
    """The second process died. What it had acknowledged is in the journal."""


class TakenError(StorageError):
    """A name that was to be new is taken, or a file that was to be replaced has changed: another was first."""


class UnclearError(StorageError):
    """A change was sent and no answer came: it may have been made, or not. Look before saying anything."""


class HeldError(ExportError):
    """The night is complete but a check failed; the last snapshot stays live."""

    exit_code = Exit.HELD
