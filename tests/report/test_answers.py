"""The eight questions of the morning, each answered by the page's text, for nights as they really end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests.conftest import Home, running_sandbox
from tests.report.reading import answers

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)
QUESTIONS = [
    "Did it publish?",
    "If not, why?",
    "Who is missing?",
    "How old is the data?",
    "Is the quota the limit?",
    "What changed against yesterday?",
    "What fails?",
    "When will tonight end?",
]


def page_of(home: Home, night: date = ONE) -> str:
    """The page that `run` left in the workspace."""
    return (home.work / night.isoformat() / "report.html").read_text()


def go(home: Home, night: date = ONE, **options: Any) -> Any:
    return run_night(home.config(), Options(night=night, **options), Screen())


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """One sandbox for the nights of this file."""
    with running_sandbox(SandboxConfig(customers=500, faults="latency=5ms±2ms")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def published(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two published nights: the second asks fewer, some IDs are unknown, one row is none."""
    home = Home(tmp_path_factory.mktemp("published"), server.url)
    home.settings["ids"]["max_rejected_share"] = 0.5
    home.settings["quota"] = {"limits": [{"calls": 6000, "per_s": 60}], "max_in_flight": 16}
    home.save()
    home.write_ids([*known_ids(120), 900_000_001, "3.87E+08"])
    go(home)
    home.write_ids([*known_ids(100), 900_000_001])
    go(home, TWO)
    return home


def test_a_published_night_answers_all_eight(published: Home) -> None:
    """In this order, each with words of its own."""
    found = answers(page_of(published, TWO))
    assert list(found) == QUESTIONS
    assert found["Did it publish?"].startswith("Yes at ")
    assert "checks passed" in found["If not, why?"]
    assert re.search(r"\d+ not known to the API", found["Who is missing?"])
    assert "The oldest tenth is 1 night old" in found["How old is the data?"]
    assert re.search(r"calls made of \d+ allowed", found["Is the quota the limit?"])
    assert re.search(r"[+±−]\d+ customers", found["What changed against yesterday?"])
    assert "Sat 21 Nov 2026" in found["What changed against yesterday?"]
    assert found["What fails?"].startswith("No ID failed.")
    assert re.search(r"At \w+ \d+ \w+ 20\d\d, \d\d:\d\d\.", found["When will tonight end?"])
