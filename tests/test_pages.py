"""User groups that come in several pages: followed to the end, each page journalled, none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, known_ids
from tests import snapshot
from tests.conftest import Home, calls_seen

ONE = date(2026, 11, 21)
CUSTOMERS = 400
ALL: dict[str, Any] = {"includedAllUserGroup2": True}


def a_night(home: Home, sandbox: Sandbox) -> dict[str, Any]:
    home.settings["api"] |= {"host": sandbox.url, "embed": ["userGroup"], "params": ALL}
    home.settings["output"] = {"tables": ["customers", "user_groups"]}
    home.save()
    home.write_ids(known_ids(CUSTOMERS))
    assert run_night(home.config(), Options(night=ONE), Screen()).live
    return snapshot.manifest(home.export)


@pytest.fixture
def crowded(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A base in which some customers have more groups than a page holds."""
    return start_sandbox(customers=CUSTOMERS, day=ONE)


def test_small_pages_bring_the_same_groups_as_large_ones(home: Home, crowded: Sandbox) -> None:
    """However the groups are cut into pages, each is there once, in its place, and every call is journalled."""
    large = a_night(home, crowded)
    whole = snapshot.rows(home.export, "user_groups", stable=True)
    assert large["calls"]["made"] == calls_seen(crowded)
    home.settings["work"] = {"path": "work2"}
    before = calls_seen(crowded)
    small = a_small_night(home, crowded)
    assert snapshot.rows(home.root / "export2", "user_groups", stable=True) == whole
    assert max(groups_of(whole).values()) > 10
    assert small["calls"]["made"] == calls_seen(crowded) - before > large["calls"]["made"]


def a_small_night(home: Home, sandbox: Sandbox) -> dict[str, Any]:
    home.settings["api"]["params"] = ALL | {"ug2Limit": 5}
    home.settings["output"] = {"tables": ["customers", "user_groups"], "url": "export2"}
    home.save()
    assert run_night(home.config(), Options(night=ONE), Screen()).live
    return snapshot.manifest(home.root / "export2")


def groups_of(rows: list[dict[str, Any]]) -> Counter[int]:
    return Counter(row["customer_id"] for row in rows)


def test_pages_that_bring_nothing_new_end_the_answer_as_partial(home: Home, crowded: Sandbox) -> None:
    """The same page over and over is noticed at its second coming; what came is kept, and nothing runs on."""
    crowded.faults = "groups-stuck"
    found = a_night(home, crowded)
    assert found["outcomes"]["partial"] > CUSTOMERS / 2
    assert found["calls"]["made"] == calls_seen(crowded) <= CUSTOMERS * 4 + 20
    rows = snapshot.rows(home.export, "user_groups")
    assert max(groups_of(rows).values()) <= 100
    reasons = {row["reason"] for row in snapshot.rows(home.export, "outcomes") if row["outcome"] == "partial"}
    assert "a page of user groups brought nothing new" in reasons


def test_a_page_that_fails_makes_the_whole_answer_due_again(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Faults between pages cost calls, never groups, and never a group twice."""
    quiet = start_sandbox(customers=CUSTOMERS, day=ONE)
    a_night(home, quiet)
    whole = snapshot.rows(home.export, "user_groups", stable=True)
    nasty = start_sandbox(customers=CUSTOMERS, day=ONE, faults="500=10%, cut=5%")
    home.settings["work"] = {"path": "work2"}
    home.settings["api"]["host"] = nasty.url
    found = a_small_night(home, nasty)
    failed = {
        row["customer_id"]
        for row in snapshot.rows(home.root / "export2", "outcomes")
        if row["outcome"] == "failed"
    }
    again = snapshot.rows(home.root / "export2", "user_groups", stable=True)
    assert again == [row for row in whole if row["customer_id"] not in failed]
    assert found["calls"]["made"] == calls_seen(nasty)
