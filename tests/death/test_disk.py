"""The faulty file layer itself, under a small program: does it do what the matrix believes?"""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.death.conftest import needs_compiler
from tests.death.disk import Disk, Loss, Mode, Platters, environment

pytestmark = needs_compiler


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A folder with one old file in it, under the file layer."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    return Disk(folder, tmp_path / "beside")


def execute(disk: Disk, code: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python in the folder."""
    helpers = "import os\ndef sync(n):\n d = os.open(n, 0); os.fsync(d); os.close(d)\n"
    return subprocess.run(
        [sys.executable, "-c", helpers + code],
        cwd=disk.below,
        env=environment(disk),
        capture_output=True,
        text=True,
        start_new_session=True,
    )


def after(disk: Disk, loss: Loss) -> dict[str, bytes]:
    """What a power loss leaves."""
    Platters(disk).lose_power(loss, random.Random(1))
    return {
        path.relative_to(disk.below).as_posix(): path.read_bytes() for path in disk.below.rglob("*.*")
    } | {path.name: path.read_bytes() for path in disk.below.iterdir() if path.is_file()}


WRITE = "open('new', 'wb').write(b'new')\n"


@pytest.mark.parametrize(
    ("code", "loss", "left"),
    [
        (WRITE, Loss.NAMES, {"old": b"old"}),
        (WRITE, Loss.BYTES, {"old": b"old", "new": b""}),
        (WRITE, Loss.ZEROS, {"old": b"old", "new": bytes(3)}),
        (WRITE + "sync('new')", Loss.NAMES, {"old": b"old"}),
        (WRITE + "sync('new'); sync('.')", Loss.NAMES, {"old": b"old", "new": b"new"}),
        (WRITE + "sync('.')", Loss.NAMES, {"old": b"old", "new": b""}),
        (WRITE + "sync('new'); os.rename('new', 'old')", Loss.NAMES, {"old": b"old"}),
        (WRITE + "sync('new'); os.rename('new', 'old')", Loss.BYTES, {"old": b"new"}),
        (WRITE + "sync('new'); os.rename('new', 'old'); sync('.')", Loss.NAMES, {"old": b"new"}),
        (WRITE + "os.rename('new', 'old')", Loss.BYTES, {"old": b""}),
        ("os.unlink('old')", Loss.NAMES, {"old": b"old"}),
        ("os.unlink('old')", Loss.BYTES, {}),
        ("os.unlink('old'); sync('.')", Loss.NAMES, {}),
        ("open('old', 'ab').write(b'er')", Loss.BYTES, {"old": b"old"}),
        ("open('old', 'ab').write(b'er'); sync('old')", Loss.NAMES, {"old": b"older"}),
        ("os.mkdir('a'); open('a/b.c', 'w'); sync('a')", Loss.NAMES, {"old": b"old"}),
        (
            "os.mkdir('a'); open('a/b.c', 'w'); sync('a'); sync('.')",
            Loss.NAMES,
            {"old": b"old", "a/b.c": b""},
        ),
        ("os.mkdir('a'); os.rename('old', 'a/b.c'); sync('a'); sync('.')", Loss.NAMES, {"a/b.c": b"old"}),
        ("os.link('old', 'new'); os.unlink('old'); sync('.')", Loss.NAMES, {"new": b"old"}),
    ],
)
def test_a_power_loss_leaves_what_was_synced(
    disk: Disk, code: str, loss: Loss, left: dict[str, bytes]
) -> None:
    """Names by their folder's sync, bytes by their file's."""
    done = execute(disk, code)
    assert done.returncode == 0, done.stderr
    assert after(disk, loss) == left


@pytest.mark.parametrize(
    ("mode", "said"),
    [(Mode.FAIL_ONCE, "failed 0 0"), (Mode.FAIL_FROM, "failed 1 1"), (Mode.SHORT_ALWAYS, "done 0 0")],
)
def test_operations_fail_from_the_one_that_is_struck(disk: Disk, mode: Mode, said: str) -> None:
    """Once or for good; a short write is no failure to a program that goes on writing."""
    disk.strike(mode, 2, errno.EIO)  # the file's creation is the first
    code = """
def tries(act):
    try:
        act()
    except OSError as exc:
        assert exc.errno == 5
        return 1
    return 0
def write():
    with open('new', 'wb', buffering=1 << 20) as file:
        file.write(bytes(100))
first = "failed" if tries(write) else "done"
print(first, tries(lambda: os.mkdir('a')), tries(lambda: os.rename('old', 'older')))
"""
    done = execute(disk, code)
    assert done.stdout.strip() == said, done.stderr
    assert (mode is Mode.SHORT_ALWAYS) == (len((disk.below / "new").read_bytes()) == 100)


@pytest.mark.parametrize(("mode", "bytes_left"), [(Mode.KILL, 0), (Mode.TEAR, 50)])
def test_the_whole_group_dies_at_the_operation(disk: Disk, mode: Mode, bytes_left: int) -> None:
    """Before it, or after half of a write; helpers die too."""
    disk.strike(mode, 2)
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "os.write(os.open('new', os.O_CREAT | os.O_WRONLY), bytes(100))\n"
    )
    assert execute(disk, code).returncode == -signal.SIGKILL
    assert len((disk.below / "new").read_bytes()) == bytes_left
    assert disk.struck == 1


@pytest.mark.parametrize(
    "write",
    [
        "pa.OSFile('new', 'wb').write(bytes(100))",
        "import pyarrow.parquet as pq; pq.write_table(pa.table({'a': [1]}), 'new')",
        "from pathlib import Path; Path('new').write_bytes(bytes(100))",
        "import shutil; shutil.copyfile('old', 'new')",
    ],
)
def test_no_way_of_writing_gets_past_it(disk: Disk, write: str) -> None:
    """Arrow's C++ and Python's shortcuts write through the same door."""
    execute(disk, f"import pyarrow as pa\n{write}")
    kinds = [event.kind for event in disk.events() if event.path == str(disk.below / "new")]
    assert kinds[0] == "Create"
    assert "write" in kinds


def test_the_clock_is_the_tests(disk: Disk) -> None:
    """Python's clocks of the day follow; the monotonic one does not."""
    disk.set_clock(86_400.0 * 365)
    done = execute(disk, "import time, datetime; print(datetime.datetime.now().year, time.monotonic() < 1e9)")
    import datetime

    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)
    assert done.stdout.split() == [str(ahead.year), "True"]
