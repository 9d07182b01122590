"""Who stands in a snapshot: whole nights, each upon the last, and what the manifest tells of what changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.blocks import TABLES
from pipeline.merge import SORTING_BYTES, sort_table
from pipeline.night import Options, Result, Screen, rebuild_night, run_night, tables
from pipeline.night import abreast as side
from pipeline.night.abreast import Merge, side_by_side
from pipeline.night.tables import LastSeen
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests import snapshot
from tests.conftest import Home, running_sandbox

ONE, TWO, THREE = date(2026, 11, 21), date(2026, 11, 22), date(2026, 11, 23)
CUSTOMERS = 120
ROOT = Path(__file__).parent.parent


def go(home: Home, night: date, **options: Any) -> Result:
    home.save()
    return run_night(home.config(), Options(night=night, **options), Screen())


def nights(home: Home, table: str) -> dict[int, date]:
    """Each customer's rows: the night that they are of."""
    return {row["customer_id"]: row["_night"] for row in snapshot.rows(home.export, table)}


def verdicts(home: Home) -> dict[int, dict[str, Any]]:
    return {row["customer_id"]: row for row in snapshot.rows(home.export, "outcomes")}


def bytes_of(home: Home) -> dict[str, str]:
    """The SHA-256 of every data file of the live snapshot."""
    folder = snapshot.manifest(home.export)["folder"]
    paths: list[Path] = sorted(folder.rglob("*.parquet"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_who_is_absent_tonight_stays_or_leaves_as_the_config_says(home: Home, policy: str) -> None:
    """A list of strangers to another base: all its customers are absent; their last rows stay with their night."""
    home.write_ids(known_ids(30))
    go(home, ONE)
    before = nights(home, "profiles")
    with running_sandbox(SandboxConfig(customers=1)) as empty:
        home.settings["api"]["host"] = empty.url
        home.settings["snapshot"] = {"absent": policy}
        home.settings["checks"] = {"mode": {"all": "off"}}
        result = go(home, TWO)
    assert result.live
    found = verdicts(home)
    gone = {one for one, row in found.items() if row["outcome"] in ("absent", "deleted", "merged")}
    absent = {one for one in before if found[one]["outcome"] == "absent"}
    assert len(absent) > 20
    assert set(nights(home, "profiles")) & absent == (absent if policy == "keep" else set())
    assert {before[one] for one in absent} == {ONE}
    assert len(gone) >= len(absent)
    assert all(check["passed"] for check in snapshot.manifest(home.export)["checks"])


def test_a_full_snapshot_has_tonights_rows_alone_and_balances(home: Home) -> None:
    """`snapshot.mode: full`: who was not on the list is in no table; every sum holds."""
    home.write_ids(known_ids(40))
    go(home, ONE)
    home.write_ids(known_ids(15))
    home.settings["snapshot"] = {"mode": "full"}
    assert go(home, TWO).live
    found = snapshot.manifest(home.export)
    for table in [table.name for table in TABLES]:
        assert set(nights(home, table).values()) <= {TWO}
    assert len(verdicts(home)) == 15
    assert all(check["passed"] for check in found["checks"])


def test_a_deleted_or_merged_one_stays_known_as_such_when_it_is_not_asked(home: Home) -> None:
    """Deferred for two nights: the tombstone's code, its survivor and the reason are still there."""
    home.write_ids(known_ids(400))
    go(home, ONE)
    gone = {one: row for one, row in verdicts(home).items() if row["outcome"] in ("deleted", "merged")}
    assert {row["outcome"] for row in gone.values()} == {"deleted", "merged"}
    for table in TABLES:
        assert not set(nights(home, table.name)) & set(gone)
    for night in (TWO, THREE):
        go(home, night, limit=1)
        now = verdicts(home)
        for one, row in gone.items():
            if now[one]["outcome"] == "deferred":
                assert (now[one]["reason_code"], now[one]["other_id"]) == (
                    row["reason_code"],
                    row["other_id"],
                )
                assert now[one]["reason"] == f"not asked tonight; {row['outcome']} before"
    assert Counter(row["outcome"] for row in verdicts(home).values())["deferred"] >= 398


def test_the_customer_behind_an_identifier_is_known_from_the_last_snapshot() -> None:
    """By an identifier's key the journal has, a customer is found who is deleted now; strangers' keys find nobody."""
    stones = pa.table({"asked": pa.array([], pa.int64())})
    seen = LastSeen(np.array([-9, -5, 7]), np.array([12, 34, 7]), np.array([1, 1, 1]), stones)
    assert seen.customers_behind(np.array([-5, -6])).tolist() == [34]
    assert seen.customers_behind(np.array([], np.int64)).tolist() == []


def test_rebuilt_tables_are_the_same_bytes_each_time(home: Home) -> None:
    """Upon a snapshot before it: the publish, a rebuild and another one give the same files, changes included."""
    home.settings["snapshot"] = {"changes": True}
    home.write_ids(known_ids(CUSTOMERS))
    go(home, ONE)
    go(home, TWO)
    before = bytes_of(home)
    assert any(path.startswith("changes/") for path in before)
    for _ in range(2):
        rebuild_night(home.config(), Options(night=TWO), Screen())
        assert bytes_of(home) == before


@pytest.mark.long
def test_a_rebuild_of_some_on_one_core_or_after_a_death_gives_the_same_bytes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which tables are asked for, how many cores there are, and where a rebuild before it died, change nothing."""
    home.write_ids(known_ids(CUSTOMERS))
    go(home, ONE)
    go(home, TWO)
    before = bytes_of(home)
    rebuild_night(home.config(), Options(night=TWO, only=frozenset({"loyalty"})), Screen())
    assert bytes_of(home) == before
    with monkeypatch.context() as one_core:
        one_core.setattr(side, "usable_cores", lambda: 1)
        rebuild_night(home.config(), Options(night=TWO), Screen())
    assert bytes_of(home) == before
    merges = iter(range(100))

    def mortal(*inputs: Any) -> Any:
        if next(merges) == 7:
            raise KeyboardInterrupt
        return sort_table(*inputs)

    with monkeypatch.context() as death:
        death.setattr(tables, "sort_table", mortal)
        with pytest.raises(KeyboardInterrupt):
            rebuild_night(home.config(), Options(night=TWO), Screen())
    assert bytes_of(home) == before
    rebuild_night(home.config(), Options(night=TWO), Screen())
    assert bytes_of(home) == before


def another_day(home: Home, sandbox: Sandbox) -> None:
    """A night weeks later, that asks for some of the customers and for some new ones."""
    sandbox.day = date(2026, 12, 18)
    home.write_ids(list(known_ids(CUSTOMERS + 20))[50:])
    home.settings["checks"] = {"mode": {"all": "off"}}
    assert go(home, TWO).live


def test_the_changes_lead_from_the_last_snapshot_to_this_one(home: Home, sandbox: Sandbox) -> None:
    """For every table: the last one's rows, less what is deleted or updated, and what is inserted or updated."""
    home.settings["snapshot"] = {"changes": True}
    home.write_ids(known_ids(CUSTOMERS))
    go(home, ONE)
    before = {table.name: stable(snapshot.table(home.export, table.name)) for table in TABLES}
    another_day(home, sandbox)
    found = snapshot.manifest(home.export)
    assert set(found["changes"]) == {*(table.name for table in TABLES), "outcomes"}
    for table in TABLES:
        told = changes(home, table.name)
        key = list(table.key)
        after = dict(before[table.name])
        for row in told.to_pylist():
            name = tuple(row[one] for one in key)
            word = row.pop("_change")
            assert (name in after) == (word != "insert"), (table.name, name, word)
            if word == "delete":
                del after[name]
            else:
                after[name] = without_night(row)
        assert after == stable(snapshot.table(home.export, table.name)), table.name
    words = Counter(word for table in TABLES for word in changes(home, table.name)["_change"].to_pylist())
    assert min(words["insert"], words["update"], words["delete"]) > 0
    assert all(check["passed"] for check in found["checks"] if check["name"].startswith("changes of"))


def test_changes_are_told_only_where_they_are_wanted(home: Home) -> None:
    """By default there is no such folder, and the manifest names none."""
    go(home, ONE)
    found = snapshot.manifest(home.export)
    assert found["changes"] == {}
    assert not (found["folder"] / "changes").exists()


@pytest.mark.long
def test_the_documented_statements_bring_a_copy_up_to_date(
    home: Home, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operations.md has them, word by word, in DuckDB: the copy then has this snapshot's rows."""
    home.settings["snapshot"] = {"changes": True}
    home.write_ids(known_ids(CUSTOMERS))
    go(home, ONE)
    copy = duckdb.connect()
    copy.execute(
        f"CREATE TABLE segments AS FROM read_parquet({[*map(str, snapshot.files(home.export, 'segments'))]})"
    )
    another_day(home, sandbox)
    (statements,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    monkeypatch.chdir(snapshot.manifest(home.export)["folder"])
    copy.execute(statements)
    (told,) = copy.execute("SELECT count(*) FROM told").fetchall()
    assert told[0] > 0
    stay = "SELECT * EXCLUDE (_fetched_at, _night) FROM"
    now = f"read_parquet({[*map(str, snapshot.files(home.export, 'segments'))]})"
    for one, other in (("segments", now), (now, "segments")):
        assert copy.execute(f"{stay} {one} EXCEPT ALL {stay} {other}").fetchall() == []


def changes(home: Home, table: str) -> pa.Table:
    """The changes of a table, each file proved against the manifest."""
    found = snapshot.manifest(home.export)
    told = found["changes"][table]
    for file in told["files"]:
        data = (found["folder"] / file["path"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    rows = pa.concat_tables([pq.read_table(found["folder"] / file["path"]) for file in told["files"]])
    assert rows.num_rows == told["rows"]
    assert set(pc.unique(rows["_change"]).to_pylist()) <= {"insert", "update", "delete"}
    return rows


def stable(rows: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by their key, without what every night makes different."""
    key = json.loads(rows.schema.metadata[b"key"])
    return {tuple(row[one] for one in key): without_night(row) for row in rows.to_pylist()}


def without_night(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("_fetched_at", "_night")}


class Ready:
    """A sorted table of no rows; its name is what writing gives."""

    def __init__(self, name: str, writing_bytes: int = 0, held_bytes: int = 0, written: Any = None) -> None:
        self.name, self.writing_bytes, self.held_bytes = name, writing_bytes, held_bytes
        self._written = written or (lambda: None)
        self.closed = 0

    def write(self) -> Any:
        self._written()
        return self.name

    def close(self) -> None:
        self.closed += 1


def test_the_first_error_ends_all_merges() -> None:
    """One table fails: the others stop at their next round, and its own error is the one that is told."""
    has_begun, ready = threading.Event(), Ready("a", side.BUDGET_BYTES)

    def endless(check_in: Any) -> Any:
        while True:
            has_begun.set()
            check_in()

    def broken(_: Any) -> Any:
        assert has_begun.wait(10)
        raise OSError("no room")

    merges = {"a": Merge(3, lambda _: ready), "b": Merge(0, broken), "c": Merge(1, endless)}
    with pytest.raises(OSError, match="no room"):
        side_by_side(merges)
    assert ready.closed


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("seed", range(10))
def test_all_that_is_under_way_keeps_to_the_budget(
    monkeypatch: pytest.MonkeyPatch, cores: int, seed: int
) -> None:
    """However large the tables are, and what they hold while they wait; what is too large is done alone."""
    monkeypatch.setattr(side, "usable_cores", lambda: cores)
    random, lock = Random(seed), threading.Lock()
    steps, waiting = dict[str, int](), dict[str, int]()
    seen: list[tuple[int, int]] = []  # how many steps are under way, and what all take

    def step(name: str, size: int, then: int) -> None:
        with lock:
            waiting.pop(name, None)
            steps[name] = size
            seen.append((len(steps), sum(steps.values()) + sum(waiting.values())))
        time.sleep(0.001)
        with lock:
            waiting[name] = then
            del steps[name]

    def table(name: str) -> Merge:
        held = random.choice([0, 0, random.randrange(12 << 20)])
        writing = held + random.randrange(side.BUDGET_BYTES * 9 // 8)

        def sort(_: Any) -> Any:
            step(name, SORTING_BYTES, held)
            return Ready(name, writing, held, lambda: step(name, writing, 0))

        return Merge(random.randrange(100), sort)

    merges = {str(number): table(str(number)) for number in range(40)}
    found: list[Any] = list(side_by_side(merges).items())
    assert found == [(name, name) for name in merges]
    assert all(size <= side.BUDGET_BYTES for count, size in seen if count > 1)
    assert max(count for count, _ in seen) == min(cores, side.LANES)


def test_while_a_large_table_is_written_the_next_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two large ones are never written side by side; both cores have work all the same."""
    monkeypatch.setattr(side, "usable_cores", lambda: 2)
    sorted_so_far, two_more = set[str](), threading.Event()

    def written() -> None:
        assert two_more.wait(10)

    def sort(name: str) -> Any:
        def work(_: Any) -> Any:
            sorted_so_far.add(name)
            if len(sorted_so_far) == 3:
                two_more.set()
            return Ready(name, side.BUDGET_BYTES - SORTING_BYTES, 0, written)

        return work

    merges = {name: Merge(size, sort(name)) for size, name in enumerate("abcd")}
    assert list(side_by_side(merges)) == ["a", "b", "c", "d"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread's cores are not to be chosen")
def test_on_one_core_that_may_be_used_tables_are_merged_one_by_one() -> None:
    """However many the machine has: two would only wait for each other."""
    cores, threads = os.sched_getaffinity(0), set[str]()

    def sort(_: Any) -> Any:
        threads.add(threading.current_thread().name)
        time.sleep(0.001)
        return Ready("one")

    try:
        os.sched_setaffinity(0, {min(cores)})
        side_by_side({str(number): Merge(number, sort) for number in range(20)})
    finally:
        os.sched_setaffinity(0, cores)
    assert len(threads) == 1


def test_results_come_in_the_order_of_the_tables() -> None:
    """Whichever is done first: manifests of the same rows are the same."""

    def named(name: str) -> Any:
        return lambda check_in: Ready(name)

    merges = {name: Merge(size, named(name)) for name, size in zip("abc", (1, 3, 2), strict=True)}
    found: list[Any] = list(side_by_side(merges).items())
    assert found == [("a", "a"), ("b", "b"), ("c", "c")]
