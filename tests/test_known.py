"""What is known across nights, through whole nights: counted once, made again from whatever is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.night import Options, Screen, publish_night, rebuild_night, run_night
from pipeline.night.known import knowledge_for
from pipeline.night.tonight import Night
from pipeline.outcome import Outcome
from pipeline.sandbox import known_ids
from pipeline.store.knowledge import DTYPES, Knowledge, read_applied, read_knowledge
from pipeline.store.ledger import CALLS, read_ledger
from pipeline.store.parts import read_part, write_part
from pipeline.store.workspace import NightState, Workspace
from tests import snapshot
from tests.conftest import Home

ONE, TWO, THREE, LATER = (date(2026, 11, day) for day in (21, 22, 23, 28))


def go(home: Home, night: date, **options: Any) -> None:
    run_night(home.config(), Options(night=night, **options), Screen())


def known(home: Home, night: date = LATER) -> Knowledge:
    """What the planner of that night would be told."""
    workspace = Workspace(home.work)
    state = NightState(night=night, started_at=f"{night}T20:00:00+00:00")
    folder = workspace.night(night)
    return knowledge_for(Night(home.config(), Options(night=night), Screen(), workspace, folder, state, -1))


def columns(knowledge: Knowledge, *without: str) -> dict[str, list[int]]:
    return {name: getattr(knowledge, name).tolist() for name in DTYPES if name not in without}


def files(home: Home) -> list[str]:
    return sorted(path.stem for path in (home.work / "known").iterdir())


def set_state(home: Home, night: date, **changes: Any) -> None:
    path = home.work / night.isoformat() / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def two_nights(home: Home) -> Home:
    """40 IDs in the first night, 20 of them and 10 others in the second."""
    ids = list(known_ids(50))
    home.write_ids(ids[:40])
    go(home, ONE)
    home.write_ids(ids[20:50])
    go(home, TWO)
    return home


def test_answers_are_counted_and_hashes_are_those_of_the_table(two_nights: Home) -> None:
    """Who was asked twice has two answers; the hash is the customers table's but for its lowest bit."""
    knowledge = known(two_nights)
    assert knowledge.customer_ids.tolist() == sorted(known_ids(50))
    hashes = {
        row["customer_id"]: int(row["body_hash"], 16) for row in snapshot.rows(two_nights.export, "customers")
    }
    for one, body, outcome in zip(
        knowledge.customer_ids, knowledge.body_hashes, knowledge.outcomes, strict=True
    ):
        assert int(body) == (
            hashes[int(one)] & ~1 | int(outcome == Outcome.PARTIAL) if int(one) in hashes else 0
        )
    twice = np.isin(knowledge.customer_ids, list(known_ids(50))[20:40])
    has_body = knowledge.body_hashes > 0
    assert (knowledge.answers[has_body & ~twice] == 1).all()
    assert (knowledge.answers[has_body & twice] >= 2).all()
    assert (knowledge.changes == 0).all()
    assert knowledge.next_dates.any()
    assert (knowledge.first_seen_at <= knowledge.seen_at).all()


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (True, 0),
        (False, 1),
        *[
            pytest.param(*one, marks=pytest.mark.long)
            for one in ((False, 0), (True, 1), (False, 2), (True, 2))
        ],
    ],
)
def test_lost_or_damaged_files_are_made_again(two_nights: Home, kept: int, damage: bool) -> None:
    """Without the newest files, or any, the journals tell the same."""
    before = columns(known(two_nights))
    for name in files(two_nights)[kept:]:
        path = two_nights.work / "known" / f"{name}.known"
        if damage:
            path.write_bytes(path.read_bytes()[:-9] + b"otherwise")
        else:
            path.unlink()
    assert columns(known(two_nights)) == before
    two_nights.write_ids(known_ids(2))
    go(two_nights, THREE)
    assert THREE.isoformat() in files(two_nights)
    assert len(known(two_nights).customer_ids) == 50


@pytest.mark.long
def test_a_night_counts_once_however_often_it_is_published(two_nights: Home) -> None:
    """Rebuilt, and published again with more answers: its answers count once, the new ones too."""
    before = columns(known(two_nights))
    rebuild_night(two_nights.config(), Options(night=TWO), Screen())
    assert columns(known(two_nights)) == before
    two_nights.write_ids(known_ids(53))
    go(two_nights, TWO)
    again = known(two_nights)
    assert set(known_ids(53)) == set(again.customer_ids.tolist())
    old = again.places_of(np.array(list(known_ids(20)), np.int64))[0]
    assert (again.answers[old] <= 2).all()
    applied = read_applied(two_nights.work / "known" / f"{TWO}.known")
    assert applied[TWO.isoformat()] == read_ledger(two_nights.work / TWO.isoformat() / "parts").records


@pytest.mark.long
def test_a_held_night_counts_when_it_is_published(home: Home) -> None:
    """Not before."""
    home.write_ids(known_ids(10))
    go(home, ONE)
    home.write_ids(known_ids(20))
    go(home, TWO, no_publish=True)
    assert len(known(home).customer_ids) == 10
    publish_night(home.config(), TWO, None, datetime.now(UTC))
    assert len(known(home).customer_ids) == 20


@pytest.mark.long
def test_a_night_taken_along_counts_with_the_one_that_took_it(home: Home) -> None:
    """Even one that was published once, and died when it went on: its calls are in the taker's journal."""
    home.write_ids(known_ids(10))
    go(home, ONE)
    home.write_ids(known_ids(20))
    go(home, ONE, no_publish=True)
    set_state(home, ONE, state="stopped")
    home.write_ids(known_ids(25))
    go(home, TWO)
    assert files(home) == [TWO.isoformat()]
    knowledge = known(home)
    assert len(knowledge.customer_ids) == 25
    told = read_ledger(home.work / TWO.isoformat() / "parts")
    assert knowledge.customer_ids.tolist() == told.customer_ids.tolist()
    full = knowledge.outcomes == Outcome.EXPORTED
    assert (knowledge.answers[full] <= told.verdicts[full]).all()


def test_what_no_journal_tells_comes_from_the_snapshot(two_nights: Home) -> None:
    """Files and folders lost: last seen, outcome and hash stay; how often it changed is forgotten."""
    before = known(two_nights)
    for name in ("known", ONE.isoformat(), TWO.isoformat()):
        shutil.rmtree(two_nights.work / name)
    after = known(two_nights)
    forgotten = ("answers", "changes", "first_seen_at", "next_dates")
    assert columns(after, *forgotten) == columns(before, *forgotten)
    assert (after.answers == (after.body_hashes > 0)).all()


@pytest.mark.long
def test_the_snapshot_tells_only_of_those_whom_the_journals_forgot(two_nights: Home) -> None:
    """The first night's folder is gone: its answers come from the snapshot, the second's count once."""
    before = known(two_nights)
    for name in ("known", ONE.isoformat()):
        shutil.rmtree(two_nights.work / name)
    after = known(two_nights)
    forgotten = ("answers", "first_seen_at", "next_dates")
    assert columns(after, *forgotten) == columns(before, *forgotten)
    tonight = read_ledger(two_nights.work / TWO.isoformat() / "parts").customer_ids
    old = ~np.isin(after.customer_ids, tonight)
    assert (after.answers[old] == (after.body_hashes[old] > 0)).all()


@pytest.mark.long
def test_the_next_night_finds_no_gap_after_the_snapshot_has_told(two_nights: Home) -> None:
    """The file that a night writes then knows the forgotten nights, and goes on counting."""
    for name in ("known", ONE.isoformat(), TWO.isoformat()):
        shutil.rmtree(two_nights.work / name)
    two_nights.write_ids(known_ids(5))
    go(two_nights, THREE)
    found = read_knowledge(two_nights.work / "known" / f"{THREE}.known")
    assert found.applied[ONE.isoformat()] == found.applied[TWO.isoformat()] == -1
    assert len(found.knowledge) == 50
    assert columns(known(two_nights)) == columns(found.knowledge)
    assert (found.knowledge.changes == 0).all()


@pytest.mark.long
def test_parts_of_an_older_version_are_read(two_nights: Home) -> None:
    """Without hashes and dates in `_calls` a night still tells who was seen when."""
    before = known(two_nights)
    shutil.rmtree(two_nights.work / "known")
    for path in two_nights.work.glob(f"*/parts/{CALLS}/*.part"):
        rows = pa.Table.from_batches(read_part(path))
        pq.write_table(rows.drop_columns(["body_hash", "next_date"]), path.with_suffix(".parquet"))
        path.unlink()
    after = known(two_nights)
    kept = ("customer_ids", "outcomes", "seen_at", "first_seen_at")
    assert {name: columns(after)[name] for name in kept} == {name: columns(before)[name] for name in kept}
    assert not after.answers.any()


@pytest.mark.long
def test_only_the_newest_files_stay(home: Home) -> None:
    """Three of them."""
    home.write_ids(known_ids(3))
    for day in (21, 22, 23, 24):
        go(home, date(2026, 11, day))
    assert files(home) == ["2026-11-22", "2026-11-23", "2026-11-24"]


def test_a_change_is_noticed(home: Home) -> None:
    """A customer whose answer differs on another day has changed."""
    home.write_ids(known_ids(30))
    go(home, ONE)
    for path in (home.work / "known").iterdir():
        path.unlink()
    parts = sorted((home.work / ONE.isoformat() / "parts" / CALLS).iterdir())
    table = pa.Table.from_batches(read_part(parts[0]))
    at = table.schema.get_field_index("body_hash")
    other = np.where(table["body_hash"].to_numpy() > 0, 12, 0).astype(np.uint64)
    write_part(parts[0], table.set_column(at, "body_hash", pa.chunked_array([other])))
    go(home, TWO)
    knowledge = known(home)
    assert (knowledge.changes == (knowledge.outcomes == Outcome.EXPORTED)).all()


def test_a_disk_that_takes_no_file_stops_no_night(home: Home) -> None:
    """Where the file cannot be written the night is published all the same, and the next one does without."""
    home.write_ids(known_ids(3))
    home.work.mkdir()
    (home.work / "known").write_text("in the way")
    go(home, ONE)
    assert snapshot.manifest(home.export)["night"] == ONE.isoformat()
    assert len(known(home).customer_ids) == 3


def test_identifiers_are_known_by_their_keys(home: Home, start_sandbox: Callable[..., Any]) -> None:
    """From the journal and from the snapshot alike, an ID is what was asked for."""
    home.settings["ids"]["identifier"] = "mobile"
    home.save()
    mobiles = _mobiles(home, 5)
    home.write_ids(mobiles)
    go(home, TWO)
    before = known(home)
    assert len(before) == 5
    assert (before.customer_ids < 0).all()
    for name in ("known", TWO.isoformat()):
        shutil.rmtree(home.work / name)
    after = known(home)
    assert set(before.customer_ids.tolist()) <= set(after.customer_ids.tolist())


def _mobiles(home: Home, count: int) -> list[str]:
    """Mobiles of the sandbox's customers."""
    home.settings["ids"].pop("identifier")
    home.save()
    home.write_ids(known_ids(20))
    go(home, ONE)
    home.settings["ids"]["identifier"] = "mobile"
    home.save()
    rows = snapshot.rows(home.export, "identifiers")
    shutil.rmtree(home.work)
    shutil.rmtree(home.export)
    return sorted({row["value"] for row in rows if row["type"] == "mobile"})[:count]


@pytest.mark.long
def test_a_missing_folder_is_made_private(two_nights: Home) -> None:
    """IDs are nobody's business but the owner's."""
    assert Path(two_nights.work / "known").stat().st_mode & 0o077 == 0
