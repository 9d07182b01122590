"""A whole night, end to end, against a real server: what it promises to whoever reads the tables."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import HeldError, RefusedError, StoppedError, StorageError, UsageError
from pipeline.night import Options, Result, Screen, plan_night, publish_night, rebuild_night, run_night
from pipeline.publish import roll_back
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.parts import part_paths, read_part
from pipeline.store.snapshots import Snapshots
from tests import snapshot
from tests.conftest import Home, calls_seen

NASTY = "500=2%, 502-html=1%, cut=1%, reset=1%, invalid-json=1%, other-id=1%, empty-200=1%, 461-body=1%"
ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)


def go(home: Home, night: date = ONE, **options: Any) -> Result:
    return run_night(home.config(), Options(night=night, **options), Screen())


def test_every_id_ends_in_one_outcome_and_the_sums_balance(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Rows read, distinct IDs, outcomes and table rows agree, under faults, repeats and rejects."""
    sandbox = start_sandbox(faults=NASTY)
    home.settings["api"]["host"] = sandbox.url
    home.settings["ids"]["max_rejected_share"] = 0.5
    home.save()
    strangers = [900_000_001, 900_000_008]
    home.write_ids([*known_ids(300), *strangers, *known_ids(20), "3.87E+08", "", "../x"])
    result = go(home)
    found = snapshot.manifest(home.export)
    assert result.live
    assert found["ids"] == {"read": 324, "distinct": 302, "repeated": 20, "rejected": 2, "carried": 0}
    assert sum(found["outcomes"].values()) == 302
    tonight = [row for row in snapshot.rows(home.export, "outcomes") if row["_night"] == ONE]
    assert Counter(row["outcome"] for row in tonight) == {k: v for k, v in found["outcomes"].items() if v}
    assert found["outcomes"]["absent"] >= 2
    assert found["calls"]["made"] == calls_seen(sandbox)
    assert all(check["passed"] for check in found["checks"])


def test_each_table_has_the_rows_its_manifest_says(home: Home) -> None:
    """Row counts, checksums and sizes in the manifest are those of the files."""
    go(home)
    for name, about in snapshot.manifest(home.export)["tables"].items():
        assert snapshot.table(home.export, name).num_rows == about["rows"]


def test_rejected_rows_are_told_with_file_line_and_reason(home: Home) -> None:
    """What is no ID is found again in `rejected_ids`."""
    home.settings["ids"]["max_rejected_share"] = 0.5
    home.save()
    home.write_ids([*known_ids(3), "3.87E+08"])
    go(home)
    (row,) = snapshot.rows(home.export, "rejected_ids")
    assert (row["file"], row["line"], row["raw"]) == ("ids.csv", 5, "3.87E+08")
    assert "scientific notation" in row["reason"]


def test_a_finished_night_says_so_and_asks_nobody(home: Home, sandbox: Sandbox) -> None:
    """A second `run` makes no call for answered IDs and publishes nothing new."""
    home.write_ids(known_ids(20))
    first = go(home)
    calls = calls_seen(sandbox)
    second = go(home)
    assert first.manifest is not None
    assert second.unchanged
    assert calls_seen(sandbox) == calls
    assert snapshot.manifest(home.export)["snapshot"] == first.manifest.snapshot


def test_new_ids_in_the_csv_are_asked_and_published_again(home: Home, sandbox: Sandbox) -> None:
    """A finished night takes IDs that were added since, and asks only for those."""
    home.write_ids(known_ids(20))
    go(home)
    calls = calls_seen(sandbox)
    home.write_ids(known_ids(25))
    assert go(home).live
    assert calls_seen(sandbox) - calls <= 6
    assert snapshot.manifest(home.export)["ids"]["distinct"] == 25


def test_limit_defers_the_rest_and_the_next_run_asks_for_it(home: Home) -> None:
    """`--limit` asks for so many and no more; the deferred are in `outcomes`, and due."""
    home.write_ids(known_ids(30))
    go(home, limit=10)
    assert snapshot.manifest(home.export)["outcomes"]["deferred"] == 20
    go(home)
    found = snapshot.manifest(home.export)
    assert found["outcomes"]["deferred"] == 0
    assert sum(found["outcomes"].values()) == 30


def test_the_second_night_replaces_whom_it_saw_and_keeps_the_others(home: Home) -> None:
    """A snapshot is the last one plus tonight; each row says when it was fetched."""
    home.write_ids(known_ids(40))
    go(home, ONE)
    home.write_ids(known_ids(10))
    go(home, TWO)
    nights = Counter(row["_night"] for row in snapshot.rows(home.export, "customers"))
    assert nights[TWO] > 0
    assert nights[ONE] > nights[TWO]
    ids = [row["customer_id"] for row in snapshot.rows(home.export, "customers")]
    assert ids == sorted(set(ids))


def test_ids_not_reached_last_night_come_first_tonight(home: Home) -> None:
    """New and longest unseen customers are asked before those seen last night."""
    home.write_ids(known_ids(40))
    go(home, ONE, limit=20)
    go(home, TWO, limit=20)
    outcomes = snapshot.rows(home.export, "outcomes")
    asked_tonight = {row["customer_id"] for row in outcomes if row["outcome"] != "deferred"}
    assert asked_tonight == set(list(known_ids(40))[20:])


def test_every_table_is_sorted_and_typed_the_same_every_night(home: Home) -> None:
    """Same columns, types and order in each night's files, whatever the night brought."""
    home.write_ids(known_ids(30))
    go(home, ONE)
    before = {
        name: snapshot.table(home.export, name).schema for name in snapshot.manifest(home.export)["tables"]
    }
    home.write_ids([900_000_001])
    go(home, TWO)
    for name, schema in before.items():
        assert snapshot.table(home.export, name).schema.equals(schema)


def test_a_night_that_died_is_taken_along_by_the_next(home: Home, sandbox: Sandbox) -> None:
    """Answers of an unpublished night are published by the next one and not paid for twice."""
    home.write_ids(known_ids(30))
    go(home, ONE, limit=12, no_publish=True)
    state_path = home.work / ONE.isoformat() / "state.json"
    state = json.loads(state_path.read_text())
    state_path.write_text(json.dumps({**state, "state": "stopped"}))
    calls = calls_seen(sandbox)
    go(home, TWO)
    assert calls_seen(sandbox) - calls <= 18 + 2
    found = snapshot.manifest(home.export)
    assert sum(found["outcomes"].values()) == 30
    assert found["outcomes"]["deferred"] == 0


@pytest.mark.long
def test_answers_older_than_fresh_for_are_asked_again(home: Home, sandbox: Sandbox) -> None:
    """A dead night's answers are taken along, but an ID is asked again when its answer is stale."""
    home.write_ids(known_ids(10))
    go(home, ONE, no_publish=True)
    state_path = home.work / ONE.isoformat() / "state.json"
    state_path.write_text(json.dumps({**json.loads(state_path.read_text()), "state": "stopped"}))
    calls = calls_seen(sandbox)
    later = datetime.now(UTC) + timedelta(hours=20)
    go(home, TWO, now=lambda: later)
    assert calls_seen(sandbox) - calls >= 10


def test_rebuild_makes_the_same_tables_without_a_call(home: Home, sandbox: Sandbox) -> None:
    """Tables are a function of the journal: made again, file by file the same bytes."""
    home.write_ids(known_ids(60))
    go(home)
    before = snapshot.manifest(home.export)["tables"]
    calls = calls_seen(sandbox)
    rebuild_night(home.config(), Options(night=ONE), Screen())
    assert snapshot.manifest(home.export)["tables"] == before
    assert calls_seen(sandbox) == calls


def test_a_night_goes_on_upon_the_parts_of_an_older_version(home: Home) -> None:
    """Those were Parquet: no answer is lost or there twice, nobody stays deferred, and a rebuild replaces them."""
    home.write_ids(known_ids(60))
    go(home, limit=20)
    parts = home.work / ONE.isoformat() / "parts"
    for path in part_paths(parts):
        if batches := list(read_part(path)):
            rows = pa.Table.from_batches(batches)
            pq.write_table(rows, path.with_suffix(".parquet"), store_schema=False)
        path.unlink()
    assert (parts / "outcomes" / "deferred.parquet").exists()
    assert go(home).live
    found = snapshot.manifest(home.export)
    assert sum(found["outcomes"].values()) == found["tables"]["outcomes"]["rows"] == 60
    assert not found["outcomes"]["deferred"]
    rebuild_night(home.config(), Options(night=ONE), Screen())
    assert snapshot.manifest(home.export)["tables"] == found["tables"]
    assert {path.suffix for path in part_paths(parts)} == {".part"}


def test_rebuilding_some_tables_leaves_the_others_as_they_are(home: Home) -> None:
    """`--tables` makes these again; the snapshot still has them all, and none of them lost a row."""
    home.write_ids(known_ids(40))
    go(home)
    before = snapshot.manifest(home.export)["tables"]
    rebuild_night(home.config(), Options(night=ONE, only=frozenset({"profiles"})), Screen())
    assert snapshot.manifest(home.export)["tables"] == before


@pytest.mark.long
def test_rebuilding_an_older_night_leaves_the_newer_one_live(home: Home) -> None:
    """Only `publish` moves the pointer back, and says that it does."""
    home.write_ids(known_ids(10))
    go(home, ONE)
    go(home, TWO)
    live = snapshot.manifest(home.export)["snapshot"]
    result = rebuild_night(home.config(), Options(night=ONE), Screen())
    assert result.manifest is not None
    assert not result.live
    assert snapshot.manifest(home.export)["snapshot"] == live


def test_an_older_night_never_takes_the_place_of_a_newer_one(home: Home) -> None:
    """`run --night` of the past makes its snapshot and holds it."""
    home.write_ids(known_ids(10))
    go(home, TWO)
    held = go(home, ONE)
    assert held.held is not None
    assert "no newer night is live" in held.held.message
    assert snapshot.manifest(home.export)["night"] == TWO.isoformat()


def test_another_export_folder_gets_the_finished_night_too(home: Home) -> None:
    """Nothing to ask is not nothing to do: a new output, or more tables, are made from the journal."""
    home.write_ids(known_ids(10))
    go(home)
    home.settings["output"] = {"url": "elsewhere", "tables": ["customers", "loyalty"]}
    home.save()
    assert go(home).manifest is not None
    assert "profiles" not in snapshot.manifest(home.root / "elsewhere")["tables"]
    home.settings["output"] = {"url": "elsewhere"}
    home.save()
    assert go(home).manifest is not None
    assert snapshot.table(home.root / "elsewhere", "profiles").num_rows > 0
    assert snapshot.rows(home.root / "elsewhere", "unknown_fields") == snapshot.rows(
        home.export, "unknown_fields"
    )


def test_a_rolled_back_night_is_not_published_again_by_itself(home: Home) -> None:
    """What an operator took back stays back until `publish`."""
    home.write_ids(known_ids(10))
    go(home, ONE)
    first = snapshot.manifest(home.export)["snapshot"]
    go(home, TWO)
    roll_back(Snapshots(home.export), None, datetime.now(UTC))
    again = go(home, TWO)
    assert again.unchanged
    assert not again.live
    assert snapshot.manifest(home.export)["snapshot"] == first


def test_a_stray_401_among_answers_does_not_end_the_night(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """One refusal is asked once more when others are answered with the same credentials."""
    home.settings["api"]["host"] = start_sandbox(faults="401-xml=4% from call 20").url
    home.save()
    home.write_ids(known_ids(200))
    assert go(home).live


def test_status_knows_why_a_night_was_refused(home: Home) -> None:
    """The state says stopped, and the reason, whatever ended the night."""
    (home.root / "password").write_text("wrong")
    with pytest.raises(RefusedError):
        go(home)
    state = json.loads((home.work / ONE.isoformat() / "state.json").read_text())
    assert state["state"] == "stopped"
    assert "credentials" in state["reason"]


def test_no_publish_leaves_readers_where_they_were(home: Home) -> None:
    """`--no-publish` makes the snapshot; `publish` then swings the pointer."""
    home.write_ids(known_ids(5))
    result = go(home, no_publish=True)
    assert not (home.export / "current.json").exists()
    publish_night(home.config(), ONE, None, datetime.now(UTC))
    assert result.manifest is not None
    assert snapshot.manifest(home.export)["snapshot"] == result.manifest.snapshot


def test_a_days_budget_survives_a_restart(home: Home, sandbox: Sandbox) -> None:
    """What an earlier start spent is read from the journal: both together keep the limit."""
    home.settings["quota"]["limits"] = [{"calls": 40, "per_s": "1d"}]
    home.settings["window"] = {"timezone": "UTC"}
    home.save()
    home.write_ids(known_ids(70))
    go(home, limit=25)
    soon = (datetime.now(UTC) + timedelta(seconds=3)).time()
    result = go(home, until=soon)
    assert result.plan is not None
    assert result.plan.fits == 40 - 25 - snapshot_repeats(home)
    assert 38 <= calls_seen(sandbox) <= 40


def snapshot_repeats(home: Home) -> int:
    """Calls that the first start spent beyond one an ID: partial answers, asked once more."""
    first = sorted((home.export / "snapshots").iterdir())[0]
    calls = json.loads((first / "manifest.json").read_text())["calls"]["made"]
    return int(calls) - 25


def test_plan_calls_nobody_and_says_what_fits(home: Home, sandbox: Sandbox) -> None:
    """`plan` reads the CSV, not the API."""
    home.write_ids(known_ids(100))
    home.settings["quota"]["limits"] = [{"calls": 60, "per_s": 60}]
    home.settings["window"] = {"until": "00:01", "timezone": "UTC"}
    home.save()
    start = datetime(2026, 11, 21, 0, 0, 0, tzinfo=UTC)
    plan = plan_night(home.config(), Options(night=ONE, now=lambda: start))
    assert (plan.ids, plan.due, plan.fits, plan.deferred) == (100, 100, 60, 40)
    assert calls_seen(sandbox) == 0


def test_drift_holds_the_night_where_the_config_says_so(home: Home) -> None:
    """`output.drift: {table: fail}`: an unknown key is kept, told, and holds the snapshot."""
    home.settings["output"] = {"drift": {"associated_images": "fail", "loyalty": "fail"}}
    home.save()
    result = go(home)
    assert result.held is not None
    assert "no drift in associated_images" in result.held.message
    assert not (home.export / "current.json").exists()
    assert result.manifest is not None
    passed = {check.name: check.passed for check in result.manifest.checks}
    assert passed["no drift in loyalty"]
    home.settings["output"] = {"drift": {"associated_images": "keep"}}
    home.save()
    assert go(home).live


# Mistakes of the user's and the world's


def test_a_wrong_password_stops_at_once(home: Home) -> None:
    """401 ends the night with its own exit code, and nothing is published."""
    (home.root / "password").write_text("wrong")
    with pytest.raises(RefusedError, match="credentials"):
        go(home)
    assert not (home.export / "current.json").exists()


def test_a_host_that_is_down_stops_the_night_and_loses_nothing(home: Home) -> None:
    """No connection at all: told in plain words; `run` goes on when the host is back."""
    up = home.settings["api"]["host"]
    home.settings["api"]["host"] = "http://127.0.0.1:9"
    home.settings["retry"]["outage_s"] = 0.5
    home.save()
    with pytest.raises(StoppedError, match="does not answer"):
        go(home)
    home.settings["api"]["host"] = up
    home.save()
    assert go(home).live


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paths": ["nowhere.csv"]}, "nowhere.csv"),
        ({"column": "customerid"}, "customer_id"),
    ],
)
def test_a_csv_that_cannot_serve_starts_nothing(home: Home, change: dict[str, Any], message: str) -> None:
    """A missing file or column is told with its name, before any call."""
    home.settings["ids"] |= change
    home.save()
    with pytest.raises(UsageError, match=re.escape(message)):
        go(home)
    assert not (home.export / "current.json").exists()


def test_too_many_rejected_rows_start_nothing(home: Home, sandbox: Sandbox) -> None:
    """A CSV that is mostly no IDs is a wrong CSV."""
    home.write_ids([*known_ids(30), *["x"] * 10])
    with pytest.raises(UsageError, match="hold no customer ID"):
        go(home)
    assert calls_seen(sandbox) == 0


def test_an_output_that_cannot_be_written_starts_nothing(home: Home, sandbox: Sandbox) -> None:
    """A path through a file is no folder: told before the first call."""
    (home.root / "file").write_text("")
    home.settings["output"] = {"url": "file/export"}
    home.save()
    with pytest.raises(StorageError, match="file/export"):
        go(home)
    assert calls_seen(sandbox) == 0


def test_a_failed_check_holds_the_snapshot(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that don't balance are not published; the last snapshot stays live."""
    home.write_ids(known_ids(20))
    first = go(home, ONE)
    ids = home.work / TWO.isoformat() / "ids.i64"

    class Tampering(Screen):
        def step(self, text: str) -> None:
            if text == "building the snapshot":
                ids.write_bytes(ids.read_bytes()[:-8])

    home.write_ids(known_ids(30))
    held = run_night(home.config(), Options(night=TWO, limit=5), Tampering())
    assert isinstance(held.held, HeldError)
    assert first.manifest is not None
    assert snapshot.manifest(home.export)["snapshot"] == first.manifest.snapshot
