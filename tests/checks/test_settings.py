"""`checks` in the config."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from tests.conftest import Home


def test_modes_and_thresholds_are_by_check(home: Home) -> None:
    """A bare `off` is what YAML takes for false; flags work as everywhere."""
    home.settings["checks"] = {"mode": {"changed": False, "all": "warn"}, "threshold": {"rows": 0.2}}
    home.save()
    checks = home.config(checks__mode__rows="hold").checks
    assert [checks.mode_of(one) for one in ("changed", "rows", "nulls")] == ["off", "hold", "warn"]
    assert checks.threshold == {"rows": 0.2}


def test_a_check_that_is_unusual_by_nature_only_warns() -> None:
    """How much was asked says nothing about the rows."""
    from pipeline.config import ChecksConfig

    assert ChecksConfig().mode_of("asked") == "warn"
    assert ChecksConfig().mode_of("changed") == "hold"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"mode": {"chnged": "warn"}},
            "there is no check chnged (did you mean changed?); known are outcomes",
        ),
        ({"threshold": {"rwos": 1}}, "did you mean rows?"),
        ({"mode": {"rows": "loud"}}, "checks.mode.rows = 'loud'"),
        ({"threshold": {"rows": 0}}, "checks.threshold.rows = 0"),
        ({"ignore": ["loyalti"]}, "there is no table or table.column loyalti (did you mean loyalty?)"),
        ({"sensitivity": 0}, "checks.sensitivity = 0"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(home: Home, settings: object, told: str) -> None:
    """Before anything is started."""
    home.settings["checks"] = settings
    home.save()
    with pytest.raises(UsageError) as failed:
        home.config()
    assert told in str(failed.value)
