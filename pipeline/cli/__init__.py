"""The words the user types: parse, call one function, print, exit."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from pipeline.cli import checkup, hooks, nights, rehearsing, tables, trials
from pipeline.cli.app import WrongUse, app
from pipeline.cli.showing import while_read
from pipeline.cli.watching import place_of
from pipeline.errors import Exit, ExportError, StoppedError, StorageError, UsageError

__all__ = ["app", "checkup", "hooks", "main", "nights", "rehearsing", "tables", "trials"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; every mistake of the user's or the world's becomes a message and an exit code."""
    _open_what_is_closed()
    code = _run(arguments)
    try:
        with while_read():
            pass
    except StorageError as exc:
        return _told(exc, debug=False)
    return code


def _open_what_is_closed() -> None:
    """Started with `>&-`: else a file of the night's would become its stdout."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            while (opened := os.open(os.devnull, os.O_RDWR)) < number:
                pass
            setattr(sys, name, os.fdopen(opened, mode))


def _run(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        ended = app(
            [word for word in words if word != "--debug"], prog_name="capillary-export", standalone_mode=False
        )
        return int(ended or 0)
    except typer.Exit as exc:
        return exc.exit_code
    except WrongUse as exc:
        if missing := _missing_config(exc):
            return _told(missing, debug)
        exc.show()
        return int(Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _told(StoppedError("Stopped.", "Nothing is lost: `run` goes on where it stopped."), debug)
    except SystemExit:  # so typer ends where nobody reads its help
        return int(Exit.OK)
    except Exception as exc:
        return _told(exc, debug)


def _stop(number: int, _frame: object) -> None:
    """A signal outside the fetch, which has its own way of ending in peace."""
    raise StoppedError(
        f"Stopped by {signal.Signals(number).name}.", "Nothing is lost: `run` goes on where it stopped."
    )


def _missing_config(exc: Any) -> UsageError | None:
    """A config that is not there is told before an option that is not."""
    config = exc.ctx.params.get("config") if exc.ctx else None
    if not isinstance(config, Path) or config.exists():
        return None
    from pipeline.config import load_config

    try:
        load_config(config)
    except UsageError as missing:
        return missing
    return None


def _told(exc: BaseException, debug: bool) -> int:
    """Say what went wrong on stderr."""
    if debug:
        _print_trace(exc)
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    if isinstance(exc, ExportError):
        sys.stderr.write(f"capillary-export: {exc.message}\n{exc.hint}{exc.hint and chr(10)}")
        return int(exc.exit_code)
    # Its text may hold a customer's data: what is told is its kind and its place.
    sys.stderr.write(
        f"capillary-export: a bug: {type(exc).__name__} at {place_of(exc)}\n"
        "Please report it; --debug shows the way there.\n"
    )
    return int(Exit.BUG)


def _print_trace(exc: BaseException) -> None:
    """The way to an error through the code. The texts of errors that are not ours may hold a customer's data."""
    for one in _with_causes(exc):
        sys.stderr.write("".join(traceback.format_tb(one.__traceback__)))
        text = f": {one}" if isinstance(one, ExportError) else ""
        sys.stderr.write(f"{type(one).__name__}{text}\n")


def _with_causes(exc: BaseException) -> Iterator[BaseException]:
    """An error, what is grouped in it, and what it came of; the last first."""
    if isinstance(exc, BaseExceptionGroup):
        for one in exc.exceptions:
            yield from _with_causes(one)
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if cause is not None:
        yield from _with_causes(cause)
    yield exc
