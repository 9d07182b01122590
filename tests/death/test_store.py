"""The doors to the disk, killed at every single operation and robbed of their power: each keeps its promise."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store.journal import read_chunk, recover
from tests.death.conftest import needs_compiler
from tests.death.disk import Disk, Loss, Mode, Platters, environment
from tests.death.nights import ROOT

pytestmark = needs_compiler

HELPERS = """
import sys
from pathlib import Path
from pipeline.store.atomic import make_folder, write_atomically
from pipeline.store.journal import ChunkWriter, Record, pack_record, recover
from pipeline.store.folder import LocalFolder
def record(number):
    return pack_record(Record(number, 0, 0, 0, 0, 1, 1, 200, 1, b"", b"x" * 100))
here = Path(sys.argv[1])
"""
JOURNAL = """
recover(here)
with ChunkWriter(here, int(sys.argv[2]), {}) as writer:
    for number in range(4):
        writer.append(record(number), 1)
        print(number, flush=True)
    writer.seal()
"""
REPLACE = """
write_atomically(here / "current.json", sys.argv[2].encode())
print(sys.argv[2], flush=True)
"""


def execute(disk: Disk, code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a few lines that use the store, under the file layer."""
    return subprocess.run(
        [sys.executable, "-c", HELPERS + code, str(disk.below), *map(str, words)],
        cwd=ROOT,
        env=environment(disk),
        capture_output=True,
        text=True,
        start_new_session=True,
    )


def a_disk(root: Path) -> Disk:
    folder = root / "folder"
    folder.mkdir(parents=True)
    return Disk(folder, root / "beside")


def operations(root: Path, code: str, *words: object) -> int:
    """How many operations these lines are."""
    disk = a_disk(root)
    done = execute(disk, code, *words)
    assert done.returncode == 0, done.stderr
    return disk.operations


LOSSES = [None, *Loss]


@pytest.mark.timeout(240)
def test_a_journal_killed_at_any_operation_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """Whatever the power loss takes: every record whose append had returned is read back, in order, once."""
    last = operations(tmp_path / "quiet", JOURNAL, 0)
    assert last >= 12
    for at in range(1, last + 1):
        disk = a_disk(tmp_path / f"at-{at}")
        disk.strike(Mode.TEAR if at % 2 else Mode.KILL, at)
        acknowledged = [int(line) for line in execute(disk, JOURNAL, 0).stdout.split()]
        loss = LOSSES[at % len(LOSSES)]
        if loss:
            Platters(disk).lose_power(loss, random.Random(at))
        recover(disk.below)
        chunks = sorted(disk.below.glob("*.sealed"))
        found = [record.customer_id for path in chunks for record in read_chunk(path)]
        assert found == list(range(len(found))), (at, loss)
        assert len(found) >= len(acknowledged), (at, loss)


def test_a_file_replaced_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """At any operation, whatever the power loss takes; the new one from the moment that the write returned."""
    last = operations(tmp_path / "quiet", REPLACE, "new")
    for at in range(1, last + 2):
        for loss in Loss:
            disk = a_disk(tmp_path / f"at-{at}-{loss.name}")
            (disk.below / "current.json").write_text("old")
            disk.begin_anew()
            disk.strike(Mode.KILL, at)
            returned = execute(disk, REPLACE, "new").stdout.split()
            Platters(disk).lose_power(loss, random.Random(at))
            assert (disk.below / "current.json").read_text() in (["new"] if returned else ["old", "new"])


def test_a_folder_that_a_death_left_unsynced_is_synced_by_the_next(tmp_path: Path) -> None:
    """Else a power loss would take it, with everything that was synced inside."""
    disk = a_disk(tmp_path)
    disk.strike(Mode.KILL, 2)
    execute(disk, "make_folder(here / 'parts')")
    assert (disk.below / "parts").exists()
    disk.strike(Mode.OBSERVE)
    code = "make_folder(here / 'parts'); write_atomically(here / 'parts' / 'loyalty' / 'a.b', b'whole')"
    assert execute(disk, code).returncode == 0
    Platters(disk).lose_power(Loss.NAMES, random.Random(1))
    assert (disk.below / "parts" / "loyalty" / "a.b").read_bytes() == b"whole"


def test_a_removed_snapshot_is_never_half_a_snapshot(tmp_path: Path) -> None:
    """At any operation and power loss: while there is a manifest, its files are there."""
    prepare = "for n in 'ab': write_atomically(here / 's' / n / 'f.x', b'x')\n"
    prepare += "write_atomically(here / 's' / 'manifest.json', b'm')\n"
    remove = "LocalFolder(here).remove('s', 'manifest.json')"
    last = operations(tmp_path / "quiet", prepare + remove) - operations(tmp_path / "first", prepare)
    for at in range(1, last + 1):
        for loss in (Loss.NAMES, Loss.SOME):
            disk = a_disk(tmp_path / f"at-{at}-{loss.name}")
            execute(disk, prepare)
            disk.begin_anew()
            disk.strike(Mode.KILL, at)
            execute(disk, remove)
            Platters(disk).lose_power(loss, random.Random(at))
            if (disk.below / "s" / "manifest.json").exists():
                assert [(disk.below / "s" / n / "f.x").exists() for n in "ab"] == [True, True], (at, loss)
