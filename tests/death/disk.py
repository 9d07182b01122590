"""The file layer of disk.c: build it, put a program on it, strike, and make what a power loss would leave."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

SOURCE = Path(__file__).with_name("disk.c")


class Mode(IntEnum):
    """What happens at the operation that is struck."""

    OBSERVE = 0
    FAIL_ONCE = 1
    FAIL_FROM = 2  # and all later ones fail too
    SHORT_ALWAYS = 3  # every write takes half of what it is given
    KILL = 4  # the process group dies before the operation
    TEAR = 5  # the process group dies after half of it, where it is a write


class _Page(ctypes.Structure):
    """The page that the test and all processes share."""

    _fields_ = (
        ("operations", ctypes.c_int64),
        ("at", ctypes.c_int64),
        ("mode", ctypes.c_int64),
        ("error", ctypes.c_int64),
        ("clock_offset_ns", ctypes.c_int64),
        ("struck", ctypes.c_int64),
        ("met", ctypes.c_int64),
        ("on", ctypes.c_char * 64),
    )


class Event(NamedTuple):
    """A line of the log. `kill` and `fail` hold the operation that was struck in `other`."""

    number: int
    kind: str
    path: str
    other: str
    size: int


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


@cache
def library() -> Path:
    """The compiled file layer. Raises RuntimeError where there is no compiler."""
    found = compiler()
    if found is None:
        raise RuntimeError("no C compiler (cc, gcc or clang) to build the faulty file layer with")
    built = Path(mkdtemp(prefix="death-")) / "disk.so"
    words = [found, "-std=gnu11", "-O1", "-shared", "-fPIC", "-pthread", "-o", built, SOURCE, "-ldl"]
    subprocess.run([str(word) for word in words], check=True)
    return built


class Disk:
    """The faulty file layer of one folder. Everything about it lies in `beside`, on the same file system."""

    def __init__(self, below: Path, beside: Path) -> None:
        self.below = below
        self.beside = beside
        self.graves = beside / "graves"
        self.graves.mkdir(parents=True)
        self._log = beside / "log"
        self._log.touch()
        page = beside / "page"
        page.write_bytes(bytes(ctypes.sizeof(_Page)))
        with page.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), ctypes.sizeof(_Page))
        self._page = _Page.from_buffer(self._mapped)
        self.before = as_it_is(below)
        self.more: dict[str, str] = {}  # environment of the programs, beside the disk's

    def environ(self) -> dict[str, str]:
        """What a program's environment needs."""
        return {
            "LD_PRELOAD": str(library()),
            "DEATH_BELOW": str(self.below),
            "DEATH_PAGE": str(self.beside / "page"),
            "DEATH_LOG": str(self._log),
            "DEATH_GRAVES": str(self.graves),
            **self.more,
        }

    def strike(self, mode: Mode, at: int = 0, error: int = 0, on: str = "") -> None:
        """What happens at the `at`-th operation from now on paths that hold `on`."""
        self._page.mode = Mode.OBSERVE
        self._page.at, self._page.met, self._page.on = at, 0, on.encode()
        self._page.error = error
        self._page.struck = 0
        self._page.mode = mode

    @property
    def operations(self) -> int:
        """How many operations there were."""
        return int(self._page.operations)

    @property
    def struck(self) -> int:
        """How many operations were struck since `strike`."""
        return int(self._page.struck)

    def set_clock(self, ahead_s: float) -> None:
        """By how much the programs' time of day is ahead of the machine's."""
        self._page.clock_offset_ns = int(ahead_s * 1e9)

    def events(self) -> Iterator[Event]:
        """The log so far."""
        for line in self._log.read_text().splitlines():
            number, kind, path, other, size, _ = line.split("\t")
            yield Event(int(number), kind, path, other, int(size))

    def begin_anew(self) -> None:
        """The folder as it stands is on the platters; the log is of what comes."""
        self._log.write_bytes(b"")
        self.before = as_it_is(self.below)

    def last_strike(self) -> Event | None:
        """The last operation that was struck."""
        struck = [event for event in self.events() if event.kind in ("kill", "fail")]
        return struck[-1] if struck else None


class Loss(Enum):
    """What a power loss leaves: all of them are allowed to a file system."""

    NAMES = "names lost"  # every change of a folder that was not synced is undone; unsynced bytes are gone
    BYTES = "bytes lost"  # every name is there; unsynced bytes are gone
    ZEROS = "bytes zeroed"  # every name is there; unsynced bytes are zeros
    SOME = "some lost"  # of each folder's unsynced changes a part; of unsynced bytes a part


@dataclass(eq=False)
class _File:
    """A file, whatever it is called. `at` is where its bytes are found now."""

    at: Path
    synced: int = 0

    def survive(self, target: Path, loss: Loss, rng: random.Random) -> None:
        """Write what the power loss leaves of it."""
        data = self.at.read_bytes()
        kept, lost = data[: self.synced], data[self.synced :]
        if loss is Loss.ZEROS:
            kept += bytes(len(lost))
        elif loss is Loss.SOME:
            kept += lost[: rng.randint(0, len(lost))]
        target.write_bytes(kept)


@dataclass(eq=False)
class _Folder:
    """A folder as programs see it (`now`), as it is on the platters (`synced`), and the changes in between."""

    now: dict[str, _Folder | _File] = field(default_factory=dict)
    synced: dict[str, _Folder | _File] = field(default_factory=dict)
    changes: list[tuple[str, _Folder | _File | None]] = field(default_factory=list)

    def put(self, name: str, one: _Folder | _File | None) -> None:
        """A name now means this; None: nothing."""
        if one is None:
            self.now.pop(name, None)
        else:
            self.now[name] = one
        self.changes.append((name, one))

    def sync(self) -> None:
        """What is, stays."""
        self.synced, self.changes = dict(self.now), []

    def left_by(self, loss: Loss, rng: random.Random) -> dict[str, _Folder | _File]:
        """The names after the power loss."""
        if loss in (Loss.BYTES, Loss.ZEROS):
            return self.now
        left = dict(self.synced)
        for name, one in self.changes[: rng.randint(0, len(self.changes)) if loss is Loss.SOME else 0]:
            if one is None:
                left.pop(name, None)
            else:
                left[name] = one
        return left

    def survive(self, target: Path, loss: Loss, rng: random.Random) -> None:
        """Make the folder that the power loss leaves."""
        target.mkdir()
        for name, one in self.left_by(loss, rng).items():
            one.survive(target / name, loss, rng)


class Platters:
    """The folder as the disk has it: made from how it was at first, and the log since."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._root = deepcopy(disk.before)
        self._replaced: _Folder | _File | None = None  # by the last rename
        for event in disk.events():
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.kind in ("Sync", "Truncate"):
            self._resize(event)
        elif event.kind == "Folder":
            folder = self._found(event.path)
            if isinstance(folder, _Folder):
                folder.sync()
        elif event.kind not in ("write", "kill", "fail"):
            self._name(event)

    def _name(self, event: Event) -> None:
        parent, name = self._place(event.path)
        match event.kind:
            case "Create":
                parent.put(name, _File(Path(event.path)))
            case "MakeFolder":
                parent.put(name, _Folder())
            case "DropFolder":
                parent.put(name, None)
            case "Unlink":
                self._bury(parent.now.get(name), event.other)
                parent.put(name, None)
            case "Grave":
                self._bury(self._replaced, event.other)
            case "Link":
                target, other = self._place(event.other)
                target.put(other, parent.now[name])
            case "Rename":
                self._rename(parent, name, event)
            case unknown:
                raise ValueError(unknown)

    def _resize(self, event: Event) -> None:
        file = self._found(event.path)
        if isinstance(file, _File):
            file.synced = event.size if event.kind == "Sync" else min(file.synced, event.size)

    def _rename(self, parent: _Folder, name: str, event: Event) -> None:
        target, other = self._place(event.other)
        moved = parent.now[name]
        replaced = target.now.get(other)
        self._replaced = replaced
        target.put(other, moved)
        parent.put(name, None)
        self._moved(moved, Path(event.other))

    def _moved(self, one: _Folder | _File, to: Path) -> None:
        if isinstance(one, _File):
            one.at = to
        else:
            for name, inner in one.now.items():
                self._moved(inner, to / name)

    def _bury(self, one: _Folder | _File | None, grave: str) -> None:
        """What lost its name is found in its grave; a file with a second name is still there."""
        if isinstance(one, _File) and grave:
            one.at = Path(grave)

    def _place(self, path: str) -> tuple[_Folder, str]:
        folder = self._found(str(Path(path).parent))
        assert isinstance(folder, _Folder), path
        return folder, Path(path).name

    def _found(self, path: str) -> _Folder | _File | None:
        one: _Folder | _File | None = self._root
        for name in Path(path).relative_to(self._disk.below).parts:
            one = one.now.get(name) if isinstance(one, _Folder) else None
        return one

    def synced_bytes(self) -> dict[Path, bytes]:
        """Of every file that programs see, what was synced."""
        return {path: file.at.read_bytes()[: file.synced] for path, file in _files(self._root, Path())}

    def lose_power(self, loss: Loss, rng: random.Random) -> None:
        """Make the folder what the power loss leaves."""
        left = self._disk.beside / "left"
        self._root.survive(left, loss, rng)
        shutil.rmtree(self._disk.below)
        left.rename(self._disk.below)
        self._disk.begin_anew()


def _files(folder: _Folder, at: Path) -> Iterator[tuple[Path, _File]]:
    for name, one in folder.now.items():
        if isinstance(one, _File):
            yield at / name, one
        else:
            yield from _files(one, at / name)


def as_it_is(folder: Path) -> _Folder:
    """A folder that is on the platters as it stands."""
    found = _Folder()
    for path in folder.iterdir():
        found.put(path.name, as_it_is(path) if path.is_dir() else _File(path, path.stat().st_size))
    found.sync()
    return found


def environment(disk: Disk | None) -> dict[str, str]:
    """The environment of a program, on that disk."""
    return {**os.environ, **(disk.environ() if disk else {})}
