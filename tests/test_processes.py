"""What a process holds of its libraries, and what of it can be given back."""

from __future__ import annotations

import mmap
import operator
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.processes import LARGE_BYTES, let_go_of_code


def resident_files() -> int:
    """What of this process's memory are files' pages, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssFile")) << 10


def test_libraries_go_and_come_back() -> None:
    """Loading them touched most of their pages; given back, they are there again for who calls them, all the same."""
    numbers = pa.array(np.arange(1000))
    before, texts = resident_files(), numbers.cast(pa.string())
    let_go_of_code()
    assert resident_files() < before / 2
    assert numbers.cast(pa.string()).equals(texts)
    assert np.linalg.inv(np.eye(3)).trace() == 3.0


def test_what_was_written_to_stays(tmp_path: Path) -> None:
    """A mapping that may be written, or has a page of our own, or is no library, is left alone; also an odd list."""
    let_go_of_code(tmp_path)  # there is none on other systems than Linux
    array = np.arange(1 << 16)
    start = array.ctypes.data & ~4095
    mapped_at(tmp_path, start, [
        ("rw-p", "/lib/libx.so", 0),
        ("r--p", "/lib/libx.so", 4),
        ("r--p", "night/ids.i64", 0),
        ("r--p", "[vvar]", 0),
    ])  # fmt: skip
    let_go_of_code(tmp_path)
    assert (array == np.arange(1 << 16)).all()


def test_what_is_known_of_a_mapping_is_not_looked_up_again(tmp_path: Path) -> None:
    """The kernel would walk over all memory to tell it; of a library that is loaded later it is."""
    memory = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = np.frombuffer(memory, np.uint8).ctypes.data
    for path in ("/lib/libx.so", "/lib/liby.so"):
        mapped_at(tmp_path, start, [("r-xp", path, 0)])
        let_go_of_code(tmp_path)
        (tmp_path / "smaps").unlink()
        memory[:3] = b"who"
        let_go_of_code(tmp_path)
        assert memory[:3] == bytes(3)


def mapped_at(process: Path, start: int, told: list[tuple[str, str, int]]) -> None:
    """Lists of mappings as Linux writes them: (access, path, how many kB are of our own)."""
    lines = [f"{start:x}-{start + 4096:x} {access} 00000000 fe:00 7 {path}\n" for access, path, _ in told]
    counts = [f"Rss:  4 kB\nAnonymous:  {anonymous} kB\n" for _, _, anonymous in told]
    (process / "maps").write_text("".join(lines))
    (process / "smaps").write_text("".join(map(operator.add, lines, counts)))


ARENAS = """
import ctypes, sys
from threading import Barrier, Thread
from pipeline.processes import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
libc, at_once = ctypes.CDLL(None), Barrier(4)
libc.malloc.restype = ctypes.c_void_p

def take() -> None:
    at_once.wait()
    assert libc.malloc(ctypes.c_size_t(1000))

threads = [Thread(target=take) for _ in range(4)]
[one.start() for one in threads]
[one.join() for one in threads]
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
def test_threads_take_their_memory_from_few_places() -> None:
    """As glibc itself tells; without our asking for it, each thread has an arena of its own."""

    def arenas(how: str) -> int:
        told = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, check=True, text=True)
        return told.stdout.count("<heap nr=")

    assert arenas("shared") <= 2
    assert arenas("as it is") > 2


GAPS = """
import ctypes, sys
from pathlib import Path
from pipeline.processes import LARGE_BYTES, map_large_pieces

if sys.argv[1] == "mapped":
    map_large_pieces()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(30 << 20))))  # glibc takes pieces of any size for usual then

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
for _ in range(40):
    large = libc.malloc(ctypes.c_size_t(2 * LARGE_BYTES))
    ctypes.memset(ctypes.c_void_p(large), 1, 2 * LARGE_BYTES)
    small = libc.malloc(ctypes.c_size_t(1000))  # stays
    libc.free(ctypes.c_void_p(large))
    libc.malloc(ctypes.c_size_t(1000))
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other ways")
def test_small_pieces_that_stay_keep_no_large_ones() -> None:
    """Each large piece is followed by small ones that stay, and freed: the memory goes back to the system."""

    def kept(how: str) -> int:
        told = subprocess.run([sys.executable, "-c", GAPS, how], capture_output=True, check=True, text=True)
        return int(told.stdout)

    assert kept("mapped") < LARGE_BYTES < kept("as it is")
