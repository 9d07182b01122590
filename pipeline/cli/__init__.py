"""The words the user types: parse, call one function, print, exit."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import typer

from pipeline.cli import nights, tables, trials
from pipeline.cli.app import WrongUse, app
from pipeline.errors import Exit, ExportError, StoppedError

__all__ = ["app", "main", "nights", "tables", "trials"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; every mistake of the user's or the world's becomes a message and an exit code."""
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
        exc.show()
        return int(Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _told(StoppedError("Stopped.", "Nothing is lost: `run` goes on where it stopped."), debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except Exception as exc:
        return _told(exc, debug)


def _stop(number: int, _frame: object) -> None:
    """A signal outside the fetch, which has its own way of ending in peace."""
    raise StoppedError(
        f"Stopped by {signal.Signals(number).name}.", "Nothing is lost: `run` goes on where it stopped."
    )


def _told(exc: BaseException, debug: bool) -> int:
    """Say what went wrong on stderr."""
    if debug:
        traceback.print_exception(exc)
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    if isinstance(exc, ExportError):
        sys.stderr.write(f"capillary-export: {exc.message}\n{exc.hint}{exc.hint and chr(10)}")
        return int(exc.exit_code)
    sys.stderr.write(
        f"capillary-export: a bug: {type(exc).__name__}: {exc}\nPlease report it; --debug shows where.\n"
    )
    return int(Exit.BUG)
