"""Starting our own modules in processes of their own; how much memory a process holds, and what of it need not be."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ARENAS = 2
LARGE_BYTES = 512 << 10
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_HOME = str(Path(__file__).resolve().parent.parent)
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *words: str) -> list[str]:
    """The command that runs a module of ours, wherever it is installed.

    `python -m` would look into the current folder first, and take a stranger's json.py for Python's own.
    """
    return [sys.executable, "-P", "-c", _START, _HOME, module, *words]


def usable_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processor cores we may use at the same time: those that the machine has, less what is kept from us.

    A container's share of the processor is a quota of its control group, or of one above it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota_in(control_groups))))


def _quota_in(control_groups: Path) -> float:
    """Cores' worth of time that the control groups let us have; infinite where there is no limit, or none is known."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    ours = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folders = [control_groups / ours, *(control_groups / ours).parents]
    known = [_quota_of(folder) for folder in folders if folder.is_relative_to(control_groups)]
    return min(known, default=math.inf)


def _quota_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a living process has held; 0 where the system does not tell (Linux does).

    `getrusage` is no help: a child's peak begins with its parent's.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(kilobytes) * 1024 for _, kilobytes, _ in found), 0)


def share_arenas() -> None:
    """Let all threads take memory from two places, where the C library is glibc (elsewhere nothing is done).

    It would give each a place of its own, and what one has freed there is of no use to another. With a single one, the
    two threads of the merge wait for each other.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def map_large_pieces() -> None:
    """From now on let large pieces of memory come from the system and go back to it, where the C library is glibc.

    In the heap, small pieces that stay settle in the gaps that large ones leave, so that the next large ones find none.
    It costs the kernel's clearing of their pages, so it is not for what needs less memory than the merge.
    """
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 16 * LARGE_BYTES)


def let_go_of_code(process: Path = Path("/proc/self")) -> None:
    """Take the libraries' pages out of this process; those that it runs again come back from the system's cache.

    Loading a library touches most of it, and a step runs little. Left alone are pages that may be written, and
    mappings with a page of our own, which would be lost. Libraries stay where they are, whatever other threads do.
    """
    try:
        libraries = [line for line in (process / "maps").read_text().splitlines() if _is_library(line)]
        if not _has_ours.keys() >= set(libraries):
            _has_ours.update(_looked_up(process / "smaps"))
    except OSError:
        return
    for line in libraries:
        if not _has_ours.get(line, True):
            start, stop = (int(at, 16) for at in line.split(" ", 1)[0].split("-"))
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED
            )


_has_ours: dict[str, bool] = {}
"""Of each mapping of a library, as the kernel tells of it, whether a page of it is our own. As nobody may write there,
that stays so; and to look it up again before each step would cost the kernel a walk over all of our memory.
"""


def _is_library(mapping: str) -> bool:
    """Whether it is a library's, and may not be written: its addresses, "r-xp", offset, device, inode, path."""
    _, _, rest = mapping.partition(" ")
    return rest[1:2] == "-" and ".so" in rest


def _looked_up(smaps: Path) -> Iterator[tuple[str, bool]]:
    mapping = ""
    for line in smaps.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if not word.endswith(":"):
            mapping = line
        elif word == "Anonymous:" and _is_library(mapping):
            yield mapping, rest.split()[0] != "0"
