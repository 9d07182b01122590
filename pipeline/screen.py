"""What people see while a night runs: a progress bar on a terminal, a quiet line a minute in cron. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.night import Screen
from pipeline.outcome import VERDICTS
from pipeline.plan import Plan
from pipeline.stats import Tally

LINE_EVERY_S = 60.0


def screen_for(*, quiet: bool = False) -> Screen:
    """The bar where stderr is a terminal, else lines."""
    if quiet:
        return Screen()
    return TerminalScreen() if sys.stderr.isatty() else LineScreen()


def counted(tally: Tally) -> str:
    """The outcomes so far, in words."""
    found = [f"{tally.outcomes[one]:,} {one.word}" for one in VERDICTS if tally.outcomes[one]]
    return ", ".join(found) or "nothing yet"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


class TerminalScreen(Screen):
    """A bar: done of total, rate, time left, outcomes."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def step(self, text: str) -> None:
        """A line of its own."""
        self._console.print(f"[dim]{text}[/dim]", highlight=False)

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """The bar, as long as the fetch runs."""
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} calls/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task("fetch", total=tally.planned, rate=0.0, words="")

            def draw() -> None:
                progress.update(bar, completed=tally.done, rate=tally.rate(), words=counted(tally))

            yield draw
            draw()


class LineScreen(Screen):
    """A line per step, and one a minute while fetching."""

    def step(self, text: str) -> None:
        """A line with the time."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """A line at the start, one a minute, one at the end."""
        self.step(f"fetching {plan.asked:,} of {plan.due:,} due IDs, about {_duration(plan.seconds_needed)}")
        last = time.monotonic()

        def draw() -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                self.step(
                    f"{tally.done:,} of {tally.planned:,} done, {tally.rate():.0f} calls/s: {counted(tally)}"
                )

        yield draw
        self.step(f"fetched {tally.done:,} of {tally.planned:,}: {counted(tally)}")
