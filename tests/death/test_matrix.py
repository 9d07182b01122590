"""The crash matrix in its short form, and proof that it would notice. The long form is `make crash`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline.store.journal import FrameKind, read_frames
from tests.death.conftest import needs_compiler
from tests.death.disk import Loss, Mode
from tests.death.launcher import FRAME_RECORDS
from tests.death.matrix import midway
from tests.death.nights import FIRST, ROOT, SECOND, Blow, Case, Stage, try_case

pytestmark = [pytest.mark.timeout(120), needs_compiler]

FORGETFUL = os.pathsep.join([str(Path(__file__).with_name("forgetful")), str(ROOT)])
Blows = Callable[[str, int], tuple[Blow, ...]]


def kill(on: str, at: int) -> tuple[Blow, ...]:
    return (Blow(at=at, on=on),)


def tear(on: str, at: int) -> tuple[Blow, ...]:
    return (Blow(Mode.TEAR, at, on),)


def twice(on: str, at: int) -> tuple[Blow, ...]:
    return (Blow(at=at, on=on), Blow(at=60))


def power(loss: Loss) -> Blows:
    return lambda on, at: (Blow(at=at, on=on, loss=loss),)


def failing(mode: Mode, code: int) -> Blows:
    return lambda on, at: (Blow(mode, at, on, error=code),)


SHORT = [
    *[(FIRST, place, kill) for place in ("journal", "pointer")],
    (SECOND, "manifest", kill),
    (FIRST, "journal", tear),
    (FIRST, "journal", power(Loss.NAMES)),
    (SECOND, "pointer", power(Loss.BYTES)),
    (SECOND, "tables", failing(Mode.FAIL_FROM, errno.ENOSPC)),
]
LONG = [
    *[(FIRST, place, kill) for place in ("parts", "tables")],
    *[(SECOND, place, kill) for place in ("journal", "retention")],
    (SECOND, "pointer", tear),
    (FIRST, "parts", failing(Mode.FAIL_ONCE, errno.EIO)),
    (SECOND, "retention", twice),
    (FIRST, "parts", twice),
    (FIRST, "journal", power(Loss.ZEROS)),
    (SECOND, "retention", power(Loss.SOME)),
    (FIRST, "journal", failing(Mode.FAIL_FROM, errno.ENOSPC)),
    (SECOND, "pointer", failing(Mode.FAIL_FROM, errno.EIO)),
    (FIRST, "workspace", lambda *_: (Blow(Mode.SHORT_ALWAYS, 1),)),
]


@pytest.mark.parametrize(
    ("night", "place", "blows"), [*SHORT, *[pytest.param(*one, marks=pytest.mark.long) for one in LONG]]
)
def test_a_night_that_dies_ends_like_a_quiet_one(stage: Stage, night: date, place: str, blows: Blows) -> None:
    """Same tables, each ID once, nothing acknowledged lost, few calls repeated, readers undisturbed."""
    case = Case("short", night, blows(*midway(stage, night, place)), seed=7)
    found = try_case(stage, case)
    assert not found.wrong, found.wrong
    assert found.struck or case.blows[0].mode is Mode.SHORT_ALWAYS


def test_no_frame_holds_more_than_its_share(stage: Stage) -> None:
    """What a death may cost is counted in frames: workers that wait for a slot must not make them larger."""
    frames = []
    for path in stage.folder.glob("template-1/work/*/journal/*"):
        with path.open("rb") as file:
            frames += [frame.records for frame in read_frames(file) if frame.kind is FrameKind.RECORDS]
    assert frames
    assert max(frames) <= FRAME_RECORDS


def test_a_program_that_never_syncs_is_found_out(stage: Stage) -> None:
    """The matrix can fail: without its syncs the program loses what it had said was safe."""
    blow = Blow(at=1, on="manifest.json", loss=Loss.BYTES)
    found = try_case(stage, Case("forgetful", FIRST, (blow,), environ=(("PYTHONPATH", FORGETFUL),)))
    assert found.wrong, found
