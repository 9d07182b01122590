"""What is known before tonight: the newest sound file of an earlier night, and the nights that it does not know yet.

work/known/<night>.known     what was known after that night; the newest three stay

Each file is made from one of an earlier night, so that a night published twice, or resumed, counts once. A file tells
from which nights it was made, and of how many records each: one that took in a night as it no longer is (published
again with more answers, or taken along by another) is passed over. What no file and no journal tells any more comes
from the live snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.errors import StorageError
from pipeline.night.backfill import verdicts_in
from pipeline.night.tonight import Night, previous_of
from pipeline.store.atomic import make_folder, storage_errors
from pipeline.store.columns import let_go, scratch_in, slices
from pipeline.store.knowledge import (
    Knowledge,
    KnowledgeError,
    Known,
    apply,
    nothing_known,
    read_applied,
    read_knowledge,
    write_knowledge,
)
from pipeline.store.ledger import Verdicts, read_verdicts
from pipeline.store.workspace import PRIVATE, NightState, Workspace

KEPT_FILES = 3
Told: TypeAlias = tuple[Verdicts, int]
"""What a night's journal tells, and how many records it has."""
FROM_SNAPSHOT = -1
"""As a night's number of records: nobody has counted them, its answers came from the snapshot."""


def knowledge_for(night: Night) -> Knowledge:
    """Everything known before tonight, for the planner. Changes nothing. Raises StorageError."""
    return _known(night, {}).knowledge


def remember(night: Night) -> None:
    """Write what is known after tonight, which was published. The next night does without the file if need be."""
    with suppress(StorageError):
        _write(night)


def _write(night: Night) -> None:
    let_go()
    tonight = night.folder.night.isoformat()
    after = _known(night, {tonight: read_verdicts(night.folder.parts)})
    folder = make_folder(_folder(night.workspace), PRIVATE)
    write_knowledge(_path(night.workspace, night.folder.night), after)
    states = _states(night.workspace)
    files = _files(night.workspace)
    outdated = [path for path in files if path.stem != tonight and not _is_sound(path, states)]
    with storage_errors("tidy", folder):
        for path in {*outdated, *files[:-KEPT_FILES], *folder.glob(".*.tmp")}:
            path.unlink(missing_ok=True)


def _known(night: Night, tonights: dict[str, Told]) -> Known:
    """What was known before this night; of its own journal what is handed in."""
    workspace, tonight = night.workspace, night.folder.night
    base = _newest_before(workspace, tonight)
    missing = dict(_nights_to_apply(workspace, base, tonight)) | tonights
    applied = {**base.applied, **{name: records for name, (_, records) in missing.items()}}
    told = [verdicts for verdicts, _ in missing.values()]
    knowledge = base.knowledge
    forgotten = _forgotten(night, applied)
    if forgotten or not base.applied:
        knowledge = _filled_in(knowledge, told, night)
        applied |= dict.fromkeys(forgotten, FROM_SNAPSHOT)
    return Known(_with(told, knowledge, scratch_in(night.folder.root)), applied)


def _folder(workspace: Workspace) -> Path:
    return workspace.root / "known"


def _path(workspace: Workspace, night: date) -> Path:
    return _folder(workspace) / f"{night.isoformat()}.known"


def _files(workspace: Workspace) -> list[Path]:
    """Oldest first."""
    return sorted(_folder(workspace).glob("????-??-??.known"))


def _newest_before(workspace: Workspace, tonight: date) -> Known:
    """The newest sound file of an earlier night; nothing known where there is none."""
    states = _states(workspace)
    for path in reversed(_files(workspace)):
        if path.stem < tonight.isoformat() and _is_sound(path, states):
            with suppress(KnowledgeError):
                return read_knowledge(path)
    return Known(nothing_known(), {})


def _states(workspace: Workspace) -> dict[str, NightState]:
    """The nights that still have a folder with a readable state."""
    found = {}
    for folder in workspace.nights():
        with suppress(StorageError):
            if (state := folder.state()) is not None:
                found[folder.night.isoformat()] = state
    return found


def _is_sound(path: Path, states: dict[str, NightState]) -> bool:
    """Whether a file took in no night that has changed since."""
    try:
        applied = read_applied(path)
    except KnowledgeError:
        return False
    return all(
        state.published_records == applied[night] and state.state != "taken along"
        for night, state in states.items()
        if night in applied
    )


def _nights_to_apply(workspace: Workspace, base: Known, tonight: date) -> Iterator[tuple[str, Told]]:
    """The published nights before tonight that the file does not know, with how many records each has."""
    states = _states(workspace)
    for folder in workspace.nights():
        name = folder.night.isoformat()
        state = states.get(name)
        if folder.night >= tonight or name in base.applied or state is None or state.state == "taken along":
            continue
        with suppress(StorageError):  # `rebuild` mends its parts; then it counts
            if state.published_records >= 0:
                verdicts, records = read_verdicts(folder.parts)
                if records == state.published_records:
                    yield name, (verdicts, records)


def _forgotten(night: Night, applied: dict[str, int]) -> set[str]:
    """Nights that made snapshots or files, but left no journal here and are in no file: only the snapshot knows."""
    here = {folder.night.isoformat() for folder in night.workspace.nights()}
    made = {path.stem for path in _files(night.workspace) if path.stem < night.folder.night.isoformat()}
    for name in night.snapshots.complete():
        with suppress(StorageError):
            made.add(night.snapshots.manifest(name).night.isoformat())
    return made - here - set(applied)


def _with(told: Iterable[Verdicts], knowledge: Knowledge, scratch: Path | None) -> Knowledge:
    """What is known after these nights, too."""
    for verdicts in told:
        knowledge = apply(knowledge, verdicts, scratch)
    return knowledge


def _filled_in(knowledge: Knowledge, told: Iterable[Verdicts], night: Night) -> Knowledge:
    """With what the snapshot says of times between the file and the nights told: other answers count once more."""
    scratch = scratch_in(night.folder.root)
    found = verdicts_in(previous_of(night), scratch)
    if not len(found.customer_ids):
        return knowledge
    later = _with(told, nothing_known(), scratch)
    pieces = (found.only(one) for one in slices(len(found.customer_ids)))
    news = Verdicts.of((piece.only(_is_news(piece, knowledge, later)) for piece in pieces), scratch)
    return apply(knowledge, news, scratch)


def _is_news(found: Verdicts, knowledge: Knowledge, later: Knowledge) -> npt.NDArray[np.bool_]:
    """What was neither known nor is told."""
    seconds = found.fetched_at // 1_000_000
    places, is_known = knowledge.places_of(found.customer_ids)
    is_news = np.ones(len(seconds), bool)
    if len(knowledge):
        is_news &= ~is_known | (seconds > knowledge.seen_at[places])
    places, is_told = later.places_of(found.customer_ids)
    if len(later):
        first = later.first_seen_at[places]
        is_news &= ~is_told | (first == 0) | (seconds < first)
    return is_news
