"""Where a night writes: the workspace, its lock, what earlier nights left in it, the output."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, fine, harmless, warned
from pipeline.errors import StorageError
from pipeline.formats import open_tables
from pipeline.store.atomic import make_folder, storage_errors
from pipeline.store.snapshots import open_snapshots
from pipeline.store.workspace import PRIVATE, NightFolder, NightState


def look_at_workspace(case: Case) -> Iterator[Finding]:
    """A file is written and removed."""
    path = case.config.work.path
    make_folder(path, PRIVATE)
    probe = path / f".doctor-{os.getpid()}"
    with storage_errors("write to", path):
        probe.write_bytes(b"x")
        probe.unlink()
    yield fine("workspace", f"{path} can be written")


def look_at_output(case: Case) -> Iterator[Finding]:
    """What publishing needs is really done: a file is put, put again on a condition, listed and deleted."""
    snapshots = open_snapshots(case.config)
    snapshots.check()
    live = snapshots.current()
    told = f"{live.snapshot} is live" if live else "nothing is live yet"
    yield fine("output", f"{snapshots.url} can be written; {told}")


def look_at_tables(case: Case) -> Iterator[Finding]:
    """The tables of `output.format`: the library, the catalog, whether a table can be looked at."""
    tables = open_tables(case.config, open_snapshots(case.config))
    if tables is not None:
        yield fine("tables", f"{tables.name}: {tables.check()}")


def look_at_lock(case: Case) -> Iterator[Finding]:
    """Who holds the workspace."""
    if case.holder is None:
        yield fine("lock", "free")
        return
    who = f"process {case.holder}" if case.holder else "a process that has not said which"
    yield warned(
        "lock",
        f"A run is under way ({who}).",
        "`capillary-export status` shows how far it is. Another `run` would end with exit code 6.",
    )


def look_at_nights(case: Case) -> Iterator[Finding]:
    """Nights that wait for somebody: held, died, stopped; or whose state cannot be read."""
    told = [one for folder in case.workspace.nights() for one in _of_night(case, folder)]
    yield from told
    if not told:
        count = len(case.workspace.nights())
        yield fine("nights", f"{count} in the workspace, none waits for anybody" if count else "none yet")


def _of_night(case: Case, folder: NightFolder) -> Iterator[Finding]:
    try:
        state = folder.state()
    except StorageError as exc:
        yield warned("nights", exc.message, exc.hint)
        return
    night = folder.night
    if state is None:
        return
    if state.state == "held" and not _is_superseded(case, folder):
        yield warned(
            "nights",
            f"The night {night} is held: {harmless(state.reason)}",
            f"Look at its page, then `publish --night {night} --force --reason TEXT`, or leave it.",
        )
    elif state.state == "stopped" or (state.state in ("started", "fetching") and case.holder is None):
        yield warned("nights", *_unfinished(state))


def _unfinished(state: NightState) -> tuple[str, str]:
    how = f"stopped ({harmless(state.reason)})" if state.state == "stopped" else "died"
    return (
        f"The night {state.night} {how}.",
        "`run` goes on with it, or takes its answers along; nothing is lost.",
    )


def _is_superseded(case: Case, folder: NightFolder) -> bool:
    """Whether a later night was published: then nobody waits for the held one any more."""
    later = [one for one in case.workspace.nights() if one.night > folder.night]
    return any(state is not None and state.state == "published" for state in map(_state_or_none, later))


def _state_or_none(folder: NightFolder) -> NightState | None:
    try:
        return folder.state()
    except StorageError:
        return None
