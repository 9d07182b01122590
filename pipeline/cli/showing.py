"""What goes to stdout: a table for people, or one JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pipeline.errors import StorageError

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from pipeline.plan import Plan


def plan_text(plan: Plan, timezone: str | None) -> Any:
    """What tonight can cover, for people, by the clocks that the window goes by."""
    pace = (
        "no limit"
        if plan.calls_per_s == float("inf")
        else f"{plan.calls_per_s * 60:,.0f} a minute on average"
    )
    rows = [
        ("IDs", f"{plan.ids:,}: {plan.done:,} done, {plan.due:,} due"),
        ("asked tonight", f"{plan.asked:,}, and {plan.deferred:,} left for another night"),
        ("calls", f"{plan.calls_needed:,} ({plan.calls_per_id:.3f} an ID), {pace}"),
        ("ends", f"{clock(plan.ends_at, timezone)}, after {span(plan.seconds_needed)}"),
        (
            "window",
            "none"
            if plan.window_ends is None
            else f"until {clock(plan.window_ends, timezone)}: room for {plan.fits:,} IDs",
        ),
        ("disk", f"about {plan.disk_bytes / 1e9:.2f} GB, last night's snapshot not counted"),
        ("memory", f"about {plan.memory_bytes / 1e6:,.0f} MB at the peak"),
    ]
    return as_grid(("", f"tonight ({timezone})" if timezone else "tonight"), rows)


def clock(moment: datetime, timezone: str | None) -> str:
    """By the clocks of that zone; the machine's without one."""
    zone = ZoneInfo(timezone) if timezone else None
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def span(seconds: float) -> str:
    """So long, in the unit that people would use."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} seconds"


def show(found: dict[str, Any], text: Any, as_json: bool) -> None:
    """The result on stdout: JSON for machines, else a text or several."""
    if as_json:
        with while_read():
            sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        for one in text if isinstance(text, list) else [text]:
            print_out(one)


def print_out(what: Any) -> None:
    """Print without wrapping, markup or highlighting: whole lines, also in a pipe."""
    from rich.console import Console

    rendered, is_terminal = StringIO(), sys.stdout.isatty()
    console = Console(file=rendered, force_terminal=is_terminal or None, width=None if is_terminal else 1000)
    console.print(what, highlight=False, markup=False, soft_wrap=True)
    with while_read():
        sys.stdout.write(rendered.getvalue())


@contextmanager
def while_read() -> Iterator[None]:
    """Whoever reads stdout may stop early, as `head` does: the rest goes nowhere, and the command ends as it would.

    Raises StorageError where stdout is a file that takes no more.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            raise StorageError(
                f"Cannot write to standard output: {exc.strerror}.",
                "What the command did is done; `status` shows how the night stands.",
            ) from exc


def as_grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    """A table without lines; numbers stand to the right."""
    from rich.table import Table as Grid

    grid = Grid(box=None, pad_edge=False)
    for head in heads:
        grid.add_column(head, justify="right" if head in ("rows", "IDs", "files", "MB") else "left")
    for row in rows:
        grid.add_row(*row)
    return grid


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="seconds")
    return (
        "unlimited" if value == float("inf") else value if isinstance(value, int | str) else _rounded(value)
    )


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
