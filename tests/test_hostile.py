"""Nights in which three answers in ten are hostile: each ends published, every ID is accounted for, and whom it
did not hit is as on a quiet night."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import SandboxConfig, customer_id, known_ids, parse_plan
from pipeline.sandbox.faults import Moment
from tests import snapshot
from tests.conftest import Home, running_sandbox

NIGHT = date(2026, 11, 22)
SHARE = "30%"
MAX_ATTEMPTS = 5
# Ordinary customers; one whose partial answer heals and one whose doesn't; absent, merged and deleted ones.
IDS = [*known_ids(55), *map(customer_id, (65, 262, 87, 177, 704))]
ABOUT_THE_NIGHT = {"rejected_ids", "unknown_fields"}  # tables without customers
SAYS_HOW_IT_CAME = {"customers", "outcomes", "rejects"}  # by body hash, size and problems

Rows = dict[str, dict[int, list[str]]]
"""By table and customer, what does not differ between two nights over the same answers."""


@dataclass
class Ended:
    """A night that ended, as a reader finds it."""

    outcomes: dict[int, dict[str, Any]]
    rows: Rows
    kept: dict[int, str]  # everything that `extra`, `rejects` and `associated_with` hold of a customer
    rejects: dict[int, list[str]]  # the reasons
    hit: set[int]  # whose last answer was hostile
    unlucky: set[int]  # whose answers all were

    @property
    def answered(self) -> set[int]:
        """Who has rows."""
        return {one for one, row in self.outcomes.items() if row["outcome"] in ("exported", "partial")}

    @property
    def failed(self) -> set[int]:
        """Who has none, because no answer would do."""
        return {one for one, row in self.outcomes.items() if row["outcome"] == "failed"}


def a_night(root: Path, fault: str, **flags: Any) -> Ended:
    """A whole night under a fault, its promises checked."""
    with running_sandbox(SandboxConfig(customers=1000, day=NIGHT, faults=fault)) as sandbox:
        home = Home(root, sandbox.url)
        home.write_ids(IDS)
        result = run_night(
            home.config(retry__max_attempts=MAX_ATTEMPTS, retry__max_wait_s=0.05, **flags),
            Options(night=NIGHT),
            Screen(),
        )
        assert sandbox.judge.faults.total() >= bool(fault) * len(IDS) * 0.15
    assert result.live
    check_every_id_is_accounted_for(home.export)
    return ended(home.export, fault)


def check_every_id_is_accounted_for(export: Path) -> None:
    """One outcome an ID, one row in `customers` an answer, and every check passed."""
    found = snapshot.manifest(export)
    outcomes = snapshot.rows(export, "outcomes")
    assert sum(found["outcomes"].values()) == found["ids"]["distinct"] == len(IDS)
    assert sorted(row["customer_id"] for row in outcomes) == sorted(IDS)
    assert Counter(row["outcome"] for row in outcomes) == {k: v for k, v in found["outcomes"].items() if v}
    answered = [row["customer_id"] for row in outcomes if row["outcome"] in ("exported", "partial")]
    assert [row["customer_id"] for row in snapshot.rows(export, "customers")] == sorted(answered)
    rejected = [row["customer_id"] for row in snapshot.rows(export, "rejects")]
    assert rejected == sorted(rejected)
    assert all(check["passed"] for check in found["checks"])


def ended(export: Path, fault: str) -> Ended:
    outcomes = {row["customer_id"]: row for row in snapshot.rows(export, "outcomes")}
    rows: Rows = {}
    kept: defaultdict[int, list[str]] = defaultdict(list)
    for name in sorted(snapshot.manifest(export)["tables"].keys() - ABOUT_THE_NIGHT):
        by_customer = rows[name] = defaultdict(list)
        for row in snapshot.rows(export, name, stable=True):
            kept[row["customer_id"]] += [
                row[key] for key in ("extra", "raw", "associated_with") if row.get(key)
            ]
            by_customer[row["customer_id"]].append(repr(row))
    rejects: defaultdict[int, list[str]] = defaultdict(list)
    for row in snapshot.rows(export, "rejects"):
        rejects[row["customer_id"]].append(row["reason"])
    struck = parse_plan(fault).strike

    def is_struck(one: int, attempt: int) -> bool:
        return struck(Moment(one, attempt, 0, 0.0)) is not None

    hit = {one for one, row in outcomes.items() if is_struck(one, row["calls"])}
    unlucky = {one for one in IDS if all(is_struck(one, 1 + n) for n in range(MAX_ATTEMPTS))}
    texts = {one: "\n".join(found) for one, found in kept.items()}
    return Ended(outcomes, rows, texts, rejects, hit, unlucky)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same night without a fault."""
    return a_night(tmp_path_factory.mktemp("quiet"), "")


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a night; neither of its processes may leave a traceback."""

    def run_one(fault: str, **flags: Any) -> Ended:
        found = a_night(tmp_path, fault, **flags)
        assert "Traceback" not in capfd.readouterr().err
        return found

    return run_one


def check_as_quiet(
    found: Ended, quiet: Ended, customers: set[int], but: AbstractSet[str] = frozenset()
) -> None:
    """These customers' rows are those of the quiet night, in every table `but` some."""
    assert customers
    for name, by_customer in found.rows.items():
        if name not in but:
            for one in customers:
                assert by_customer.get(one, []) == quiet.rows[name].get(one, []), (name, one)


def test_a_quiet_night_has_every_kind_of_customer(quiet: Ended) -> None:
    """What the hostile nights are compared with: each fate is there, and nothing is odd."""
    assert {row["outcome"] for row in quiet.outcomes.values()} == {
        "exported", "partial", "absent", "merged", "deleted",
    }  # fmt: skip
    assert not quiet.hit
    assert not quiet.rejects


# Answers that can be read, however odd: each is used at once, and what is odd in it is kept.


def case(
    fault: str, trace: str, tables: AbstractSet[str] = frozenset(), *, bent: str = "", marks: Any = ()
) -> Any:
    """A parameter set, named by its fault."""
    return pytest.param(fault, trace, tables, bent, marks=marks, id=fault)


READABLE = [
    # what is found again, the tables it stands in beside `customers`, how `rejects` says that the body was bent
    case("invalid-utf8", "till \ufffd\ufffd\ufffd(", bent="invalid UTF-8"),
    case("lone-surrogate", "till \ufffd here", bent="JSON is malformed", marks=pytest.mark.long),
    case("nan", '"NaN"', {"loyalty"}, bent="JSON is malformed", marks=pytest.mark.long),
    case("huge-number", "7" * 400, {"loyalty"}),
    case("tiny-number", "1E-999999999", {"loyalty"}),
    case("int-beyond-int64", "18446744073709551617", {"profiles"}),
    case("deep-nesting:400", '"deep":' + "[" * 400 + "]" * 400),
    case("huge-body:2MB", "x" * 2_000_000, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("fault", "trace", "tables", "bent"), READABLE)
def test_an_odd_value_costs_its_cell_and_is_kept(
    run: Run, quiet: Ended, fault: str, trace: str, tables: AbstractSet[str], bent: str
) -> None:
    """Every ID ends as on a quiet night; the odd value is found again, and all that stands around it is there."""
    found = run(f"{fault}={SHARE}", api__max_body_mb=3)
    hit = found.hit & found.answered
    assert {one: row["outcome"] for one, row in found.outcomes.items()} == {
        one: row["outcome"] for one, row in quiet.outcomes.items()
    }
    assert [one for one in hit if trace not in found.kept[one]] == []
    assert [one for one in hit if bent and not any(r.startswith(bent) for r in found.rejects[one])] == []
    check_as_quiet(found, quiet, hit, but=SAYS_HOW_IT_CAME | tables)
    check_as_quiet(found, quiet, set(IDS) - found.hit)


def test_blocks_of_another_type_are_told_one_by_one(run: Run, quiet: Ended) -> None:
    """Texts for objects, objects for lists: whom it hit is exported all the same, and what came is kept."""
    found = run(f"wrong-type={SHARE}")
    hit = found.hit & found.answered
    assert found.answered == quiet.answered
    assert [one for one in hit if found.kept[one] == quiet.kept[one]] == []
    assert any("expected a list of objects" in reason for one in hit for reason in found.rejects[one])
    check_as_quiet(found, quiet, set(IDS) - found.hit)


@pytest.mark.long
def test_of_repeated_keys_the_last_counts(run: Run, quiet: Ended) -> None:
    """Blocks that come twice at the top of a body give the rows of their last."""
    found = run(f"duplicate-keys={SHARE}")
    assert found.answered == quiet.answered
    check_as_quiet(found, quiet, found.hit & found.answered, but=SAYS_HOW_IT_CAME)
    check_as_quiet(found, quiet, set(IDS) - found.hit)


# Answers that are none: asked for again, and failed only where every attempt was spoiled.


@pytest.mark.parametrize(
    ("fault", "flags"),
    [
        ("deep-nesting", {}),  # 10,000 deep: no reader reaches the end
        pytest.param("list-body", {}, marks=pytest.mark.long),
        pytest.param("null-body", {}, marks=pytest.mark.long),
        ("invalid-json", {}),
        ("empty-200", {}),
        ("other-id", {}),
        ("cut", {}),
        ("slow-body:5s", {"api__timeout_s": 0.3}),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_an_answer_that_is_none_is_asked_for_again(
    run: Run, quiet: Ended, fault: str, flags: dict[str, float]
) -> None:
    """Of the spoiled answers nothing is left in any table; the next good one counts, as on a quiet night."""
    found = run(f"{fault}={SHARE}", **flags)
    assert any(row["calls"] > 1 for row in found.outcomes.values())
    assert found.failed <= found.unlucky
    check_as_quiet(found, quiet, set(IDS) - found.failed)
    assert not any(
        found.failed & by_customer.keys() for name, by_customer in found.rows.items() if name != "outcomes"
    )


def test_a_body_above_the_limit_fails_its_id_at_once(run: Run, quiet: Ended) -> None:
    """Larger than `api.max_body_mb`: asking again would not help, and the others are not the worse for it."""
    found = run(f"huge-body:2MB={SHARE}", api__max_body_mb=1)
    assert found.failed == found.hit
    assert {row["reason"] for one, row in found.outcomes.items() if one in found.hit} == {
        "the answer is larger than 1 MB"
    }
    assert all(found.outcomes[one]["calls"] == 1 for one in found.hit)
    check_as_quiet(found, quiet, set(IDS) - found.hit)
