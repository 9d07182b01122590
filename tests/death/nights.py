"""Nights that die, and what must hold after: the one suite that all kinds of death go through."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.sandbox import Sandbox, known_ids
from pipeline.status import status_of
from pipeline.store.journal import DamageError, FrameKind, read_frames, unpack_records
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.death.disk import Disk, Event, Loss, Mode, Platters, environment
from tests.death.launcher import FRAME_RECORDS, FRAMES_UNDER_WAY

ROOT = Path(__file__).parent.parent.parent
FIRST, SECOND = date(2026, 11, 21), date(2026, 11, 22)
CUSTOMERS = 400
AGAIN = 250
"""So many of them are on the second night's list, and as many new ones as are not."""
IN_FLIGHT = 8
TABLES = ["customers", "profiles", "identifiers", "custom_fields", "loyalty", "segments"]
"""A few of every form, beside the accounts: what a death can do does not depend on their number."""
REPEATED_AT_MOST = IN_FLIGHT + FRAME_RECORDS * (FRAMES_UNDER_WAY + 1)
"""Calls in flight, frames under way to the journal, and the one that gathers: a death may cost so many calls."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Blow:
    """One death: at an operation (`at` > 0), or after some time. `whom`: group, main or scribe.

    Operations are counted on paths that hold `on` alone: how many others come before them differs from night to night.
    """

    mode: Mode = Mode.KILL
    at: int = 0
    on: str = ""
    after_s: float = 0.0
    whom: str = "group"
    loss: Loss | None = None
    error: int = 0


@dataclass(frozen=True)
class Case:
    """A night and its blows, one after the other; then it is left in peace."""

    kind: str
    night: date
    blows: tuple[Blow, ...]
    seed: int = 0
    environ: tuple[tuple[str, str], ...] = ()


@dataclass
class Found:
    """What became of a case. `wrong` is empty where all promises held."""

    case: Case
    struck: list[str] = field(default_factory=list)  # where: one for each blow that hit
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    equal: bool = False


@dataclass
class Stage:
    """A server, homes to copy from for each night, and what the quiet nights gave."""

    sandbox: Sandbox
    folder: Path
    quiet: dict[date, dict[str, list[str]]] = field(default_factory=dict)
    operations: dict[date, list[Event]] = field(default_factory=dict)
    seconds: dict[date, float] = field(default_factory=dict)
    made: int = 0

    def prepare(self) -> Stage:
        """Run both nights undisturbed, once with the file layer looking on."""
        home = a_home(self.folder / "template-1", self.sandbox)
        for night in (FIRST, SECOND):
            list_ids(home, night)
            following = self.folder / f"template-{night}"
            shutil.copytree(home.root, following)
            self.sandbox.day = night
            disk = Disk(home.root, self.folder / f"quiet-{night}")
            began = time.monotonic()
            ended = run(home, night, disk)
            assert ended.returncode == 0, ended.stderr
            self.seconds[night] = time.monotonic() - began
            self.quiet[night] = snapshot.all_rows(home.export)
            self.operations[night] = list(disk.events())
        return self

    def home(self, night: date) -> tuple[Home, Disk]:
        """A home on the evening of that night, and its disk."""
        self.made += 1
        root = self.folder / f"case-{self.made}" / "home"
        shutil.copytree(self.folder / f"template-{night}", root)
        return OldHome(root), Disk(root, root.parent / "beside")


class OldHome(Home):
    """A home that is there already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config_path = root / "nightly.yaml"


def a_home(root: Path, sandbox: Sandbox) -> Home:
    root.mkdir(parents=True)
    home = Home(root, sandbox.url)
    home.settings["quota"]["max_in_flight"] = IN_FLIGHT
    home.settings["api"] |= {"embed": ["segments"], "params": {"includedFraudDetails": True}}
    home.settings["work"] = {"keep_nights": 1}
    home.settings["output"] = {"keep_snapshots": 1, "grace": 0, "tables": TABLES}
    home.save()
    return home


def list_ids(home: Home, night: date) -> None:
    """The second night asks for some that the first one saw, and for new ones; others keep their rows."""
    ids = list(known_ids(2 * CUSTOMERS - AGAIN))
    home.write_ids(ids[:CUSTOMERS] if night == FIRST else ids[CUSTOMERS - AGAIN :])


def expected_ids(night: date) -> set[int]:
    ids = list(known_ids(2 * CUSTOMERS - AGAIN))
    return set(ids[:CUSTOMERS] if night == FIRST else ids[CUSTOMERS - AGAIN :])


def command(home: Home, night: date | None, module: str = "tests.death.launcher") -> list[str]:
    """The command that goes on with the night; with tonight where none is named."""
    named = ["--night", night.isoformat()] if night else []
    return [sys.executable, "-m", module, "run", str(home.config_path), *named, "--quiet"]


def start(home: Home, night: date | None, disk: Disk | None, **more: Any) -> subprocess.Popen[str]:
    """The night, in a process group of its own."""
    return subprocess.Popen(
        command(home, night, **more),
        cwd=ROOT,
        env=environment(disk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    returncode: int
    stdout: str
    stderr: str


def run(home: Home, night: date, disk: Disk | None = None, **more: Any) -> Ended:
    """The night, to whatever end."""
    return finish(start(home, night, disk, **more))


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end; a night that hangs is killed, and told."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        return Ended(-999, stdout, f"hung\n{stderr}")
    return Ended(process.returncode, stdout, stderr)


def die(home: Home, night: date, disk: Disk, blow: Blow) -> tuple[Ended, str]:
    """Run the night into its death. Gives how it ended and where it was struck ("": it was not)."""
    disk.strike(blow.mode if blow.at else Mode.OBSERVE, blow.at, blow.error, blow.on)
    process = start(home, night, disk)
    where = ""
    if not blow.at:
        where = kill_later(process, blow)
    ended = finish(process)
    if blow.at and disk.struck:
        where = place_of(disk.last_strike(), home.root)
    if blow.mode is Mode.SHORT_ALWAYS:
        where = "everywhere"
    disk.strike(Mode.OBSERVE)
    return ended, where


def kill_later(process: subprocess.Popen[str], blow: Blow) -> str:
    """kill -9 after some time; "" where there was nobody to kill any more."""
    time.sleep(blow.after_s)
    if process.poll() is not None:
        return ""
    if blow.whom == "main":
        process.kill()
    elif blow.whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        helpers = children(process.pid)
        if not helpers:
            os.killpg(process.pid, signal.SIGKILL)
            return "group"
        os.kill(helpers[0], signal.SIGKILL)
    return blow.whom


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


PLACES = (
    ("journal", "journal"),
    ("parts", "parts"),
    ("manifest.json", "manifest"),
    ("current.json", "pointer"),
    ("report.html", "page"),
    ("snapshots", "tables"),
    ("state.json", "state"),
    ("ids", "list"),
    ("identifiers", "list"),
    ("work", "workspace"),
    ("export", "workspace"),
)


def place_of(event: Event | None, root: Path) -> str:
    """Which step of the night an operation belongs to."""
    if event is None:
        return ""
    path = str(Path(event.path).relative_to(root))
    kind = event.other if event.kind in ("kill", "fail") else event.kind
    if (
        kind in ("Unlink", "DropFolder") and ("snapshots" in path or ".forgotten" in path)
    ) or ".forgotten" in path:
        return "retention"
    return next((place for part, place in PLACES if part in path), "other")


# What must hold


def try_case(stage: Stage, case: Case) -> Found:
    """Let the night die as often as the case says, then go on in peace; look at everything that was promised."""
    found, rng = Found(case), random.Random(case.seed)
    home, disk = stage.home(case.night)
    disk.more = dict(case.environ)
    stage.sandbox.day = case.night  # forgets attempts: every night meets the same server
    before, acknowledged = calls_seen(stage.sandbox), Counter[Any]()
    for blow in case.blows:
        ended, where = die(home, case.night, disk, blow)
        if where:
            found.struck.append(where)
        look_at_the_end(found, blow, ended, struck=bool(where))
        acknowledged |= look_at_what_is_left(found, home, disk, blow, rng)
    peaceful = run(home, case.night, disk)
    if peaceful.returncode != 0:
        found.wrong.append(f"`run` ended with {peaceful.returncode}: {peaceful.stderr.strip()[-500:]}")
    else:
        compare(found, stage, home, case, calls_seen(stage.sandbox) - before, acknowledged)
    if not found.wrong:
        shutil.rmtree(home.root.parent)
    return found


def look_at_the_end(found: Found, blow: Blow, ended: Ended, *, struck: bool) -> None:
    """A failing disk is told in words and exit code 7; a killed process says nothing."""
    if ended.returncode == -999:
        found.wrong.append(f"hung: {ended.stderr[-300:]}")
    if "Traceback" in ended.stderr:
        found.wrong.append(f"a traceback: {ended.stderr[-800:]}")
    if blow.mode is Mode.SHORT_ALWAYS and ended.returncode != 0:
        found.wrong.append(f"short writes ended it with {ended.returncode}: {ended.stderr[-300:]}")
    if blow.error and struck and ended.returncode not in (0, 7):
        found.wrong.append(f"exit code {ended.returncode}: {ended.stderr[-300:]}")
    if blow.error and ended.returncode == 7 and not is_a_good_message(ended.stderr, found):
        found.wrong.append(f"no path or no remedy in: {ended.stderr}")


def is_a_good_message(said: str, found: Found) -> bool:
    """It names a path below the home, and a remedy on a line of its own."""
    lines = said.strip().splitlines()
    return len(lines) >= 2 and "/home/" in lines[-2] and lines[-2].startswith("capillary-export: Cannot")


def look_at_what_is_left(
    found: Found, home: Home, disk: Disk, blow: Blow, rng: random.Random
) -> Counter[Any]:
    """Right after a death: readers see whole snapshots, `status` is readable. Gives what was acknowledged."""
    acknowledged: Counter[Any] = Counter()
    if blow.at:
        platters = Platters(disk)
        acknowledged = synced_calls(platters, found.case.night)
        if blow.loss is not None:
            platters.lose_power(blow.loss, rng)
    found.wrong += [f"readers: {why}" for why in half_snapshots(home.export)]
    try:
        status = status_of(home.config())
        json.dumps(status)
        if any(one["state"] in ("started", "fetching") for one in status["nights"]):
            found.wrong.append("status: a night is under way, and nobody is there")
    except Exception as exc:
        found.wrong.append(f"status: {exc}")
    return acknowledged


def synced_calls(platters: Platters, night: date) -> Counter[Any]:
    """The calls in the journal's synced bytes: what the program has acknowledged, or could have."""
    calls: Counter[Any] = Counter()
    for path, data in platters.synced_bytes().items():
        if "journal" in path.parts and night.isoformat() in path.parts:
            calls |= Counter(calls_in(data))
    return calls


def calls_in(data: bytes) -> list[tuple[int, int, int]]:
    """The calls of a chunk, up to the first damage: whom, when, with what outcome."""
    from io import BytesIO

    calls = []
    try:
        for frame in read_frames(BytesIO(data)):
            if frame.kind is FrameKind.RECORDS:
                calls += [
                    (one.customer_id, one.fetched_at, one.outcome) for one in unpack_records(frame.payload)
                ]
    except DamageError:
        pass
    return calls


def journalled_calls(home: Home, night: date) -> Counter[Any]:
    """All calls of a night's journal. A call that stands there twice counts twice."""
    folder = home.work / night.isoformat() / "journal"
    return Counter(call for path in folder.iterdir() for call in calls_in(path.read_bytes()))


def half_snapshots(export: Path) -> list[str]:
    """What is wrong with the pointer and with every snapshot that says it is whole."""
    try:
        return _half_snapshots(export)
    except ValueError as exc:
        return [f"a pointer or a manifest is no JSON: {exc}"]


def _half_snapshots(export: Path) -> list[str]:
    wrong = []
    pointer = export / "current.json"
    if pointer.exists():
        about = json.loads(pointer.read_text())
        if not (export / about["manifest"]).exists():
            wrong.append(f"the pointer names {about['manifest']}, which is not there")
    for manifest in export.glob("snapshots/*/manifest.json"):
        wrong += wrong_files(manifest)
    return wrong


def wrong_files(manifest: Path) -> list[str]:
    """The files of a snapshot that are not what its manifest says."""
    wrong = []
    for table in json.loads(manifest.read_text())["tables"].values():
        for file in table["files"]:
            path = manifest.parent / file["path"]
            if not path.exists():
                wrong.append(f"{path} is not there")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
                wrong.append(f"{path} is not what it was")
    return wrong


def compare(
    found: Found, stage: Stage, home: Home, case: Case, calls: int, acknowledged: Counter[Any]
) -> None:
    """The night against a quiet one."""
    tables, journalled = snapshot.all_rows(home.export), journalled_calls(home, case.night)
    found.equal = tables == stage.quiet[case.night]
    if not found.equal:
        quiet = stage.quiet[case.night]
        found.wrong.append(f"tables differ: {[name for name in quiet if quiet[name] != tables.get(name)]}")
    asked = [
        row["customer_id"] for row in snapshot.rows(home.export, "outcomes") if row["_night"] == case.night
    ]
    found.lost = len(expected_ids(case.night) - set(asked))
    found.doubled = len(asked) - len(set(asked)) + sum(journalled.values()) - len(journalled)
    if found.lost or found.doubled:
        found.wrong.append(f"{found.lost} IDs lost, {found.doubled} doubled")
    if missing := acknowledged - journalled:
        found.wrong.append(f"{len(missing)} acknowledged calls are gone")
    found.repeated = calls - sum(journalled.values())
    if not 0 <= found.repeated <= REPEATED_AT_MOST * len(case.blows):
        found.wrong.append(f"{found.repeated} calls are not in the journal")
    found.wrong += [f"readers: {why}" for why in half_snapshots(home.export)]
