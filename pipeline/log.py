"""Logs: events as JSON lines, or for people's eyes, on stderr. The only file that knows structlog.

What is logged is made of our own words and numbers. The masks here are a second net, for what a library says.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import suppress
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, cast

if (
    TYPE_CHECKING
):  # it is loaded for the first line: a quiet night has none, and loading it takes a tenth of a second
    from structlog.typing import EventDict, Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_QUERY = re.compile(r"(?<=\?)[^\s\"'<>]+")
_ADDRESS = re.compile(r"[^\s@\"'<>=:/]+@[^\s@\"'<>]+")
_CREDENTIAL = re.compile(r"(?i)\b(basic|bearer)\s+[\w.~+/=-]+")


class Log:
    """Writes events of a level and above. `form` is json or console. A stderr that is gone stops nobody."""

    def __init__(self, form: str, level: str) -> None:
        self.form = form
        self._least = LEVELS[level]
        self._colors = sys.stderr.isatty()

    @cached_property
    def _logger(self) -> Any:
        import structlog

        return structlog.wrap_logger(
            structlog.PrintLogger(cast(TextIO, _Stderr())),
            processors=[_stamped, _plain, _masked, _renderer(self.form, self._colors)],
        )

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """One line, where the level is loud enough."""
        if LEVELS[level] >= self._least:
            with suppress(OSError, ValueError):  # a full disk, a closed pipe
                self._logger.msg(name, level=level, **fields)

    def hear_libraries(self) -> None:
        """What libraries warn of becomes an event, too, without the text of their errors: it may hold anything."""
        root = logging.getLogger()
        root.handlers = [_Libraries(self)]
        root.setLevel(logging.WARNING)


class _Libraries(logging.Handler):
    """The first line of a warning, and the type of the error."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises."""
        kind = record.exc_info[0] if record.exc_info else None
        with suppress(Exception):
            said = record.getMessage().partition("\n")[0]
            about = {"library": record.name, "said": said, "error": kind.__name__ if kind else None}
            self._log.event("warning", "library.warned", **about)


class _Stderr:
    """Standard error as it is now: a progress display may stand in for it meanwhile."""

    def write(self, text: str) -> int:
        """One piece of text."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Out with it."""
        sys.stderr.flush()


def _renderer(form: str, colors: bool) -> Processor:
    import structlog

    if form == "json":
        return structlog.processors.JSONRenderer(serializer=_to_json)
    return structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, pad_event_to=18, exception_formatter=structlog.dev.plain_traceback
    )


def _to_json(found: object, **_: object) -> str:
    return json.dumps(found, ensure_ascii=False, default=str)


def _stamped(_: object, __: str, found: EventDict) -> EventDict:
    """When, how loud, what: in this order, and then the rest."""
    import structlog

    first = {"timestamp": structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "", {})["timestamp"]}
    first |= {"level": found.pop("level"), "event": found.pop("event")}
    return {**first, **found}


def _plain(_: object, __: str, found: EventDict) -> EventDict:
    """Dates as text; fields of nothing left out."""
    texts = {
        name: value.isoformat() if isinstance(value, date | datetime) else value
        for name, value in found.items()
    }
    return {name: value for name, value in texts.items() if value is not None and value != ""}


def _masked(_: object, __: str, found: EventDict) -> EventDict:
    return {name: masked(value) if isinstance(value, str) else value for name, value in found.items()}


def masked(text: str) -> str:
    """Without queries of URLs (signatures), addresses, credentials."""
    return _ADDRESS.sub("…@…", _CREDENTIAL.sub(r"\1 …", _QUERY.sub("…", text)))
