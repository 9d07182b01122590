"""How a night ended, in few words: what is told to people and machines. No customer data, no IDs, no secrets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config import EventName
from pipeline.errors import Exit, ExportError
from pipeline.night import Result
from pipeline.night.page import PAGE
from pipeline.store.snapshots import Manifest

REASON_CHARS = 700
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONG_NUMBER = re.compile(r"(?<![\w.,:/-])-?\d{6,}(?![\w:])")
"""What may be a customer's ID. Our own counts have commas, and names of nights and snapshots have dashes."""

_HEADLINES: Mapping[str, str] = {
    "published": "published",
    "held": "HELD: a check failed, the last snapshot stays live",
    "stopped": "STOPPED before its end",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class Event:
    """One end of a night. `kinds` has `event` and what else is true: a night that an outage stopped may be published.

    `counts` is the account of the IDs, by outcome; of this run so far where the night has no tables yet.
    """

    event: EventName
    kinds: frozenset[EventName]
    config: str  # the config's path, absolute
    night: str = ""  # YYYY-MM-DD; empty where none began
    reason: str = ""
    exit_code: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    snapshot: str = ""
    page: str = ""  # path or URL of the morning page
    next_command: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    is_test: bool = False

    @property
    def title(self) -> str:
        """One line: which config, which night, what happened."""
        night = f"night {self.night} " if self.night else ""
        trial = "[TEST] " if self.is_test else ""
        return f"{trial}{Path(self.config).stem}: {night}{_HEADLINES[self.event]}"

    def lines(self) -> list[str]:
        """What follows the title, a thing a line."""
        found = [self.reason] if self.reason else []
        if self.counts:
            found.append(f"IDs: {_listed(self.counts)}")
        if self.calls:
            found.append(f"Calls: {_listed(self.calls)}")
        if self.exit_code:
            found.append(f"Exit code: {self.exit_code}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        found = asdict(self) | {"kinds": sorted(self.kinds), "title": self.title, "version": __version__}
        return found | {"counts": dict(self.counts), "calls": dict(self.calls)}

    def environ(self) -> dict[str, str]:
        """The same for a command's environment, without the counts."""
        names = (
            "event",
            "night",
            "reason",
            "exit_code",
            "snapshot",
            "page",
            "next_command",
            "config",
            "title",
        )
        return {f"CAPILLARY_EXPORT_{name.upper()}": str(getattr(self, name)) for name in names}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def plain(text: str, most: int = REASON_CHARS) -> str:
    """One line without control characters, and without numbers that may be a customer's ID."""
    one_line = _LONG_NUMBER.sub("…", _CONTROL.sub(" ", text)).strip()
    return one_line if len(one_line) <= most else f"{one_line[: most - 1]}…"


def command_line(config: Path, *words: str) -> str:
    """A command of ours for this config, to be copied into a shell."""
    verb, *more = words
    return shlex.join(["capillary-export", verb, str(config.absolute()), *more])


# Of a night


_GRAVEST_FIRST: tuple[EventName, ...] = ("held", "failed", "stopped", "published")


def event_of_result(result: Result, config: Path, exit_code: int) -> Event | None:
    """What a night that came to its end has to tell; None where it had nothing to do, or was not to be published."""
    if result.manifest is None or not (result.live or result.held):
        return None
    kinds: set[EventName] = {"held"} if result.held else {"published"}
    if result.stopped and not result.stopped.as_planned:
        kinds.add("stopped")
    if exit_code == Exit.STORAGE:  # tables of output.format are behind
        kinds.add("failed")
    event = next(one for one in _GRAVEST_FIRST if one in kinds)
    said = [
        f"The snapshot is live, but its {result.tables.format} tables are not all there."
        if result.tables and "failed" in kinds
        else "",
        result.stopped.message if result.stopped else "",
        "What was fetched until then is published." if result.stopped and result.live else "",
        f"{result.held.message} {result.held.hint}" if result.held else "",
        result.tables.told() if result.tables and not result.tables.is_whole else "",
        f"But afterwards: {result.remark}" if result.remark else "",
    ]
    return Event(
        event=event,
        kinds=frozenset(kinds),
        config=str(config.absolute()),
        night=result.night.isoformat(),
        reason=plain(" ".join(filter(None, said))),
        exit_code=exit_code,
        page=f"{result.folder}/{PAGE}",
        next_command=_after(event, config, result.night),
        **_account(result.manifest),
    )


def _account(manifest: Manifest) -> dict[str, Any]:
    return {"counts": manifest.outcomes, "calls": manifest.calls, "snapshot": manifest.snapshot}


def _after(event: EventName, config: Path, night: date) -> str:
    if event == "held":
        return command_line(config, "publish", "--night", f"{night}", "--force", "--reason", "TEXT")
    return command_line(config, "status" if event == "published" else "run")


def event_of_publish(manifest: Manifest, folder: str, config: Path, reason: str | None) -> Event:
    """A person published a held night."""
    return Event(
        event="published",
        kinds=frozenset({"published"}),
        config=str(config.absolute()),
        night=manifest.night.isoformat(),
        reason=plain(f"Published by hand: {reason}" if reason else "Published by hand."),
        page=f"{folder}/{PAGE}",
        next_command=command_line(config, "status"),
        **_account(manifest),
    )


_NEXT = {
    Exit.BUG: ("run", "--debug"),
    Exit.USAGE: ("doctor",),
    Exit.STOPPED: ("run",),
    Exit.REFUSED: ("doctor",),
    Exit.LOCKED: ("status",),
    Exit.STORAGE: ("doctor",),
}


def event_of_error(
    exc: BaseException, config: Path, night: date | None, progress: Mapping[str, Any], page: str
) -> Event:
    """A night that an error ended. Of a bug only its kind is told: its text may hold anything."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    if isinstance(exc, KeyboardInterrupt):
        code, reason = Exit.STOPPED, "Stopped."
    elif isinstance(exc, ExportError):
        code, reason = exc.exit_code, f"{exc.message} {exc.hint}"
    else:
        code, reason = Exit.BUG, f"A bug: {type(exc).__name__}. Please report it."
    event: EventName = "held" if code == Exit.HELD else "stopped" if code == Exit.STOPPED else "failed"
    return Event(
        event=event,
        kinds=frozenset({event}),
        config=str(config.absolute()),
        night=night.isoformat() if night else "",
        reason=plain(reason),
        exit_code=int(code),
        counts=progress.get("outcomes", {}),
        calls={"made so far": progress["calls"]} if progress.get("calls") else {},
        page=page,
        next_command=command_line(config, *_NEXT.get(code, ("status",))),
    )


def trial_event(event: EventName, config: Path) -> Event:
    """A made-up event, to try the hooks with."""
    reasons: dict[EventName, str] = {
        "published": "This is a test: nothing was published.",
        "held": "This is a test: no night is held.",
        "stopped": "This is a test: no night has stopped.",
        "failed": "This is a test: nothing has failed.",
    }
    codes = {"published": Exit.OK, "held": Exit.HELD, "stopped": Exit.STOPPED, "failed": Exit.STORAGE}
    return Event(
        event=event,
        kinds=frozenset({event}),
        config=str(config.absolute()),
        night=datetime.now(UTC).date().isoformat(),
        reason=reasons[event],
        exit_code=int(codes[event]),
        counts={"exported": 1234, "failed": 5, "deferred": 67},
        calls={"made": 1300, "repeated": 61, "throttled": 2},
        next_command=command_line(config, "status"),
        is_test=True,
    )
