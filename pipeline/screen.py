"""What people see while a night runs: how far it is, on a terminal; a quiet line a minute in cron. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from pipeline.errors import ExportError
from pipeline.events import EVENTS
from pipeline.log import Log
from pipeline.night import Screen
from pipeline.outcome import VERDICTS
from pipeline.plan import Plan
from pipeline.stats import Tally
from pipeline.status import duration_text, standing_rows

if TYPE_CHECKING:  # rich is loaded where something is drawn: nights by cron draw nothing
    from rich.console import Console, RenderableType

LINE_EVERY_S = 60.0


class Screens(Screen):
    """Several at once. One that fails is left out from then on: whoever watches a night never ends it."""

    def __init__(self, screens: Sequence[Screen], log: Log) -> None:
        self._screens = list(screens)
        self._log = log

    def add(self, screen: Screen) -> None:
        """One more, from now on."""
        self._screens.append(screen)

    def step(self, text: str) -> None:
        """Each is told."""
        for screen in list(self._screens):
            with self._guarding(screen):
                screen.step(text)

    def event(self, name: str, /, **fields: object) -> None:
        """Each is told."""
        for screen in list(self._screens):
            with self._guarding(screen):
                screen.event(name, **fields)

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """Each draws."""
        with ExitStack() as stack:
            drawing = [
                (screen, stack.enter_context(self._drawing(screen, tally, plan)))
                for screen in list(self._screens)
            ]

            def draw() -> None:
                for screen, draw_one in drawing:
                    if screen in self._screens:
                        with self._guarding(screen):
                            draw_one()

            yield draw

    @contextmanager
    def _drawing(self, screen: Screen, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """One screen's, whatever becomes of it."""
        context = screen.fetching(tally, plan)
        draws: list[Callable[[], None]] = []
        with self._guarding(screen):
            draws.append(context.__enter__())
        try:
            yield lambda: _draw_all(draws)
        finally:
            if draws:
                with self._guarding(screen):
                    context.__exit__(None, None, None)

    @contextmanager
    def _guarding(self, screen: Screen) -> Iterator[None]:
        try:
            yield
        except ExportError:  # a signal, which may come at any moment
            raise
        except Exception as exc:
            if screen in self._screens:
                self._screens.remove(screen)
            about = {"watcher": type(screen).__name__, "error": type(exc).__name__}
            self._log.event(EVENTS["watcher.failed"].level, "watcher.failed", **about)


def _noted(tally: Tally) -> dict[str, object]:
    """How far it is, for a log: without the process and the time, which a line has anyway."""
    return {name: value for name, value in tally.standing().items() if name not in ("pid", "at", "durable")}


def _draw_all(draws: Sequence[Callable[[], None]]) -> None:
    for draw in draws:
        draw()


class LogScreen(Screen):
    """Events as they come, and while fetching one a minute."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def event(self, name: str, /, **fields: object) -> None:
        """A line, where the log is told that much."""
        self._log.event(EVENTS[name].level, name, **fields)

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """How far it is, once a minute."""
        last = time.monotonic()

        def draw() -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                self.event("fetch.progress", **_noted(tally))

        yield draw


def screen_for(*, quiet: bool = False) -> Screen:
    """The bar where stderr is a terminal, else lines."""
    if quiet:
        return Screen()
    return TerminalScreen() if sys.stderr.isatty() else LineScreen()


def counted(tally: Tally) -> str:
    """The outcomes so far, in words."""
    found = [f"{tally.outcomes[one]:,} {one.word}" for one in VERDICTS if tally.outcomes[one]]
    return ", ".join(found) or "nothing yet"


def display(tally: Tally) -> RenderableType:
    """A bar, and below it the run's numbers."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for what, text in standing_rows(tally.standing()):
        grid.add_row(f"[dim]{what}[/dim]", text)
    whole = Table.grid(expand=True)
    whole.add_row(ProgressBar(total=max(1, tally.planned), completed=tally.done))
    whole.add_row(grid)
    return whole


class TerminalScreen(Screen):
    """The run's numbers, drawn anew twice a second."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)

    def step(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, style="dim", highlight=False, markup=False)

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """The display, as long as the fetch runs; then a line."""
        from rich.live import Live

        with Live(display(tally), console=self._console, auto_refresh=False, transient=True) as live:
            yield lambda: live.update(display(tally), refresh=True)
        self.step(_fetched(tally))


def _fetched(tally: Tally) -> str:
    return f"fetched {tally.done:,} of {tally.planned:,}: {counted(tally)}"


class LineScreen(Screen):
    """A line per step, and one a minute while fetching."""

    def step(self, text: str) -> None:
        """A line with the time."""
        with suppress(OSError, ValueError):  # a full disk, a closed pipe: the night goes on unseen
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            sys.stderr.flush()

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """A line at the start, one a minute, one at the end."""
        takes = duration_text(plan.seconds_needed)
        self.step(f"fetching {plan.asked:,} of {plan.due:,} due IDs, about {takes}")
        last = time.monotonic()

        def draw() -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                self.step(one_line(tally))

        yield draw
        self.step(_fetched(tally))


def one_line(tally: Tally) -> str:
    """How far it is, in a line."""
    rows = dict(standing_rows(tally.standing()))
    told = f"{rows['done']} done; {rows['pace']}; {tally.in_flight:,} in flight; ends {rows['ends']}"
    return f"{told}; {rows['outcomes']}"
