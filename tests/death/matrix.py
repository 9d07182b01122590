"""The crash matrix: kinds of death × points of a night. `python -m tests.death.matrix` writes bench/CRASH.md.

Every point is a night of its own: it dies there (some die twice), goes on in peace, and is compared with a quiet one.
"""

from __future__ import annotations

import argparse
import errno
import os
import platform
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

from pipeline.sandbox import Sandbox, SandboxConfig
from tests.conftest import running_sandbox
from tests.death.disk import Loss, Mode
from tests.death.nights import (
    CUSTOMERS,
    FIRST,
    IN_FLIGHT,
    REPEATED_AT_MOST,
    ROOT,
    SECOND,
    Blow,
    Case,
    Found,
    Stage,
    place_of,
    try_case,
)

PAGE = ROOT / "bench" / "CRASH.md"
NIGHTS = {FIRST: "first night", SECOND: "second night"}
PLACES = (
    "workspace",
    "state",
    "list",
    "journal",
    "parts",
    "tables",
    "manifest",
    "pointer",
    "page",
    "retention",
)
"""The steps of a night that touch the disk, as nights.place_of names them."""
SEED = 20261121


def quiet_operations(stage: Stage, night: date) -> dict[str, list[int]]:
    """The numbers of a quiet night's operations, by place."""
    found: dict[str, list[int]] = {place: [] for place in PLACES}
    for event in stage.operations[night]:
        found.setdefault(place_of(event, stage.folder / "template-1"), []).append(event.number)
    return found


NAMED = {
    "pointer": "current.json",
    "manifest": "manifest.json",
    "tables": "snapshots",
    "retention": ".forgotten",
}
"""What a path of that place holds; elsewhere the place's own name."""


def midway(stage: Stage, night: date, place: str) -> tuple[str, int]:
    """What paths of that place hold, and the number of the middle one of the operations on them."""
    on = NAMED.get(place, place)
    paths = [event.other if event.kind == "Rename" else event.path for event in stage.operations[night]]
    count = sum(on in str(Path(path).relative_to(stage.folder / "template-1")) for path in paths)
    return on, (count + 1) // 2


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """So many of them, evenly spread, the first and the last among them."""
    if len(numbers) <= count:
        return list(numbers)
    return [numbers[round(index * (len(numbers) - 1) / max(1, count - 1))] for index in range(count)]


class Plan:
    """Which points are tried; `size` scales their number."""

    def __init__(self, stage: Stage, size: float) -> None:
        self._stage = stage
        self._size = size
        self._rng = random.Random(SEED)
        self._operations = {night: quiet_operations(stage, night) for night in NIGHTS}

    def cases(self) -> list[Case]:
        """All of them, in an order that gives every part of the list every kind."""
        cases = [
            *self.between(),
            *self.torn(),
            *self.power(),
            *self.failing(),
            *self.at_times(),
            *self.twice(),
        ]
        self._rng.shuffle(cases)
        return cases

    def _count(self, full: int) -> int:
        return max(1, round(full * self._size))

    def _seeded(self, kind: str, night: date, *blows: Blow) -> Case:
        return Case(kind, night, blows, self._rng.randrange(1 << 30))

    def _anywhere(self, night: date) -> int:
        """An operation of the night; every place as likely as any other."""
        return self._rng.choice(self._rng.choice([one for one in self._operations[night].values() if one]))

    def between(self) -> Iterator[Case]:
        """kill -9 of both processes between two operations on files."""
        for night, by_place in self._operations.items():
            for place, numbers in by_place.items():
                many = 6 if place in ("journal", "parts", "tables", "retention") else 3
                for at in spread(numbers, self._count(many)):
                    yield self._seeded(f"kill -9 between two operations, {NIGHTS[night]}", night, Blow(at=at))

    def torn(self) -> Iterator[Case]:
        """The same in the middle of a write."""
        for night in NIGHTS:
            writes = [event for event in self._stage.operations[night] if event.kind == "write"]
            for place in ("journal", "parts", "tables", "manifest", "pointer", "state"):
                here = [
                    one.number for one in writes if place_of(one, self._stage.folder / "template-1") == place
                ]
                for at in spread(here, self._count(2)):
                    yield self._seeded("kill -9 in the middle of a write", night, Blow(Mode.TEAR, at))

    def power(self) -> Iterator[Case]:
        """Power loss, in each of the states that a file system may leave."""
        for loss in Loss:
            for night in NIGHTS:
                for _ in range(self._count(6)):
                    blow = Blow(at=self._anywhere(night), loss=loss)
                    yield self._seeded(f"power loss, {loss.value}", night, blow)

    def failing(self) -> Iterator[Case]:
        """A disk that is full or broken, once or for good."""
        for code, name in ((errno.ENOSPC, "disk full"), (errno.EIO, "disk error")):
            for mode, often in ((Mode.FAIL_FROM, "from there on"), (Mode.FAIL_ONCE, "once")):
                for number in range(self._count(6)):
                    night = (FIRST, SECOND)[number % 2]
                    blow = Blow(mode, self._anywhere(night), error=code)
                    yield self._seeded(f"{name}, {often}", night, blow)
        for night in NIGHTS:
            yield self._seeded("every write takes half", night, Blow(Mode.SHORT_ALWAYS, 1))

    def at_times(self) -> Iterator[Case]:
        """kill -9 after some time, of both processes or of one."""
        for whom, often in (("group", 14), ("main", 8), ("scribe", 8)):
            for number in range(self._count(often)):
                night = (FIRST, SECOND)[number % 2]
                blow = Blow(after_s=self._rng.uniform(0.4, 1.1) * self._stage.seconds[night], whom=whom)
                who = {"group": "both processes", "main": "the main process", "scribe": "the second process"}
                yield self._seeded(f"kill -9 at random times, {who[whom]}", night, blow)

    def twice(self) -> Iterator[Case]:
        """A second death while going on after the first."""
        for number in range(self._count(20)):
            night = (FIRST, SECOND)[number % 2]
            again = Blow(at=self._rng.randint(1, 400), loss=(None, *Loss)[number // 2 % 5])
            kind = (
                "killed again while going on"
                if again.loss is None
                else "killed, then power loss while going on"
            )
            yield self._seeded(kind, night, Blow(at=self._anywhere(night)), again)


# Running


_stage: Stage
_serving: AbstractContextManager[Sandbox]
"""Each worker's own."""


def _begin_worker(folder: str) -> None:
    """A worker has a server and quiet nights of its own, for as long as it lives."""
    global _stage, _serving
    _serving = running_sandbox(SandboxConfig(customers=CUSTOMERS * 2, cached_bodies=CUSTOMERS * 3, day=FIRST))
    _stage = Stage(_serving.__enter__(), Path(mkdtemp(dir=folder))).prepare()


def _try(case: Case) -> Found:
    return try_case(_stage, case)


def run_all(size: float, workers: int, folder: Path) -> Iterator[Found]:
    """Try every case; the order is that of the plan."""
    with running_sandbox(
        SandboxConfig(customers=CUSTOMERS * 2, cached_bodies=CUSTOMERS * 3, day=FIRST)
    ) as sandbox:
        planning = folder / "planning"
        planning.mkdir()
        cases = Plan(Stage(sandbox, planning).prepare(), size).cases()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (str(folder),))
    with pool:
        yield from pool.map(_try, cases)


# Telling


@dataclass
class Line:
    """A row of the table."""

    kind: str
    points: int = 0
    equal: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    bound: int = REPEATED_AT_MOST
    not_reached: int = 0

    def take(self, found: Found) -> None:
        """Count a case: a night that ended before the blow fell is no point."""
        deaths = len(found.struck)
        if not deaths:
            self.not_reached += 1
            return
        self.points += deaths
        self.equal += deaths * (found.equal and not found.wrong)
        self.lost += found.lost
        self.doubled += found.doubled
        self.repeated = max(self.repeated, found.repeated)
        self.bound = REPEATED_AT_MOST * len(found.case.blows)

    def row(self) -> str:
        """The row as Markdown."""
        return (
            f"| {self.kind} | {self.points} | {self.equal} | {self.lost} | {self.doubled} "
            f"| {self.repeated}{f' of {self.bound}' if self.bound else ''} |"
        )


def table(found: Sequence[Found]) -> list[str]:
    """The matrix, a row for each kind of death, and the sum."""
    lines: dict[str, Line] = {}
    for one in found:
        lines.setdefault(one.case.kind, Line(one.case.kind)).take(one)
    rows = [lines[kind] for kind in sorted(lines)]
    total = Line("**all**", bound=0)  # each row has its own
    for line in rows:
        total.points, total.equal = total.points + line.points, total.equal + line.equal
        total.lost, total.doubled = total.lost + line.lost, total.doubled + line.doubled
        total.repeated = max(total.repeated, line.repeated)
    head = "| kind of death | points | resumed equal | IDs lost | doubled | most calls repeated, of allowed |"
    return [head, "|---|--:|--:|--:|--:|--:|", *(line.row() for line in [*rows, total])]


def places(found: Sequence[Found]) -> str:
    """Where the blows fell."""
    counts = Counter(place for one in found for place in one.struck)
    return ", ".join(f"{place} {count}" for place, count in sorted(counts.items()))


def page(found: Sequence[Found], seconds: float) -> str:
    """bench/CRASH.md."""
    about = (
        f"Made by `make crash` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC in {seconds / 60:.1f} minutes: "
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}."
    )
    allowed = (
        f"A night here has {CUSTOMERS} customers, {IN_FLIGHT} calls in flight, short frames and chunks "
        "(tests/death/launcher.py). A death may cost the calls in flight, the frames on their way to the journal and "
        f"the one that gathers: {REPEATED_AT_MOST} calls. Equal means: the same tables as a night that nobody "
        "disturbed, every ID with one outcome, every synced call in the journal once, whole snapshots at any time, "
        "exit code 7 with path and remedy where the disk failed, `status` readable after each death."
    )
    broken = [f"* BROKEN, {one.case.kind}: {'; '.join(one.wrong)}" for one in found if one.wrong]
    fell = f"Where they fell: {places(found)}."
    return "\n".join(["# Crash matrix", "", about, "", allowed, "", *table(found), "", *broken, fell, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; 1 where any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.death.matrix", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="share of the full matrix")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-page", action="store_true", help="leave bench/CRASH.md as it is")
    given = parser.parse_args(arguments)
    folder, began, found = Path(mkdtemp(prefix="crash-")), time.monotonic(), []
    for one in run_all(given.size, given.workers, folder):
        found.append(one)
        if one.wrong:
            sys.stdout.write(f"\n{one.case}\n  struck: {one.struck}\n  " + "\n  ".join(one.wrong) + "\n")
            sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{len(found)} nights ")
    text = page(found, time.monotonic() - began)
    sys.stdout.write("\n".join(text.splitlines()[6:]) + "\n")
    if not given.no_page:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text)
    wrong = [one for one in found if one.wrong]
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
