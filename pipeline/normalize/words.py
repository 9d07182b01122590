"""How a process tells its parent what went wrong with the disk or the journal."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ExportError, JournalError, StorageError

_ERRORS: dict[str, type[ExportError]] = {"StorageError": StorageError, "JournalError": JournalError}


def error_message(exc: ExportError) -> dict[str, object]:
    """As it is sent."""
    return {"error": type(exc).__name__, "message": exc.message, "hint": exc.hint}


def told_error(message: dict[str, Any]) -> ExportError:
    """The error of which a message tells."""
    return _ERRORS.get(message["error"], StorageError)(message["message"], message["hint"])
