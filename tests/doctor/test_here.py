"""What this machine can tell by itself: lists, folders, lock, nights, disk, memory, zone, window, quota."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import Level, examine, machine
from pipeline.doctor.case import Case
from pipeline.errors import Exit
from pipeline.merge.records import library as records
from pipeline.night import Options, Screen, run_night
from pipeline.normalize.kernel import library as kernel
from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.workspace import NightState, Workspace
from tests.conftest import Home
from tests.doctor.conftest import found, the

NOW = datetime.now(UTC)
Usage = namedtuple("Usage", "total used free")


def changed(home: Home, **sections: dict[str, Any]) -> Home:
    """The config with some keys of its sections changed."""
    for name, keys in sections.items():
        home.settings.setdefault(name, {}).update(keys)
    home.save()
    return home


def left(home: Home, night: str, state: str, reason: str = "") -> None:
    """A night of the past, as a run left it."""
    folder = Workspace(home.work).night(date.fromisoformat(night)).make()
    folder.save(
        NightState(night=folder.night, started_at=f"{night}T01:00:00+00:00", state=state, reason=reason)
    )


# Lists


def test_rows_without_an_id_are_counted(home: Home) -> None:
    """A few are told, and no reason not to start."""
    home.write_ids(["n/a", *[*known_ids(50)] * 20])
    finding = the(changed(home, ids={"max_rejected_share": 0.01}).config(), "IDs")
    assert finding.level is Level.OK
    assert "50 distinct IDs; 1 of the first 1,000 rows" in finding.detail


def test_too_many_rows_without_an_id_fail(home: Home) -> None:
    """A night would not start; it is found before the night."""
    home.write_ids([*known_ids(50), *["n/a"] * 10])
    finding = the(home.config(), "IDs")
    assert not finding.ok
    assert "10 of 60 rows" in finding.detail
    assert "ids.column" in finding.remedy


@pytest.mark.parametrize("content", ["", "customer_id\n", "customer_id\nx\ny\n"])
def test_a_list_without_ids_fails(home: Home, content: str) -> None:
    """Empty, only a header, only other things."""
    (home.root / "ids.csv").write_text(content)
    assert not the(home.config(), "IDs").ok


def test_a_list_that_is_cut_short_fails_though_its_beginning_is_good(home: Home) -> None:
    """A .gz whose transfer broke off: the first rows are well, the end is not there."""
    whole = gzip.compress(("customer_id\n" + "\n".join(map(str, range(10**6, 10**6 + 60_000)))).encode())
    (home.root / "ids.csv.gz").write_bytes(whole[: len(whole) // 2])
    finding = the(changed(home, ids={"paths": ["ids.csv.gz"]}).config(), "IDs")
    assert not finding.ok
    assert "ids.csv.gz" in finding.detail


def test_a_list_that_nobody_writes_any_more_is_a_warning(home: Home) -> None:
    """Customers who came since are in no night."""
    then = NOW.timestamp() - 100 * 86_400
    os.utime(home.root / "ids.csv", (then, then))
    assert [one.level for one in found(home.config(), "IDs")] == [Level.OK, Level.WARN]


def test_lists_from_standard_input_are_left_alone(home: Home) -> None:
    """They can be read once only, by the night."""
    findings = examine(changed(home, ids={"paths": ["-"]}).config(), NOW)
    assert all(one.ok for one in findings)


# Places


def test_nights_that_wait_for_somebody_are_told(home: Home) -> None:
    """Held, died, stopped: each with what to type."""
    left(home, "2026-11-19", "published")
    left(home, "2026-11-20", "fetching")
    left(home, "2026-11-21", "stopped", "Stopped by SIGTERM.")
    left(home, "2026-11-22", "held", "rows: 12 % fewer in segments")
    told = found(home.config(), "nights")
    assert [one.level for one in told] == [Level.WARN] * 3
    died, stopped, held = told
    assert "2026-11-20 died" in died.detail
    assert "Stopped by SIGTERM" in stopped.detail
    assert "12 % fewer" in held.detail
    assert "publish --night 2026-11-22 --force" in held.remedy


def test_a_held_night_before_a_published_one_waits_for_nobody(home: Home) -> None:
    """The next night made up for it."""
    left(home, "2026-11-20", "held")
    left(home, "2026-11-21", "published")
    assert the(home.config(), "nights").level is Level.OK


def test_a_state_that_cannot_be_read_is_told(home: Home) -> None:
    """With the file's name, and nothing else fails for it."""
    left(home, "2026-11-20", "published")
    (home.work / "2026-11-20" / "state.json").write_text("{")
    told = found(home.config(), "nights")
    assert "state.json" in told[0].detail
    assert told[0].level is Level.WARN


@pytest.mark.parametrize(
    ("section", "key", "what"), [("work", "path", "workspace"), ("output", "url", "output")]
)
def test_a_place_that_cannot_be_written_fails_with_storage_trouble(
    home: Home, section: str, key: str, what: str
) -> None:
    """A file where the folder should be; both places are really written to."""
    (home.root / "file").write_text("")
    finding = the(changed(home, **{section: {key: "file/inside"}}).config(), what)
    assert not finding.ok
    assert finding.error is not None
    assert finding.error.exit_code is Exit.STORAGE


def test_nothing_is_left_behind(home: Home) -> None:
    """Probes go again."""
    examine(home.config(), NOW)
    assert not [path for path in home.root.rglob("*") if "doctor" in path.name or "probe" in path.name]


# The machine


def disk_of(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - free, free))


def test_a_disk_too_small_for_tonight_fails(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By tonight's plan, both places on one disk added up."""
    disk_of(monkeypatch, 200_000)
    disk = the(home.config(), "disk")
    assert not disk.ok
    assert "work and output" in disk.detail
    assert disk.error is not None
    assert disk.error.exit_code is Exit.STORAGE


def test_a_disk_that_will_be_full_in_some_nights_is_a_warning(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tonight fits, and seven nights and snapshots do not."""
    needed = Case(home.config(), NOW).plan
    assert needed is not None
    disk_of(monkeypatch, 2 * needed.disk_bytes)
    disk = the(home.config(), "disk")
    assert disk.level is Level.WARN
    assert "work.keep_nights" in disk.remedy


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "given"),
    [
        ("MemTotal: 9 kB\nMemAvailable:    1000 kB\n", None, None, 1_024_000),
        ("MemAvailable:    1000 kB\n", "max", "5", 1_024_000),
        ("MemAvailable:    1000 kB\n", "700000", "100000", 600_000),
        ("nonsense", "700000", "900000", 0),
        ("nonsense", None, None, None),
    ],
)
def test_memory_is_what_system_and_container_give(
    tmp_path: Path, meminfo: str, limit: str | None, used: str | None, given: int | None
) -> None:
    """The smaller of the two; unknown where neither says."""
    (tmp_path / "meminfo").write_text(meminfo)
    for name, text in (("memory.max", limit), ("memory.current", used)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert machine.memory_given(tmp_path / "meminfo", tmp_path) == given


def test_too_little_memory_is_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate may be wrong, so it is none of the things that fail."""
    monkeypatch.setattr(machine, "memory_given", lambda: 10**8)
    assert the(home.config(), "memory").level is Level.WARN


def test_too_few_open_files_are_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old defaults of 256 or 1,024 are not enough for many calls in flight."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    told = found(home.config(), "machine")
    assert told[0].level is Level.OK
    assert told[1].level is Level.WARN
    assert "ulimit -n 528" in told[1].remedy


@pytest.mark.parametrize(("library", "slower"), [(kernel, "normalized"), (records, "merged")])
def test_a_library_that_was_not_built_is_a_warning(
    home: Home, monkeypatch: pytest.MonkeyPatch, library: Any, slower: str
) -> None:
    """What is slower for it, why it is missing, how to have it."""
    monkeypatch.setattr(library, "why_not", lambda: "that was not built")
    told = [one for one in found(home.config(), "machine") if one.level is Level.WARN]
    (about_it,) = [one for one in told if "library" in one.detail]
    assert slower in about_it.detail
    assert "that was not built" in about_it.detail
    assert "compiler" in about_it.remedy


def test_a_window_by_a_clock_in_utc_is_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers show UTC, and people mean their own hours."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        changed(home, window={"until": "05:30"})
        assert the(home.config(), "time zone").level is Level.WARN
        changed(home, window={"timezone": "Asia/Kolkata"})
        zone = the(home.config(), "time zone")
        assert (zone.level, zone.detail[:12]) == (Level.OK, "Asia/Kolkata")
    finally:
        monkeypatch.undo()
        time.tzset()


# Window and quota


def test_a_window_that_is_about_to_close_is_a_warning(home: Home) -> None:
    """A run then asks for few; an hour before it would not be said."""
    changed(home, window={"until": "05:30", "timezone": "UTC"})
    early = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
    late = datetime(2026, 11, 24, 5, 25, tzinfo=UTC)
    assert the(home.config(), "window", early).level is Level.OK
    told = the(home.config(), "window", late)
    assert told.level is Level.WARN
    assert "closes in 5 minutes" in told.detail


def test_a_base_far_larger_than_the_quota_tells_how_long_a_round_takes(home: Home) -> None:
    """Nights for a full round: the number that decides whether the quota is enough."""
    home.write_ids(range(10**6, 10**6 + 20_000))
    changed(
        home,
        quota={"limits": [{"calls": 60, "per_s": 60}]},
        window={"until": "05:00", "timezone": "UTC"},
    )
    at = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    (quota,) = found(home.config(), "quota", at)
    assert quota.level is Level.OK
    assert "20,000 IDs are due, 7,200 (36%) fit tonight" in quota.detail
    assert "a full round takes 3 nights" in quota.detail
    home.write_ids(range(10**6, 10**6 + 300_000))
    (quota,) = found(home.config(), "quota", at)
    assert quota.level is Level.WARN
    assert "a full round takes 42 nights" in quota.detail


def test_a_night_of_days_without_a_window_is_a_warning(home: Home) -> None:
    """Nobody would see anything of it for days."""
    home.write_ids(range(10**6, 10**6 + 100_000))
    changed(home, quota={"limits": [{"calls": 10, "per_s": 60}]})
    (quota,) = found(home.config(), "quota")
    assert quota.level is Level.WARN
    assert "6.9 days" in quota.detail
    assert "window.until" in quota.remedy


@pytest.mark.parametrize(("quota", "said"), [({}, "is not set"), ({"limits": []}, "is empty")])
def test_a_quota_that_nobody_set_is_a_warning(home: Home, quota: dict[str, Any], said: str) -> None:
    """The default is the slowest there is, none is the fastest: both are hardly meant."""
    home.settings["quota"] = quota
    home.save()
    told = found(home.config(), "quota")
    assert told[0].level is Level.WARN
    assert said in told[0].detail


def night_of(home: Home, night: str) -> None:
    run_night(home.config(), Options(night=date.fromisoformat(night)), Screen())


@pytest.mark.long
def test_limits_above_what_the_api_took_are_found_in_the_last_night(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """From the journal's own list of calls: how many were refused, and what was taken in those minutes."""
    sandbox = start_sandbox(calls_per_minute=10, window_s=0.5)
    home.write_ids(known_ids(120))
    changed(home, api={"host": sandbox.url}, quota={"limits": [{"calls": 60, "per_s": 1}]})
    night_of(home, "2026-11-20")
    told = found(home.config(), "quota")
    assert told[-1].level is Level.WARN
    assert "in the night 2026-11-20 the API refused" in told[-1].detail[0].lower() + told[-1].detail[1:]
    assert "quota.limits" in told[-1].remedy


def test_too_few_calls_in_flight_for_the_latency_are_found(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Little's law, by the latency of the last nights."""
    sandbox = start_sandbox(faults="latency=100ms")
    home.write_ids(known_ids(150))
    changed(
        home, api={"host": sandbox.url}, quota={"limits": [{"calls": 1000, "per_s": 1}], "max_in_flight": 20}
    )
    night_of(home, "2026-11-20")
    told = [one for one in found(home.config(), "quota") if "max_in_flight (20)" in one.detail]
    assert told[0].level is Level.WARN
    assert "Raise quota.max_in_flight" in told[0].remedy


def test_a_night_that_is_done_is_well(home: Home) -> None:
    """After a night everything is ok, and nothing is due."""
    run_night(home.config(), Options(), Screen())
    (home.root / "password").chmod(0o600)
    findings = examine(home.config(), datetime.now(UTC) + timedelta(seconds=1))
    assert {one.level for one in findings} == {Level.OK}
    assert "all 50 IDs are done" in next(one.detail for one in findings if one.what == "quota")
