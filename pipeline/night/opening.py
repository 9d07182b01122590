"""The night to go on with, or a new one; what a death left is made whole first."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from time import monotonic
from zoneinfo import ZoneInfo

from pipeline.blocks import TABLES
from pipeline.config import Config
from pipeline.errors import HelperError, UsageError
from pipeline.night.page import try_page
from pipeline.night.tonight import Night, Options, Screen
from pipeline.normalize.fence import DEATHS_BY_CHANCE, normalize_behind_fence
from pipeline.normalize.helper import normalize_abreast
from pipeline.normalize.scribe import Job
from pipeline.plan.window import goes_on_until, night_of
from pipeline.store import journal
from pipeline.store.atomic import storage_errors, sync_folder
from pipeline.store.ledger import calls_parts, chunks_without_parts, read_ledger
from pipeline.store.parts import chunk_files
from pipeline.store.workspace import NightFolder, NightState, Workspace

NOTED_EVERY_S = 3.0
"""So old the note of a night's progress is at the most while it runs."""
UNFINISHED = ("started", "fetching", "stopped")
MOST_AHEAD = timedelta(days=180)
"""A night later than that is a mistyped year. Nearer ones are for whoever tries out several nights in a row."""


def open_night(config: Config, options: Options, screen: Screen, workspace: Workspace, lock: int) -> Night:
    """The night that is not finished while its window is open, else a new one; its journal whole."""
    folder = which_night(config, options, workspace)
    state = folder.make().state()
    is_new = state is None
    if state is None:
        state = NightState(night=folder.night, started_at=options.now().isoformat(timespec="seconds"))
    night = Night(config, options, screen, workspace, folder, state, lock)
    night.unseen += calls_of_dead_starts(night)
    night.tell("night.started", night=folder.night, is_new=is_new, was=state.state)
    night.save()
    journal.recover(folder.journal)
    _take_along_dead_nights(night)
    return night


def calls_of_dead_starts(night: Night) -> list[tuple[float, int]]:
    """When (time.monotonic) and how many calls may have been made that no journal has, by starts that were killed.

    They count against the quota all the same. Nobody knows them exactly: as many as were under way at the last note
    of progress, and what may be called in `NOTED_EVERY_S` after it.
    """
    states = [(folder, folder.state()) for folder in night.workspace.nights()]
    killed = [folder for folder, state in states if state is not None and state.state == "fetching"]
    found = [_unseen_calls(folder, night) for folder in killed if folder.progress.exists()]
    return [(monotonic() - age, calls) for age, calls in found]


def _unseen_calls(folder: NightFolder, night: Night) -> tuple[float, int]:
    """How long ago, in seconds, the last of them may have been made; and how many."""
    from pipeline.fetch.handoff import FRAME_RECORDS, FRAMES_UNDER_WAY  # not for a rebuild: see `_go_on`

    try:
        noted = json.loads(folder.progress.read_bytes())
    except ValueError:  # it is written without a sync: a power loss may leave it empty
        noted = {"calls": 0, "durable": 0}
    now = night.options.now()
    limits = night.config.quota.limits_at(now, night.zone)
    a_second = min((limit.calls / limit.per_s for limit in limits), default=0.0)
    calls = noted["calls"] - noted["durable"] + math.ceil(NOTED_EVERY_S * a_second)
    most = FRAME_RECORDS * (FRAMES_UNDER_WAY + 1) + night.config.quota.max_in_flight
    age = now.timestamp() - folder.progress.stat().st_mtime - NOTED_EVERY_S
    return max(0.0, age), min(most, calls)


def which_night(config: Config, options: Options, workspace: Workspace) -> NightFolder:
    zone = ZoneInfo(config.window.timezone) if config.window.timezone else None
    now = options.now()
    if options.night is not None:
        return _near(workspace.night(options.night), night_of(now, zone))
    for folder in reversed(workspace.nights()):
        state = folder.state()
        if state is not None and state.state in UNFINISHED:
            began = datetime.fromisoformat(state.started_at)
            if began <= now < goes_on_until(began, config.window.until, zone):
                return folder
        break
    return workspace.night(night_of(now, zone))


def _near(folder: NightFolder, tonight: date) -> NightFolder:
    """The folder of a night, unless its year is mistyped: it would be live, and hold all before it, until then."""
    if folder.night > tonight + MOST_AHEAD and folder.state() is None:
        raise UsageError(
            f"The night {folder.night} is more than half a year ahead: tonight is {tonight}.",
            "Name a nearer one, or leave --night out.",
        )
    return folder


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
        try_page(night.config, other.night, night.options.now())  # while its calls are its own
        for path in journal.sealed_chunks(other.journal):
            target = journal.chunk_path(night.folder.journal, next_chunk(night), sealed=True)
            with storage_errors("take along", path):
                path.rename(target)
                sync_folder(target.parent)
                sync_folder(path.parent)  # or a power loss brings it back, and it counts twice
        other.save(
            state.model_copy(update={"state": "taken along", "reason": f"by the night {night.folder.night}"})
        )


def _is_published(folder: NightFolder, state: NightState) -> bool:
    """Whether everything that a night journalled is in a snapshot already."""
    if state.published_records < 0 or chunks_without_parts(folder.journal, folder.parts):
        return False
    return read_ledger(folder.parts).records == state.published_records


def next_chunk(night: Night) -> int:
    chunks = journal.sealed_chunks(night.folder.journal)
    return journal.chunk_number(chunks[-1]) + 1 if chunks else 0


def normalize_what_is_left(night: Night) -> int:
    """Parts of chunks that a death left without. Gives how many answers had to be set aside."""
    _forget_parts_without_chunk(night.folder)
    _forget_half_parts(night.folder)
    missing = chunks_without_parts(night.folder.journal, night.folder.parts)
    if not missing:
        return 0
    night.begins("normalizing", f"normalizing {len(missing)} journal chunks from before")
    normalize_abreast(job_of(night), night.lock)
    left = chunks_without_parts(night.folder.journal, night.folder.parts)
    _forget_half_parts(night.folder)
    aside = normalize_behind_fence(job_of(night), left, night.lock)
    night.tell("chunks.normalized", chunks=len(missing), set_aside=aside)
    if aside:
        night.screen.step(
            f"{aside} answers kill the normalizer: they are set aside, and failed in `outcomes`"
        )
    return aside


def _forget_parts_without_chunk(folder: NightFolder) -> None:
    """A damaged chunk that was moved away takes its parts along: its IDs are asked for again, under its number."""
    numbers = {journal.chunk_number(path) for path in journal.sealed_chunks(folder.journal)}
    for path in [*calls_parts(folder.parts), *chunk_files(folder.parts)]:
        if journal.chunk_number(path) not in numbers:
            path.unlink(missing_ok=True)


def _forget_half_parts(folder: NightFolder) -> None:
    """What a death left of parts that had no name yet: nobody writes any now."""
    for path in folder.parts.glob("*/.*.tmp"):
        path.unlink(missing_ok=True)


def mend(night: Night, death: HelperError) -> None:
    """After the second process died: its journal made whole, and the answer that killed it set aside, if one did.

    Raises the death where that goes on and no answer is to blame.
    """
    night.tell("helper.died", reason=death.message, before=night.mended)
    journal.recover(night.folder.journal)
    if not normalize_what_is_left(night):
        night.mended += 1
    if night.mended > DEATHS_BY_CHANCE:
        raise death


def job_of(night: Night) -> Job:
    output = night.config.output
    return Job(
        night=night.folder.night,
        journal=night.folder.journal,
        parts=night.folder.parts,
        first_chunk=next_chunk(night),
        tables=[table.name for table in TABLES],
        zone=night.config.api.cluster_timezone,
        keep_offsets=output.keep_offsets,
    )
