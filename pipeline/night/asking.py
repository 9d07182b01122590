"""The fetch, the second process beside it, and what a running night shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from shutil import disk_usage
from socket import socket
from time import monotonic

from pydantic import SecretStr

from pipeline.blocks import embeds_for
from pipeline.config import Config
from pipeline.errors import HelperError, StoppedError, StorageError
from pipeline.fetch import FetchJob, fetch
from pipeline.night.listing import Ints, questions
from pipeline.night.opening import job_of
from pipeline.night.planning import live_forecast, spent
from pipeline.night.tables import wanted_tables
from pipeline.night.tonight import Night
from pipeline.normalize.helper import start
from pipeline.plan import Plan
from pipeline.processes import peak_bytes
from pipeline.stats import Tally
from pipeline.store.atomic import write_quickly

PROGRESS_EVERY_S = 2.0
LOOK_AHEAD_EVERY_S = 10.0


@dataclass(frozen=True)
class Asked:
    """Who is asked in this run, in which order, and who once more."""

    due: Ints
    again: Ints
    plan: Plan


def fetch_tonight(night: Night, asked: Asked, secret: SecretStr) -> None:
    """Ask, journal, normalize. A stop is noted; whether it is published is decided by its kind.

    More may be asked than the plan has: it is a forecast, and the window's end is what counts.
    """
    plan, tally = asked.plan, _tally(night, asked)
    if not tally.planned:
        return
    night.save(state="fetching", reason="")
    night.tell("fetch.started", planned=tally.planned, due=asked.plan.due)
    night.begins("fetching")
    process, sock = start(job_of(night), night.lock)
    try:
        with night.screen.fetching(tally, plan) as draw:
            progress = Progress(night, process.pid, tally, draw, live_forecast(night, plan, tally))
            job = _fetch_job(night, asked, secret, sock, progress)
            with progress.noted_at_the_end():
                fetch(job, questions(asked.due, night.folder))
    except HelperError:
        night.unseen.append(
            (monotonic(), tally.calls - tally.durable)
        )  # they count against the quota all the same
        raise
    except StoppedError as exc:
        night.stopped = exc
        night.save(state="stopped", reason=exc.message)
        if not exc.publish or not tally.done:
            raise
        night.tell("night.stopped", reason=exc.message)
    finally:
        sock.close()
        process.wait()
        night.tell("fetch.ended", **tally.sums())


def _tally(night: Night, asked: Asked) -> Tally:
    """What is counted, with what the plan foresees."""
    plan, free = asked.plan, disk_usage(night.workspace.root).free
    return Tally(
        planned=plan.asked + len(asked.again),
        deferred=plan.deferred,
        ends_at=plan.ends_at,
        ids=plan.ids,
        done_before=plan.done,
        disk_free=free,
        disk_free_before=free,
    )


def _fetch_job(night: Night, asked: Asked, secret: SecretStr, sock: socket, progress: Progress) -> FetchJob:
    return FetchJob(
        config=night.config,
        secret=secret,
        embed=embed_of(night.config),
        sock=sock,
        tally=progress.tally,
        stop_in_s=_seconds_left(night, asked.plan),
        on_tick=progress.tick,
        tell=night.tell,
        spent=spent(night),
        second_looks=list(questions(asked.again, night.folder)),
    )


def embed_of(config: Config) -> list[str]:
    """What is asked for beside the blocks that always come: as configured, else what the wanted tables need."""
    if config.api.embed is not None:
        return config.api.embed
    return embeds_for([table.name for table in wanted_tables(config.output)])


def _seconds_left(night: Night, plan: Plan) -> float | None:
    return None if plan.window_ends is None else (plan.window_ends - night.options.now()).total_seconds()


@dataclass
class Progress:
    """What a running night shows: on its screen, and now and then in its folder, for a second shell."""

    night: Night
    helper: int  # the second process
    tally: Tally
    draw: Callable[[], None]
    look_ahead: Callable[[], Plan]
    written_at: float = float("-inf")
    looked_at: float = field(default_factory=monotonic)

    def tick(self) -> None:
        """Called twice a second."""
        now = monotonic()
        self.tally.sample()
        if now - self.looked_at >= LOOK_AHEAD_EVERY_S:
            self.looked_at = now
            self._plan_again()
        self.draw()
        if now - self.written_at >= PROGRESS_EVERY_S:
            self.written_at = now
            self.note()
            self._note_memory()

    @contextmanager
    def noted_at_the_end(self) -> Iterator[None]:
        """What a night has come to is noted, however its fetch ends."""
        try:
            yield
        finally:
            self._note_memory()
            with suppress(StorageError):
                self.note()

    def note(self) -> None:
        """For a second shell. Raises StorageError."""
        now, night = self.night.options.now(), self.night
        limits = night.config.quota.limits_at(now, night.zone)
        self.tally.allowed_per_s = min((limit.calls / limit.per_s for limit in limits), default=None)
        self.tally.disk_free = disk_usage(night.workspace.root).free
        write_quickly(night.folder.progress, self.tally.to_json())

    def _note_memory(self) -> None:
        """Their peaks so far, of both: what the merge takes comes later, and by then the second process has ended."""
        if helper_bytes := peak_bytes(self.helper):
            self.night.fetch_bytes = max(self.night.fetch_bytes, peak_bytes() + helper_bytes)

    def _plan_again(self) -> None:
        """How far the night gets, by what it has seen so far."""
        plan = self.look_ahead()
        self.tally.planned = max(self.tally.done, plan.asked)
        self.tally.deferred = plan.deferred
        self.tally.ends_at = plan.ends_at
