"""THE STORY of a night, in order: list, plan, fetch, build, check, publish. The only room that knows all steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import SecretStr

from pipeline import checks, publish
from pipeline.blocks import TABLES, accounts, embeds_for
from pipeline.config import Config
from pipeline.errors import ExportError, HeldError, StoppedError, StorageError, UsageError
from pipeline.fetch import FetchJob, fetch
from pipeline.ids import IdReader
from pipeline.night.listing import Ints, askable, csv_spec, list_ids, listed_ids, questions
from pipeline.night.tables import Building, Built, Previous, build_tables, drift_of, last_seen, wanted_tables
from pipeline.normalize.chunk import normalize_chunk
from pipeline.normalize.scribe import Job, start
from pipeline.plan import Plan, goes_on_until, in_order, make_plan, night_of, window_end
from pipeline.report import write_report
from pipeline.stats import Tally
from pipeline.store import journal
from pipeline.store.atomic import make_folder, storage_errors, sync_folder, write_quickly
from pipeline.store.ledger import Ledger, call_times_since, chunks_without_parts, read_ledger
from pipeline.store.snapshots import Manifest, ManifestCheck, Snapshots
from pipeline.store.workspace import NightFolder, NightState, Workspace

PROGRESS_EVERY_S = 2.0
UNFINISHED = ("started", "fetching", "stopped")


class Screen:
    """What a night tells while it runs; this one keeps quiet. The command line has one that draws."""

    def step(self, text: str) -> None:
        """A step begins."""

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """The fetch runs; gives what to call now and then."""
        yield lambda: None


@dataclass(frozen=True)
class Options:
    """What the command line adds to the config."""

    night: date | None = None
    limit: int | None = None
    until: time | None = None
    no_publish: bool = False
    unpublished: Mapping[str, str] = field(
        default_factory=lambda: {"state": "held", "reason": "--no-publish"}
    )
    only: frozenset[str] | None = None  # rebuild just these tables, and take the others as they are
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass
class Result:
    """How the night ended. `manifest` is the snapshot made, `live` whether readers see it."""

    night: date
    manifest: Manifest | None = None
    folder: Path | None = None
    live: bool = False
    unchanged: bool = False
    stopped: StoppedError | None = None
    held: HeldError | None = None
    plan: Plan | None = None


@dataclass
class Night:
    """A night under way: its folders, its state, what it was told."""

    config: Config
    options: Options
    screen: Screen
    workspace: Workspace
    folder: NightFolder
    state: NightState
    lock: int
    stopped: StoppedError | None = field(default=None)

    @property
    def zone(self) -> ZoneInfo | None:
        """The window's zone; None for the machine's."""
        name = self.config.window.timezone
        return ZoneInfo(name) if name else None

    @property
    def snapshots(self) -> Snapshots:
        """The export folder."""
        return Snapshots(Path(self.config.output.url))

    def save(self, **changes: Any) -> None:
        """Note how far the night is."""
        updated = self.options.now().isoformat(timespec="seconds")
        self.state = self.state.model_copy(update={**changes, "updated_at": updated})
        self.folder.save(self.state)


def run_night(config: Config, options: Options, screen: Screen) -> Result:
    """Tonight's export: starts it, or goes on where it stopped.

    Raises the errors of `errors.py`; a stop that still published, and a hold, are told in the result.
    """
    secret = config.secret()
    make_folder(Path(config.output.url))
    _check_writable(Path(config.output.url))
    workspace = Workspace(config.work.path)
    with workspace.lock() as lock:
        night = _open_night(config, options, screen, workspace, lock)
        try:
            return _go_on(night, secret)
        except (ExportError, KeyboardInterrupt) as exc:
            _note_the_end(night, exc)
            raise


def _go_on(night: Night, secret: SecretStr) -> Result:
    """The steps of the night, in order."""
    _normalize_what_is_left(night)
    night.screen.step(f"night {night.folder.night}: reading the IDs")
    _list(night)
    ledger = read_ledger(night.folder.parts)
    due, plan = _plan(night, ledger)
    again = _second_looks(night, ledger, plan)
    if not len(again) and _nothing_to_do(night, ledger, plan):
        return Result(night.folder.night, unchanged=True, live=_is_live(night), plan=plan)
    _fetch(night, Asked(due, again, plan), secret)
    return _build_and_publish(night, plan)


def _note_the_end(night: Night, exc: BaseException) -> None:
    """`status` tells why a night stopped; where even that cannot be written, the error itself is told."""
    reason = exc.message if isinstance(exc, ExportError) else "Stopped by a signal."
    with suppress(StorageError):
        night.save(state="stopped", reason=reason)


def _check_writable(root: Path) -> None:
    probe = root / f".probe-{os.getpid()}"
    with storage_errors("write to the output folder", root):
        probe.write_bytes(b"")
        probe.unlink()


# Opening


def _open_night(config: Config, options: Options, screen: Screen, workspace: Workspace, lock: int) -> Night:
    """The night that is not finished while its window is open, else a new one; its journal whole."""
    folder = _which_night(config, options, workspace)
    state = folder.make().state()
    if state is None:
        state = NightState(night=folder.night, started_at=options.now().isoformat(timespec="seconds"))
    night = Night(config, options, screen, workspace, folder, state, lock)
    night.save()
    journal.recover(folder.journal)
    _take_along_dead_nights(night)
    return night


def _which_night(config: Config, options: Options, workspace: Workspace) -> NightFolder:
    zone = ZoneInfo(config.window.timezone) if config.window.timezone else None
    if options.night is not None:
        return workspace.night(options.night)
    now = options.now()
    for folder in reversed(workspace.nights()):
        state = folder.state()
        if state is not None and state.state in UNFINISHED:
            began = datetime.fromisoformat(state.started_at)
            if began <= now < goes_on_until(began, config.window.until, zone):
                return folder
        break
    return workspace.night(night_of(now, zone))


def _take_along_dead_nights(night: Night) -> None:
    """Chunks of nights that died unpublished become this night's; a death in between is gone on with.

    A held night stays where it is: what is wrong with it may be in its answers.
    """
    for other in night.workspace.nights():
        state = other.state()
        if other.night >= night.folder.night or state is None or state.state not in UNFINISHED:
            continue
        journal.recover(other.journal)
        if _is_published(other, state):
            continue
        for path in journal.sealed_chunks(other.journal):
            target = journal.chunk_path(night.folder.journal, _next_chunk(night), sealed=True)
            with storage_errors("take along", path):
                path.rename(target)
                sync_folder(target.parent)
        other.save(
            state.model_copy(update={"state": "taken along", "reason": f"by the night {night.folder.night}"})
        )


def _is_published(folder: NightFolder, state: NightState) -> bool:
    """Whether everything that a night journalled is in a snapshot already."""
    if state.published_records < 0 or chunks_without_parts(folder.journal, folder.parts):
        return False
    return read_ledger(folder.parts).records == state.published_records


def _next_chunk(night: Night) -> int:
    chunks = journal.sealed_chunks(night.folder.journal)
    return journal.chunk_number(chunks[-1]) + 1 if chunks else 0


def _normalize_what_is_left(night: Night) -> None:
    """Parts of chunks that a death left without."""
    missing = chunks_without_parts(night.folder.journal, night.folder.parts)
    if missing:
        night.screen.step(f"normalizing {len(missing)} journal chunks from before")
        normalizer = _job(night).normalizer()
        for path in missing:
            normalize_chunk(path, night.folder.parts, normalizer)


def _job(night: Night) -> Job:
    output = night.config.output
    return Job(
        night=night.folder.night,
        journal=night.folder.journal,
        parts=night.folder.parts,
        first_chunk=_next_chunk(night),
        tables=[table.name for table in TABLES],
        zone=night.config.api.cluster_timezone,
        keep_offsets=output.keep_offsets,
    )


# Listing and planning


def _list(night: Night) -> None:
    ledger = read_ledger(night.folder.parts)
    known = night.state.ids if night.state.listed else None
    counts = list_ids(night.config.ids, night.folder, ledger.customer_ids, known)
    night.save(ids=counts, listed=True)


def _plan(night: Night, ledger: Ledger) -> tuple[Ints, Plan]:
    """Who is due, in the order to ask, and how far the window reaches."""
    listed = listed_ids(night.folder)
    due = askable(listed[~np.isin(listed, _done(night, ledger))], night.folder)
    plan = _make_plan(night, len(listed), len(due))
    seen = last_seen(_previous(night)) if plan.asked < len(due) else None
    return (due if seen is None else in_order(due, plan, seen)), plan


def _make_plan(night: Night, ids: int, due: int) -> Plan:
    return make_plan(
        ids=ids,
        due=due,
        limit=night.options.limit,
        limits=night.config.quota.limits,
        now=night.options.now(),
        window_ends=_window_ends(night),
        spent=_spent(night),
    )


def _done(night: Night, ledger: Ledger) -> Ints:
    """Who needs no call: answered tonight, or by a night that died, not too long ago."""
    fresh_after = night.options.now() - timedelta(seconds=night.config.retry.fresh_for)
    began = datetime.fromisoformat(night.state.started_at)
    return ledger.done(int(min(began, fresh_after).timestamp() * 1e6))


def _window_ends(night: Night) -> datetime | None:
    until = night.options.until or night.config.window.until
    return window_end(datetime.fromisoformat(night.state.started_at), until, night.zone)


def _nothing_to_do(night: Night, ledger: Ledger, plan: Plan) -> bool:
    """Nobody to ask, and a snapshot of this night in this export has everything that the journal has.

    A snapshot that was rolled back stays so: only `publish` makes it live again.
    """
    if plan.asked or night.state.published_records != ledger.records:
        return False
    name, snapshots = night.state.snapshot, night.snapshots
    if not name or not snapshots.is_complete(name):
        return False
    data_tables = {table.name for table in TABLES} & set(snapshots.manifest(name).tables)
    return data_tables == {table.name for table in wanted_tables(night.config.output)}


def _is_live(night: Night) -> bool:
    live = night.snapshots.current()
    return live is not None and live.snapshot == night.state.snapshot


def _previous(night: Night) -> Previous:
    """The snapshot to build on: the live one, or, when this night made it, the one that it was built on.

    Where retention has removed that one, the live one serves: tonight's rows are replaced in it all the same.
    """
    snapshots = night.snapshots
    live = snapshots.current()
    name = live.snapshot if live else None
    while name is not None:
        manifest = snapshots.manifest(name)
        is_gone = manifest.previous is not None and not snapshots.is_complete(manifest.previous)
        if manifest.night != night.folder.night or is_gone:
            return Previous(manifest, snapshots.folder(name))
        name = manifest.previous
    return Previous(None, snapshots.root)


def _second_looks(night: Night, ledger: Ledger, plan: Plan) -> Ints:
    """Partial answers that an earlier start had no time to ask for once more; `--limit` counts them too."""
    again = askable(ledger.partial_once(), night.folder)
    if plan.window_ends is not None and night.options.now() >= plan.window_ends:
        return again[:0]
    limit = night.options.limit
    return again if limit is None else again[: max(0, limit - plan.asked)]


# Fetching


@dataclass(frozen=True)
class Asked:
    """Who is asked in this run, in which order, and who once more."""

    due: Ints
    again: Ints
    plan: Plan


def _fetch(night: Night, asked: Asked, secret: SecretStr) -> None:
    """Ask, journal, normalize. A stop is noted; whether it is published is decided by its kind."""
    tally = Tally(planned=asked.plan.asked + len(asked.again))
    if not tally.planned:
        return
    night.save(state="fetching", reason="")
    process, sock = start(_job(night), night.lock)
    try:
        with night.screen.fetching(tally, asked.plan) as draw:
            progress = Progress(night.folder, tally, draw)
            fetch(_fetch_job(night, asked, secret, sock, progress), questions(asked.due, night.folder))
    except StoppedError as exc:
        night.stopped = exc
        night.save(state="stopped", reason=exc.message)
        if not exc.publish or not tally.done:
            raise
    finally:
        sock.close()
        process.wait()


def _fetch_job(night: Night, asked: Asked, secret: SecretStr, sock: socket, progress: Progress) -> FetchJob:
    return FetchJob(
        config=night.config,
        secret=secret,
        embed=embed_of(night.config),
        sock=sock,
        tally=progress.tally,
        stop_in_s=_seconds_left(night, asked.plan),
        on_tick=progress.tick,
        spent=_spent(night),
        second_looks=list(questions(asked.again, night.folder)),
    )


def _spent(night: Night) -> list[float]:
    """Ages in seconds of the calls that count against the quota still: tonight's earlier starts', last night's."""
    longest = max((limit.per_s for limit in night.config.quota.limits), default=0.0)
    now = night.options.now().timestamp()
    since = int((now - longest - 1.0) * 1e6)
    times = [call_times_since(folder.parts, since) for folder in night.workspace.nights()]
    ages: list[float] = (now - np.sort(np.concatenate([np.empty(0, np.int64), *times])) / 1e6).tolist()
    return ages


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

    folder: NightFolder
    tally: Tally
    draw: Callable[[], None]
    written_at: float = float("-inf")

    def tick(self) -> None:
        """Called twice a second."""
        self.draw()
        if monotonic() - self.written_at >= PROGRESS_EVERY_S:
            self.written_at = monotonic()
            write_quickly(self.folder.progress, self.tally.to_json())


# Publishing


def _build_and_publish(night: Night, plan: Plan) -> Result:
    """Tables, checks, manifest, pointer, page: in this order."""
    night.screen.step("building the snapshot")
    snapshots, previous, now = night.snapshots, _previous(night), night.options.now()
    ledger = read_ledger(night.folder.parts)
    name = publish.free_name(snapshots, now)
    folder = snapshots.begin(name)
    plans = Building(night.config.output, night.options.only, _as_it_is(night))
    built = build_tables(plans, night.folder, ledger, listed_ids(night.folder), previous, folder)
    manifest = publish.make_manifest(
        name=name,
        night=night.folder.night,
        now=now,
        previous=previous.manifest.snapshot if previous.manifest else None,
        ids=night.state.ids.model_dump(),
        outcomes=built.outcomes,
        calls={"made": ledger.calls, "repeated": ledger.repeated, "throttled": ledger.throttled},
        tables=built.tables,
        checks=_checks(night, built, ledger),
        config_sha256=night.config.sha256(),
    )
    snapshots.commit(manifest)
    return _swing(night, manifest, ledger, plan)


def _as_it_is(night: Night) -> Previous:
    """This night's snapshot so far, for the tables that a rebuild leaves alone."""
    name, snapshots = night.state.snapshot, night.snapshots
    if not name or not snapshots.is_complete(name):
        return Previous(None, snapshots.root)
    return Previous(snapshots.manifest(name), snapshots.folder(name))


def _checks(night: Night, built: Built, ledger: Ledger) -> list[ManifestCheck]:
    ids = night.state.ids.model_dump()
    found = [
        checks.reading_balances(ids),
        checks.account_balances(
            ids["distinct"], built.outcomes, built.merged[accounts.OUTCOMES.name].tonight
        ),
        checks.answers_are_rows(built.outcomes, built.merged["customers"].tonight + built.shadowed),
        checks.no_newer_night(_live_night(night), night.folder.night),
    ]
    sums = (
        checks.rows_add_up(name, one.tonight, one.kept, one.table.rows) for name, one in built.merged.items()
    )
    drift = (
        checks.no_drift(table, *drift_of(table, night.folder, ledger))
        for table, policy in night.config.output.drift.items()
        if policy == "fail"
    )
    return [*found, *sums, *drift]


def _live_night(night: Night) -> date | None:
    live = night.snapshots.current()
    is_there = live is not None and night.snapshots.is_complete(live.snapshot)
    return night.snapshots.manifest(live.snapshot).night if live is not None and is_there else None


def _swing(night: Night, manifest: Manifest, ledger: Ledger, plan: Plan) -> Result:
    """The commit point, and what follows it: the page, the retention."""
    snapshots, folder = night.snapshots, night.snapshots.folder(manifest.snapshot)
    result = Result(night.folder.night, manifest, folder, stopped=night.stopped, plan=plan)
    if night.options.no_publish:
        night.save(snapshot=manifest.snapshot, **night.options.unpublished)
    else:
        try:
            publish.swing(snapshots, manifest, night.options.now())
        except HeldError as exc:
            result.held = exc
            night.save(state="held", reason=exc.message, snapshot=manifest.snapshot)
        else:
            result.live = True
            night.save(state="published", snapshot=manifest.snapshot, published_records=ledger.records)
    reason = result.held.message if result.held else (night.options.no_publish and "Not published.") or ""
    write_report(manifest, folder / "report.html", published=result.live, reason=reason)
    if result.live:
        snapshots.forget(night.config.output.keep_snapshots)
        night.workspace.forget_nights(night.config.work.keep_nights)
    return result


# The other commands


def plan_night(config: Config, options: Options) -> Plan:
    """What tonight can cover. Reads the CSVs and the workspace, calls nothing, changes nothing."""
    folder = _which_night(config, options, Workspace(config.work.path))
    state = folder.state() or NightState(night=folder.night, started_at=options.now().isoformat())
    night = Night(config, options, Screen(), Workspace(config.work.path), folder, state, lock=-1)
    reader = IdReader(csv_spec(config.ids))
    listed = np.concatenate([np.empty(0, np.int64), *(np.array(batch.ids) for batch in reader.batches())])
    due = listed[~np.isin(listed, _done(night, read_ledger(folder.parts)))]
    return _make_plan(night, len(listed), len(due))


def publish_night(config: Config, night: date, reason: str | None, now: datetime) -> Manifest:
    """Swing the pointer to a night's held snapshot. Raises UsageError, HeldError."""
    workspace = Workspace(config.work.path)
    with workspace.lock():
        folder = workspace.night(night)
        state = folder.state()
        if state is None or not state.snapshot:
            raise UsageError(f"The night {night} has no snapshot to publish.", "`status` lists the nights.")
        snapshots = Snapshots(Path(config.output.url))
        manifest = snapshots.manifest(state.snapshot)
        publish.swing(snapshots, manifest, now, reason)
        records = read_ledger(folder.parts).records
        folder.save(
            state.model_copy(
                update={"state": "published", "published_records": records, "reason": reason or ""}
            )
        )
        return manifest


def rebuild_night(config: Config, options: Options, screen: Screen) -> Result:
    """Tables again from the journal, no API call. Raises UsageError.

    They become live where this night's are; those of another night wait for `publish`.
    """
    assert options.night is not None
    workspace = Workspace(config.work.path)
    with workspace.lock() as lock:
        folder = workspace.night(options.night)
        state = folder.state()
        if state is None or not state.listed:
            raise UsageError(f"There is no journal of the night {options.night} in {config.work.path}.")
        night = Night(config, options, screen, workspace, folder, state, lock)
        if not _is_live(night):
            night.options = replace(options, no_publish=True, unpublished={})
        journal.recover(folder.journal)
        _forget_parts(folder)
        _normalize_what_is_left(night)
        ledger = read_ledger(folder.parts)
        _, plan = _plan(night, ledger)
        return _build_and_publish(night, plan)


def _forget_parts(folder: NightFolder) -> None:
    """The list of calls goes first: parts count as complete only where it is."""
    for path in [*folder.parts.glob("_calls/*.parquet"), *folder.parts.glob("*/*.parquet")]:
        path.unlink(missing_ok=True)
