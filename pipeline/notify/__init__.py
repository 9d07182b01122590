"""Who is told how a night ended. Nothing here fails a night, changes its exit code, or holds it up for long."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config import Config, EventName
from pipeline.errors import ExportError, LockedError
from pipeline.night import Options, Result, Screen, run_night
from pipeline.night.opening import which_night
from pipeline.night.page import PAGE
from pipeline.notify.event import (
    Event,
    event_of_error,
    event_of_publish,
    event_of_result,
    trial_event,
)
from pipeline.notify.telling import Told, tell, within
from pipeline.store.snapshots import Manifest, open_snapshots
from pipeline.store.workspace import Workspace

__all__ = ["Event", "Told", "run_and_tell", "tell_published", "try_hooks"]

PAGE_WITHIN_S = 5.0


def on_stderr(notice: str) -> None:
    """Complain of a hook in a line for people."""
    with suppress(OSError):
        sys.stderr.write(f"capillary-export: {notice}. The night is not affected.\n")


def run_and_tell(
    config: Config,
    path: Path,
    options: Options,
    screen: Screen,
    exit_code: Any,
    complain: Callable[[str], None] = on_stderr,
) -> tuple[Result, list[str]]:
    """Tonight's export, and its hooks. `path` is the config's, `exit_code` gives a result's.

    Gives the result and what went wrong with the hooks, in words; `complain` hears it, too. Raises what
    `run_night` raises, after telling it.
    """
    try:
        result = run_night(config, options, screen)
    except BaseException as exc:
        if config.notify:
            _tell_quietly(config, partial(_event_of_error, config, path, options, exc), complain)
        raise
    return result, _tell_quietly(config, lambda: event_of_result(result, path, exit_code(result)), complain)


def tell_published(config: Config, path: Path, manifest: Manifest, reason: str | None) -> list[str]:
    """Tell that a person has published a night. Gives what went wrong with the hooks."""
    folder = open_snapshots(config).where(manifest.snapshot)
    return _tell_quietly(config, lambda: event_of_publish(manifest, folder, path, reason), on_stderr)


def try_hooks(config: Config, path: Path, on: EventName | None) -> list[Told]:
    """Send a made-up event to each hook: `on`, to those that want it, else the first that each one wants."""
    environ = dict(os.environ)
    found = []
    for number, hook in enumerate(config.notify):
        event = on or hook.on[0]
        if event in hook.on:
            found += tell({number: hook}, trial_event(event, path), _trial_page(hook.email), environ)
    return found


def _trial_page(email: object) -> bytes | None:
    return b"<!doctype html><title>Test</title><p>The morning page is attached here.</p>" if email else None


def _tell_quietly(config: Config, make: Any, complain: Callable[[str], None]) -> list[str]:
    """Notices of hooks that failed, each complained of. Whatever goes wrong here stays here."""
    notices: list[str] = []
    try:
        event = make() if config.notify else None
        if event is not None:
            notices = [one.notice for one in _tell(config, event) if one.notice]
    except (ExportError, KeyboardInterrupt):  # a signal: the night has ended, so its end counts
        notices.append("notify: stopped by a signal before everybody was told")
    except Exception as exc:
        notices.append(f"notify: nobody was told, because of a bug ({type(exc).__name__}); please report it")
    for one in notices:
        complain(one)
    return notices


def _tell(config: Config, event: Event) -> Sequence[Told]:
    wanted = {number: hook for number, hook in enumerate(config.notify) if event.kinds & set(hook.on)}
    attach = any(hook.email and hook.email.attach_page for hook in wanted.values())
    page = _page(config, event) if attach and event.page else None
    return tell(wanted, event, page, dict(os.environ))


def _page(config: Config, event: Event) -> bytes | None:
    """The morning page; None where the store does not give it in time: the mail goes without."""
    if not event.snapshot:
        return within(PAGE_WITHIN_S, Path(event.page).read_bytes)
    return within(PAGE_WITHIN_S, lambda: open_snapshots(config).page(event.snapshot, PAGE))


def _event_of_error(config: Config, path: Path, options: Options, exc: BaseException) -> Event:
    night, progress, page = _how_far(config, options, exc)
    return event_of_error(exc, path, night, progress, page)


def _how_far(
    config: Config, options: Options, exc: BaseException
) -> tuple[date | None, Mapping[str, Any], str]:
    """Which night it was, what its last run counted, and its page; as far as that can be found out."""
    progress: Mapping[str, Any] = {}
    with suppress(Exception):
        folder = which_night(config, options, Workspace(config.work.path))
        if isinstance(exc, LockedError):
            return folder.night, progress, ""  # what lies there is the other run's
        with suppress(OSError, ValueError):
            progress = json.loads(folder.progress.read_bytes())
        page = folder.root / PAGE
        return folder.night, progress, str(page) if page.exists() else ""
    return None, progress, ""
