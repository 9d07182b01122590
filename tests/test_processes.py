"""What a process holds of its libraries, and what of it can be given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.processes import let_go_of_code


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
        ("r--p", "/work/ids.i64", 0),
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
