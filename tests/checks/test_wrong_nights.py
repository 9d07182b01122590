"""Whole nights in the sandbox: clean ones are published, wrong ones held. `make bench-checks` has all faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.checks import FAULTS, faulty_night
from bench.nights import FIRST_NIGHT, Export, running
from pipeline.config import load_config
from pipeline.night import publish_night
from pipeline.sandbox import SandboxConfig
from pipeline.store.history import History

CUSTOMERS = 450
SHORT = (
    "one embed missing (points)",
    "half the IDs unknown (8015)",
    "one tier renamed (Gold)",
    "times moved by 5 h 30 min",
    "answers of last week",
    "purchases 10 % lower",
)

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """Six clean nights, four of them of a third of the customers."""
    home = tmp_path_factory.mktemp("wrong-nights")
    with running(SandboxConfig(customers=CUSTOMERS)) as sandbox:
        export = Export(home / "clean", sandbox, CUSTOMERS).begin()
        for asks in (None, 150, 150, 150, None, 150):
            assert export.run(asks=asks).live
        yield export


def test_clean_nights_are_published_and_are_the_history(export: Export) -> None:
    """The fixture's nights were all live; each left what it measured."""
    nights = History(export.root / "work").nights_before(FIRST_NIGHT.replace(day=30), 60)
    assert len(nights) == 6
    assert all(one.matched > 100 for one in nights[:-1])
    assert max(one.gap_days for one in nights) == 3


@pytest.mark.parametrize("name", SHORT)
def test_a_wrong_night_is_held(export: Export, tmp_path: Path, name: str) -> None:
    """The last snapshot stays live, and the message has number, band, history and the way out."""
    night = faulty_night(export, FAULTS[name], tmp_path / "wrong")
    assert night.held_by, name
    assert night.result.held is not None
    assert "expected" in night.result.held.message
    assert "--force --reason" in night.result.held.hint
    live = json.loads((tmp_path / "wrong" / "export" / "current.json").read_text())["snapshot"]
    assert night.result.manifest is not None
    assert live < night.result.manifest.snapshot


@pytest.mark.long
def test_a_held_night_poisons_nothing_and_a_forced_one_counts_as_good(export: Export, tmp_path: Path) -> None:
    """Held: no history, and the next clean night passes. Forced: history, with the reason and what was out."""
    wrong = export.copy(tmp_path / "wrong")
    night = FIRST_NIGHT.replace(day=FIRST_NIGHT.day + wrong.nights)
    assert wrong.run(asks=150, faults="tier-renamed").held
    history = History(wrong.root / "work")
    assert night not in [one.night for one in history.nights_before(night.replace(day=30), 60)]
    assert wrong.copy(tmp_path / "clean").run(asks=150).live
    config = load_config(wrong.root / "nightly.yaml", environ={})
    publish_night(config, night, "the tiers were renamed", datetime.now(UTC))
    newest = history.nights_before(night.replace(day=30), 60)[0]
    assert (newest.night, newest.forced_reason) == (night, "the tiers were renamed")
    assert any(name.startswith("new_values") for name in newest.failed)
    assert wrong.run(asks=150, faults="tier-renamed").live
