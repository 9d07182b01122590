"""What a number out of its band does to the night, and how it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipeline.checks.judge import TOLD_OF_EACH, judge
from pipeline.checks.rules import RULES
from pipeline.config import CHECKS, ChecksConfig
from pipeline.store.history import Measurements
from tests.checks.rows import NIGHT

COLUMNS = [f"t.c{number}" for number in range(8)]


def night(ago: int, value: float, **more: Any) -> Measurements:
    """A night on which all columns were null so often."""
    told = dict.fromkeys(COLUMNS, (value, 1000))
    usual = {"customers": 1000, "matched": 1000, "gap_days": 1.0, "levels": {"nulls": told}}
    return Measurements(night=NIGHT - timedelta(days=ago), snapshot=str(ago), **{**usual, **more})


PAST = [night(ago, 0.1) for ago in range(1, 8)]


def verdicts(
    value: float, past: list[Measurements] = PAST, tonight: dict[str, Any] | None = None, **config: Any
) -> Any:
    """The checks of a night, and what holds it."""
    return judge(night(0, value, **(tonight or {})), past, ChecksConfig.model_validate(config))


def test_every_check_of_the_config_has_a_rule() -> None:
    """And every rule is one that the config knows."""
    assert list(RULES) == list(CHECKS)


def test_a_night_like_the_others_passes() -> None:
    """One line for the whole check."""
    (check,), held = verdicts(0.1)
    assert check.passed
    assert not held


def test_a_number_far_out_holds_with_value_band_and_history() -> None:
    """The worst are told one by one, the others by name."""
    checks, held = verdicts(0.9)
    assert len(checks) == TOLD_OF_EACH + 1
    first = checks[0]
    assert (first.passed, first.severity, first.value) == (False, "hold", 0.9)
    assert first.band[0] < 0.1 < first.band[1] < 0.9
    assert "90.0%" in first.detail
    assert "last nights 10.0%" in first.detail
    assert checks[-1].name == "nulls: 3 more"
    assert held == [f"nulls: {column}" for column in COLUMNS]


def test_a_check_can_warn_or_be_off() -> None:
    """By its own name, or all at once."""
    for name in ("nulls", "all"):
        checks, held = verdicts(0.9, mode={name: "warn"})
        assert {check.severity for check in checks} == {"warn"}
        assert not held
    assert verdicts(0.9, mode={"nulls": "off"}) == ([], [])
    assert verdicts(0.9, mode={"all": "off", "nulls": "hold"})[1]


def test_thresholds_and_sensitivity_move_the_band() -> None:
    """A wider floor lets the same number through; a higher sensitivity does not."""
    assert verdicts(0.35)[1]
    assert not verdicts(0.35, threshold={"nulls": 0.1})[1]
    assert not verdicts(0.35, sensitivity=0.5)[1]
    assert not verdicts(0.25)[1]
    assert verdicts(0.25, sensitivity=2.0)[1]


def test_ignored_tables_and_columns_are_not_judged() -> None:
    """A table takes its columns along."""
    assert "nulls: t.c1" not in verdicts(0.9, ignore=["t.c1"])[1]
    assert verdicts(0.9, ignore=["t"]) == ([], [])


def test_newcomers_make_levels_warn_only() -> None:
    """Where tonight's customers are others than usual, their numbers may be so too."""
    checks, held = verdicts(0.9, tonight={"matched": 100})
    assert not held
    assert all(check.severity == "warn" for check in checks)


def test_what_a_person_let_through_is_the_usual_from_then_on() -> None:
    """A forced night's numbers hold no later night."""
    forced = night(1, 0.9, failed=[f"nulls: {one}" for one in COLUMNS], forced_reason="meant")
    assert not verdicts(0.9, past=[forced, *PAST[1:]])[1]


def test_without_a_past_nothing_is_out() -> None:
    """The first night has nothing to be compared with."""
    assert verdicts(0.9, past=[]) == ([], [])
