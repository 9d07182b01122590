"""The machine: the program's and Python's version, open files, disk, memory, the clock's zone."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pipeline import __version__
from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, fine, warned
from pipeline.errors import StorageError, UsageError
from pipeline.merge.records import library as records
from pipeline.normalize.kernel import library as kernel
from pipeline.plan import Plan
from pipeline.store.atomic import storage_errors

OPEN_FILES = 512
"""So many a night needs beside its connections: a part for each table, chunks that are merged, libraries."""
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def look_at_machine(case: Case) -> Iterator[Finding]:
    """Which program, which Python, on what; and whether it may open as many files as a night does."""
    python = f"Python {platform.python_version()} ({platform.machine()})"
    if sys.maxsize < 2**63 - 1 or sys.byteorder != "little":
        raise UsageError(
            f"{python} is no 64-bit little-endian one, as the night's files need it.",
            "Install a 64-bit Python 3.11 or newer.",
        )
    yield fine("machine", f"capillary-export {__version__}, {python}, {os.cpu_count()} cores")
    most, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], OPEN_FILES + case.config.quota.max_in_flight
    if most < needed:
        yield warned(
            "machine",
            f"{most:,} files may be open at once; a night may need {needed:,}.",
            f"Raise it: `ulimit -n {needed}`, or LimitNOFILE= in the systemd unit.",
        )
    yield from _without_libraries()


def _without_libraries() -> Iterator[Finding]:
    slower = {
        "Answers are normalized in Python, which takes several times as long as by": kernel.why_not(),
        "Tables are merged by numpy, which takes longer than by": records.why_not(),
    }
    for what, missing in slower.items():
        if missing:
            yield warned(
                "machine",
                f"{what} the C library: {missing}.",
                "Have a C compiler (gcc or clang) there and install the package again; `make setup` does.",
            )


def look_at_time_zone(case: Case) -> Iterator[Finding]:
    """By which clock the night has its date and the window its end."""
    local = case.now.astimezone(case.zone)
    if case.zone is not None:
        yield fine("time zone", f"{case.zone.key}: it is {local:%Y-%m-%d %H:%M} there")
        return
    told = f"this machine's ({local.tzname()}): it is {local:%Y-%m-%d %H:%M}"
    if case.config.window.until is not None and local.utcoffset() == timedelta(0):
        yield warned(
            "time zone",
            f"window.until is by the clock of this machine, which shows UTC ({local:%H:%M} now).",
            "Set window.timezone, such as Asia/Kolkata, if the window is meant in local time.",
        )
    else:
        yield fine("time zone", told)


def look_at_disk(case: Case) -> Iterator[Finding]:
    """Room for tonight, and for as many nights and snapshots as the config keeps."""
    plan = case.plan
    if plan is None:
        yield fine("disk", "not estimated: the list of IDs is not known")
        return
    tonight, kept = _needs(case, plan)
    for places, free, needed, in_the_end in _by_disk(case, tonight, kept):
        told = f"{_gb(free)} are free for {places}"
        if needed > free:
            raise StorageError(
                f"Tonight needs about {_gb(needed)} and {told}.",
                "Free some space, or lower work.keep_nights and output.keep_snapshots.",
            )
        if in_the_end > free:
            yield warned(
                "disk",
                f"Tonight fits ({_gb(needed)}; {told}), but with as many nights and snapshots as are kept "
                f"{_gb(in_the_end)} more are needed.",
                "Give it more room, or lower work.keep_nights and output.keep_snapshots before it is full.",
            )
        else:
            yield fine("disk", f"tonight needs about {_gb(needed)}, {told}")


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count < 1e10 else f"{count / 1e9:,.0f} GB"


def _needs(case: Case, plan: Plan) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bytes for work and output: of tonight, and of all that will be there once as much is kept as may be."""
    work = plan.asked * case.learned.night_bytes_per_id
    output = max(0.0, plan.disk_bytes - work)
    nights, snapshots = _there(case)
    later_nights = max(1, case.config.work.keep_nights + 1 - nights)
    later_snapshots = max(1, case.config.output.keep_snapshots + 1 - snapshots)
    return (work, output), (work * later_nights, output * later_snapshots)


def _there(case: Case) -> tuple[int, int]:
    """How many nights and snapshots lie there already."""
    folder = Path(case.config.output.url) / "snapshots"
    local = "://" not in case.config.output.url
    return len(case.workspace.nights()), len(list(folder.glob("*/manifest.json"))) if local else 0


def _by_disk(
    case: Case, tonight: tuple[float, float], kept: tuple[float, float]
) -> Iterator[tuple[str, float, float, float]]:
    """For each disk: which places are on it, bytes free, needed tonight, needed in the end."""
    places = [("work", _existing(case.config.work.path))]
    if "://" not in case.config.output.url:
        places.append(("output", _existing(Path(case.config.output.url))))
    disks: dict[int, list[int]] = defaultdict(list)
    for index, (_, path) in enumerate(places):
        with storage_errors("look at", path):
            disks[path.stat().st_dev].append(index)
    for indexes in disks.values():
        names = " and ".join(places[index][0] for index in indexes)
        free = shutil.disk_usage(places[indexes[0]][1]).free
        yield names, free, sum(tonight[index] for index in indexes), sum(kept[index] for index in indexes)


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def look_at_memory(case: Case) -> Iterator[Finding]:
    """What tonight's peak is going to be, against what this machine or its container has to give."""
    if case.plan is None:
        return
    needed, given = case.plan.memory_bytes, memory_given()
    if given is None:
        yield fine("memory", f"tonight needs about {needed / 1e6:,.0f} MB")
    elif needed > given:
        yield warned(
            "memory",
            f"Tonight's peak is about {needed / 1e6:,.0f} MB, and {given / 1e6:,.0f} MB are to be had.",
            "Give the machine or the container more, or stop what else runs on it: short of memory, the "
            "system kills the night. `run` would go on, and meet the same.",
        )
    else:
        yield fine(
            "memory", f"tonight needs about {needed / 1e6:,.0f} MB, {given / 1e6:,.0f} MB are to be had"
        )


def memory_given(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can be had: what the system calls available, the container's limit at the most. None: unknown."""
    found = [one for one in (_available(meminfo), _limit(cgroup)) if one is not None]
    return min(found, default=None)


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _limit(cgroup: Path) -> int | None:
    """The container's limit less what is used; version 2 of cgroups. `max` is no limit."""
    try:
        most = int((cgroup / "memory.max").read_text())
        return max(0, most - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):
        return None
