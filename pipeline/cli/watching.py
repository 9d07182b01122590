"""Who watches a run: a display, a log, and what the config names beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import Exit, ExportError, UsageError
from pipeline.events import EVENTS

if TYPE_CHECKING:
    from pipeline.config import Config, LogConfig
    from pipeline.log import Log
    from pipeline.night import Screen

if TYPE_CHECKING:
    from pipeline.telemetry.otlp import Otlp

FORMATS = ("auto", "console", "json")

LogFormat = Annotated[
    str | None,
    typer.Option(metavar="FORM", help="Events on stderr: console or json. Default: progress and warnings."),
]
ServePort = Annotated[
    int | None,
    typer.Option(
        "--serve",
        metavar="PORT",
        min=0,
        max=65535,
        help="Show the page while it runs, on 127.0.0.1; 0 picks a port.",
    ),
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="How much is logged: debug, info, warning or error.")
]


@dataclass(frozen=True)
class Watching:
    """What a run's command line says about being watched."""

    form: str | None = None
    level: str | None = None
    quiet: bool = False
    serve: int | None = None

    def log(self, config: LogConfig) -> tuple[str, str]:
        """The form and the level: the command line's, else the config's. Raises UsageError."""
        from pipeline.log import LEVELS

        form = _one_of("--log-format", self.form, FORMATS) or config.format
        level = _one_of("--log-level", self.level, tuple(LEVELS)) or config.level
        is_asked_for = form != "auto" or level is not None
        return form, level or ("info" if is_asked_for else "error" if self.quiet else "warning")

    def complaint(self, config: LogConfig, screen: Screen) -> Callable[[str], None]:
        """How to complain of a hook: in a line for people, or where all lines are JSON, by an event."""
        from pipeline.notify import on_stderr

        if self.log(config)[0] != "json":
            return on_stderr
        return lambda notice: screen.event("notify.failed", notice=notice)


def _one_of(flag: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise UsageError(f"{flag} {value}: must be one of {', '.join(allowed)}.")
    return value


@contextmanager
def watched(watching: Watching, config: Config) -> Iterator[Screen]:
    """The screen of a run. With JSON lines on stderr its error is a line, too, and nothing else is written.

    Raises UsageError before anything has begun.
    """
    from pipeline.log import Log
    from pipeline.screen import LogScreen, Screens
    from pipeline.serving import open_port, serving, url_of

    form, level = watching.log(config.log)
    otlp = _otlp(config) if config.metrics.otlp else None
    sock = None if watching.serve is None else open_port(watching.serve)
    log = Log("console" if form == "auto" else form, level)
    log.hear_libraries()
    screens = Screens([*_display(form, watching.quiet), LogScreen(log)], log)
    try:
        with ExitStack() as stack:
            if config.metrics.textfile is not None:
                from pipeline.telemetry import Textfile

                stack.enter_context(Textfile(config, partial(_lost, log, "textfile")))
            if otlp is not None:
                screens.add(stack.enter_context(otlp))
            if sock is not None:
                url = url_of(sock)
                stack.enter_context(serving(sock, config))
                screens.step(f"{url} shows this night while it runs")
                screens.event("serving.started", url=url)
            yield screens
    except Exception as exc:
        cause = _first_of(exc)
        if form != "json":
            raise
        log.event("error", "night.failed", **_about(cause))
        raise typer.Exit(int(cause.exit_code if isinstance(cause, ExportError) else Exit.BUG)) from None


def _otlp(config: Config) -> Otlp:
    try:
        from pipeline.telemetry.otlp import Otlp
    except ImportError as exc:
        remedy = "pip install 'capillary-export[otel]', or leave metrics.otlp out."
        raise UsageError("metrics.otlp needs the extra otel, which is not installed.", remedy) from exc
    return Otlp(config)


def _lost(log: Log, watcher: str, exc: Exception) -> None:
    reason = exc.message if isinstance(exc, ExportError) else None
    about = {"watcher": watcher, "error": type(exc).__name__, "reason": reason}
    log.event(EVENTS["watcher.failed"].level, "watcher.failed", **about)


def _display(form: str, quiet: bool) -> list[Screen]:
    """A display on a terminal; elsewhere a line a minute, where no log says the same."""
    from pipeline.screen import LineScreen, TerminalScreen

    if quiet or form == "json":
        return []
    if sys.stderr.isatty():
        return [TerminalScreen()]
    return [LineScreen()] if form == "auto" else []


def _first_of(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def _about(exc: BaseException) -> dict[str, object]:
    """An error as fields. The text of one that is not ours may hold anything: only its type and place are told."""
    if isinstance(exc, ExportError):
        kind = type(exc).__name__
        return {"error": kind, "reason": exc.message, "hint": exc.hint, "exit_code": int(exc.exit_code)}
    return {"error": type(exc).__name__, "where": place_of(exc), "exit_code": int(Exit.BUG)}


def place_of(exc: BaseException) -> str:
    """The file and line that raised it."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
