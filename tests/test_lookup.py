"""CSVs of mobiles or e-mails instead of customer IDs: same tables, and what was asked for is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests import snapshot
from tests.conftest import Home, calls_seen, running_sandbox

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)


def identifiers(home: Home, kind: str) -> dict[str, int]:
    """The identifiers of that kind in the live snapshot, and whose they are."""
    rows = snapshot.rows(home.export, "identifiers")
    return {
        row["value"]: row["customer_id"]
        for row in rows
        if row["type"] == kind and row["list"] == "identifiers"
    }


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, dict[str, dict[str, int]]]]:
    """A server, and its customers' mobiles and e-mails as a first night by ID found them."""
    with running_sandbox(SandboxConfig(customers=200, day=ONE)) as sandbox:
        home = Home(tmp_path_factory.mktemp("people"), sandbox.url)
        home.write_ids(known_ids(200))
        run_night(home.config(), Options(night=ONE), Screen())
        yield sandbox, {kind: identifiers(home, kind) for kind in ("mobile", "email")}


def a_home(home: Home, sandbox: Sandbox, kind: str, texts: Any) -> Home:
    home.settings["api"]["host"] = sandbox.url
    home.settings["ids"] |= {"identifier": kind, "column": kind, "max_rejected_share": 0.5}
    home.save()
    home.write_ids(texts, header=kind)
    return home


@pytest.mark.parametrize("kind", ["mobile", "email"])
def test_each_identifier_brings_its_customer(
    home: Home, people: tuple[Sandbox, dict[str, dict[str, int]]], kind: str
) -> None:
    """Rows stand under the customer's own ID; `asked_as` says how it was asked for; strangers are absent."""
    sandbox, known = people
    wanted = dict(list(known[kind].items())[:30])
    stranger = {"mobile": "910000000000", "email": "nobody@example.org"}[kind]
    a_home(home, sandbox, kind, [*wanted, stranger, *list(wanted)[:3], "x y"])
    result = run_night(home.config(), Options(night=ONE), Screen())
    assert result.live
    found = snapshot.manifest(home.export)
    assert found["ids"] == {"read": 35, "distinct": 31, "repeated": 3, "rejected": 1, "carried": 0}
    assert found["outcomes"]["absent"] >= 1
    outcomes = snapshot.rows(home.export, "outcomes")
    assert len(outcomes) == 31
    asked = {row["asked_as"]: row["customer_id"] for row in outcomes if row["outcome"] == "exported"}
    assert asked == {text: wanted[text] for text in asked}
    customers = [row["customer_id"] for row in snapshot.rows(home.export, "customers")]
    assert sorted(customers) == sorted(set(customers))
    assert {row["asked_as"] for row in outcomes if row["customer_id"] < 0} >= {stranger}


def test_two_identifiers_of_one_customer_give_one_customer(
    home: Home, people: tuple[Sandbox, dict[str, dict[str, int]]]
) -> None:
    """The later answer's rows count; both questions keep their verdict, and the sums balance."""
    sandbox, _ = people
    home.settings["api"]["host"] = sandbox.url
    rows = snapshot.rows
    run_night(home.config(), Options(night=ONE), Screen())
    first = next(
        row
        for row in rows(home.export, "identifiers")
        if row["type"] == "externalId" and row["list"] == "identifiers"
    )
    mobile = next(
        row["value"]
        for row in rows(home.export, "identifiers")
        if row["customer_id"] == first["customer_id"] and row["type"] == "mobile"
    )
    a_home(home, sandbox, "mobile", [mobile, f"+{mobile}"])
    run_night(home.config(work__path="work2", output__url="export2"), Options(night=TWO), Screen())
    export = home.root / "export2"
    assert sum(snapshot.manifest(export)["outcomes"].values()) == 2
    assert len(rows(export, "customers")) == 1


@pytest.mark.long
def test_deferred_identifiers_are_asked_by_the_next_run(
    home: Home, people: tuple[Sandbox, dict[str, dict[str, int]]]
) -> None:
    """A resume knows what each key stands for, and asks nobody twice."""
    sandbox, known = people
    texts = list(known["mobile"])[:20]
    a_home(home, sandbox, "mobile", texts)
    before = calls_seen(sandbox)
    run_night(home.config(), Options(night=ONE, limit=8), Screen())
    deferred = [row for row in snapshot.rows(home.export, "outcomes") if row["outcome"] == "deferred"]
    assert {row["asked_as"] for row in deferred} <= set(texts)
    assert len(deferred) == 12
    run_night(home.config(), Options(night=ONE), Screen())
    assert snapshot.manifest(home.export)["outcomes"]["deferred"] == 0
    assert calls_seen(sandbox) - before <= 22
