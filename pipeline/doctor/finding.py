"""One thing that was tried, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import ExportError

MOST_CHARS = 200


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # a night runs all the same
    FAILS = "FAILS"  # no night runs, or none ends well


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. `calls`: what it cost of the API's quota."""

    what: str
    level: Level
    detail: str
    remedy: str = ""
    error: ExportError | None = None
    calls: int = 0

    @property
    def ok(self) -> bool:
        """Whether a night can run in spite of it."""
        return self.level is not Level.FAILS


def fine(what: str, detail: str, *, calls: int = 0) -> Finding:
    """It is as it should be."""
    return Finding(what, Level.OK, detail, calls=calls)


def warned(what: str, detail: str, remedy: str, *, calls: int = 0) -> Finding:
    """A night runs, but somebody should look at it."""
    return Finding(what, Level.WARN, detail, remedy, calls=calls)


def failed(what: str, error: ExportError, *, calls: int = 0) -> Finding:
    """No night will run like this."""
    return Finding(what, Level.FAILS, error.message, error.hint, error, calls)


def harmless(text: str) -> str:
    """What others wrote (a certificate, a header), fit for a terminal: printable, on one line, not long."""
    return "".join(one if one.isprintable() else "?" for one in text[:MOST_CHARS])
