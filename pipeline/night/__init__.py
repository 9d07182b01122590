"""THE STORY of a night, in order: list, plan, fetch, build, check, publish. The only room that knows all steps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime

import numpy as np
from pydantic import SecretStr

from pipeline import formats, publish
from pipeline.config import Config
from pipeline.errors import ExportError, HelperError, StoppedError, StorageError, UsageError
from pipeline.ids import IdReader
from pipeline.night.checking import keep_as_good
from pipeline.night.known import knowledge_for
from pipeline.night.lakehouse import bring_formats, catch_up
from pipeline.night.listing import check_list, csv_spec
from pipeline.night.opening import mend, normalize_what_is_left, open_night, which_night
from pipeline.night.page import NightPage, try_page
from pipeline.night.planning import done, forecast, list_tonight, plan_tonight, second_looks
from pipeline.night.publishing import build_and_publish, find_out, is_live, nothing_to_do
from pipeline.night.tonight import Night, Options, Result, Screen
from pipeline.plan import Learned, Plan
from pipeline.store import journal
from pipeline.store.idsets import without
from pipeline.store.ledger import CALLS, read_ledger
from pipeline.store.parts import part_paths
from pipeline.store.snapshots import Manifest, open_snapshots
from pipeline.store.workspace import NightFolder, NightState, Workspace

__all__ = [
    "NightPage",
    "Options",
    "Result",
    "Screen",
    "plan_night",
    "publish_night",
    "rebuild_night",
    "run_night",
]


def run_night(config: Config, options: Options, screen: Screen) -> Result:
    """Tonight's export: starts it, or goes on where it stopped.

    Raises the errors of `errors.py`; a stop that still published, and a hold, are told in the result.
    """
    secret = config.secret()
    formats.require(config)
    open_snapshots(config).check()
    workspace = Workspace(config.work.path)
    with workspace.lock() as lock:
        night = open_night(config, options, screen, workspace, lock)
        try:
            return _go_on(night, secret)
        except (ExportError, KeyboardInterrupt) as exc:
            _note_the_end(night, exc)
            raise


def _go_on(night: Night, secret: SecretStr) -> Result:
    """The steps of the night, in order."""
    from pipeline.night.asking import Asked, fetch_tonight  # aiohttp: 12 MB that a rebuild does without

    find_out(night)
    catch_up(night)
    normalize_what_is_left(night)
    night.begins("reading", f"night {night.folder.night}: reading the IDs")
    ledger = list_tonight(night)
    while True:
        night.begins("planning")
        due, plan = plan_tonight(night, ledger)
        night.tell("plan.made", **_foreseen(plan))
        again = second_looks(night, ledger, plan)
        if not len(again) and nothing_to_do(night, ledger, plan):
            night.tell("night.unchanged", due=plan.due)
            result = Result(night.folder.night, unchanged=True, live=is_live(night), plan=plan)
            bring_formats(night, result)
            return result
        try:
            fetch_tonight(night, Asked(due, again, plan), secret)
            return build_and_publish(night, plan)
        except HelperError as exc:
            mend(night, exc)
            ledger = read_ledger(night.folder.parts)


def _foreseen(plan: Plan) -> dict[str, object]:
    about: dict[str, object] = {"ids": plan.ids, "done": plan.done, "due": plan.due, "asked": plan.asked}
    about |= {"deferred": plan.deferred, "calls": plan.calls_needed, "ends_at": plan.ends_at}
    return {**about, "window_ends": plan.window_ends, "disk_bytes": plan.disk_bytes}


def _note_the_end(night: Night, exc: BaseException) -> None:
    """`status` and the page tell why a night stopped; where even that cannot be written, the error itself is told."""
    if isinstance(exc, StoppedError):
        night.tell("night.stopped", reason=exc.message)
    reason = exc.message if isinstance(exc, ExportError) else "Stopped by a signal."
    with suppress(StorageError):
        night.save(state="stopped", reason=reason)
    try_page(night.config, night.folder.night, night.options.now())


# The other commands


def plan_night(config: Config, options: Options, learned: Learned | None = None) -> Plan:
    """What tonight can cover. Reads the CSVs and the workspace, calls nothing, changes nothing.

    `learned` stands in for what the last nights took. Raises UsageError for a list with which no night begins.
    """
    folder = which_night(config, options, Workspace(config.work.path))
    state = folder.state() or NightState(night=folder.night, started_at=options.now().isoformat())
    night = Night(config, options, Screen(), Workspace(config.work.path), folder, state, lock=-1)
    reader = IdReader(csv_spec(config.ids))
    answered = done(night, read_ledger(folder.parts))
    listed = due = 0
    for batch in reader.batches():
        listed += len(batch.ids)
        due += len(without(np.array(batch.ids, np.int64), answered))
    check_list(reader, config.ids)
    return forecast(night, listed, due, len(knowledge_for(night)), learned)


def publish_night(config: Config, night: date, reason: str | None, now: datetime) -> Manifest:
    """Swing the pointer to a night's held snapshot. Raises UsageError, HeldError."""
    formats.require(config)
    workspace = Workspace(config.work.path)
    with workspace.lock():
        folder = workspace.night(night)
        state = folder.state()
        if state is None or not state.snapshot:
            raise UsageError(f"The night {night} has no snapshot to publish.", "`status` lists the nights.")
        snapshots = open_snapshots(config)
        manifest = snapshots.manifest(state.snapshot)
        records = read_ledger(folder.parts).records
        swinging = {"swinging_to": manifest.snapshot, "swinging_records": records}
        folder.save(state.model_copy(update=swinging))
        publish.swing(snapshots, manifest, now, reason)
        done = {"state": "published", "published_records": records, "reason": reason or ""}
        keep_as_good(config, folder, manifest.snapshot, reason or "")
        folder.save(state.model_copy(update=done))
        try_page(config, night, now)
        return manifest


def rebuild_night(config: Config, options: Options, screen: Screen) -> Result:
    """Tables again from the journal, no API call. Raises UsageError.

    They become live where this night's are; those of another night wait for `publish`.
    """
    assert options.night is not None
    formats.require(config)
    workspace = Workspace(config.work.path)
    with workspace.lock() as lock:
        folder = workspace.night(options.night)
        state = folder.state()
        if state is None or not state.listed:
            raise UsageError(
                f"There is no journal of the night {options.night} in {config.work.path}.",
                "`status` lists the nights.",
            )
        night = Night(config, options, screen, workspace, folder, state, lock)
        if not is_live(night):
            night.options = replace(options, no_publish=True, unpublished={})
        journal.recover(folder.journal)
        _forget_parts(folder)
        normalize_what_is_left(night)
        ledger = read_ledger(folder.parts)
        _, plan = plan_tonight(night, ledger)
        return build_and_publish(night, plan, ledger)


def _forget_parts(folder: NightFolder) -> None:
    """The list of calls goes first: parts count as complete only where it is."""
    for path in [*part_paths(folder.parts, CALLS), *part_paths(folder.parts)]:
        path.unlink(missing_ok=True)
