"""Sealed chunks that rot: told with path and remedy by `rebuild`, and the remedy works as told."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import JournalError
from pipeline.fetch import handoff
from pipeline.night import Options, Screen, rebuild_night, run_night
from pipeline.normalize import scribe
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.journal import read_chunk, sealed_chunks
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.death.nights import FIRST, ROOT

CUSTOMERS = 60
OPTIONS = Options(night=FIRST)


@pytest.fixture
def done(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A published night of several chunks."""
    monkeypatch.setattr(scribe, "CHUNK_RECORDS", 12)
    monkeypatch.setattr(handoff, "FRAME_RECORDS", 6)  # a chunk is sealed behind a frame
    home.settings["api"] |= {"embed": ["segments"], "params": {}}
    home.settings["quota"]["max_in_flight"] = 2
    home.write_ids(known_ids(CUSTOMERS))
    home.save()
    assert run_night(home.config(), OPTIONS, Screen()).live
    return home


def chunks(home: Home) -> list[Path]:
    return sealed_chunks(home.work / FIRST.isoformat() / "journal")


def rot(path: Path, rng: random.Random) -> None:
    """One bit flips, or the end is gone."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[: rng.randrange(len(data))])


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6)]])
def test_a_rotten_chunk_is_told_and_moving_it_away_asks_for_its_ids_again(
    done: Home, sandbox: Sandbox, seed: int
) -> None:
    """The message names the chunk; readers keep the last snapshot; afterwards only that chunk's IDs are asked."""
    tables, rng = snapshot.all_rows(done.export), random.Random(seed)
    rotten = rng.choice(chunks(done))
    asked = {record.customer_id for record in read_chunk(rotten)}
    assert len(chunks(done)) > 1
    rot(rotten, rng)
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            rebuild_night(done.config(), OPTIONS, Screen())
        assert str(rotten) in caught.value.message
        assert "move it away" in caught.value.hint
        assert snapshot.all_rows(done.export) == tables
    rotten.rename(done.root / "rotten")
    calls = calls_seen(sandbox)
    assert run_night(done.config(), OPTIONS, Screen()).live
    assert len(asked) <= calls_seen(sandbox) - calls <= 2 * len(asked)
    assert snapshot.all_rows(done.export) == tables


def test_a_chunk_moved_away_takes_its_parts_along(done: Home, sandbox: Sandbox) -> None:
    """Also without a rebuild, and when its number is given to a new one: no row of it is left."""
    tables, last = snapshot.all_rows(done.export), chunks(done)[-1]
    asked = {record.customer_id for record in read_chunk(last)}
    last.rename(done.root / "moved")
    calls = calls_seen(sandbox)
    assert run_night(done.config(), OPTIONS, Screen()).live
    assert calls_seen(sandbox) - calls >= len(asked)
    assert chunks(done)[-1].name == last.name
    assert snapshot.all_rows(done.export) == tables


def test_the_command_line_tells_it_with_exit_code_7(done: Home) -> None:
    """Path and remedy on stderr, no traceback; `status` and the tables are as before."""
    tables, rotten = snapshot.all_rows(done.export), chunks(done)[0]
    rotten.write_bytes(rotten.read_bytes()[:-3])
    said = command(done, "rebuild", "--night", FIRST.isoformat())
    assert said.returncode == 7
    assert str(rotten) in said.stderr
    assert "move it away" in said.stderr
    assert "Traceback" not in said.stderr
    assert snapshot.all_rows(done.export) == tables
    (night,) = json.loads(command(done, "status", "--json").stdout)["nights"]
    assert night["state"] == "published"


def command(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    name, *more = words
    return subprocess.run(
        [sys.executable, "-m", "pipeline", name, str(home.config_path), *more],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
