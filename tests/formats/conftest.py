"""Nights whose tables are Delta Lake's or Iceberg's, too."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pipeline.night import Options, Result, Screen, run_night
from pipeline.sandbox import known_ids
from tests.conftest import Home

ONE, TWO, THREE = date(2026, 11, 21), date(2026, 11, 22), date(2026, 11, 23)
FEW = ["customers", "loyalty_programs"]
TABLES = ("customers", "loyalty_programs", "outcomes", "rejects", "rejected_ids", "unknown_fields")


@pytest.fixture(params=["delta", pytest.param("iceberg", marks=pytest.mark.long)])
def kind(request: pytest.FixtureRequest) -> str:
    """Each format."""
    found: str = request.param
    return found


@pytest.fixture
def lakehouse(home: Home, kind: str) -> Home:
    """A config of a format, with few tables and no grace."""
    home.settings["output"] = {"url": "export", "format": kind, "tables": FEW, "grace": 0}
    home.write_ids(known_ids(30))
    home.save()
    return home


def go(home: Home, night: date = ONE, **options: Any) -> Result:
    return run_night(home.config(), Options(night=night, **options), Screen())
