"""What a process holds of its libraries, and what of it can be given back."""

from __future__ import annotations

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
    maps = tmp_path / "smaps"
    let_go_of_code(maps)  # there is none on other systems than Linux
    told = [
        ("rw-p", "/lib/libx.so", 0),
        ("r--p", "/lib/libx.so", 4),
        ("r--p", "night/ids.i64", 0),
        ("r--p", "[vvar]", 0),
    ]
    array = np.arange(1 << 16)
    start = array.ctypes.data & ~4095
    maps.write_text(
        "".join(
            f"{start:x}-{start + 4096:x} {access} 00000000 fe:00 7 {path}\nAnonymous:  {anonymous} kB\n"
            for access, path, anonymous in told
        )
    )
    let_go_of_code(maps)
    assert (array == np.arange(1 << 16)).all()


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
