"""Metrics: what a real night writes is what Prometheus reads, complete, current, and true."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.config import load_config
from pipeline.errors import UsageError
from pipeline.metrics import MEASURES, exposition
from pipeline.sandbox import Sandbox, known_ids
from pipeline.status import standing_of
from pipeline.telemetry import Textfile
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.test_cli import ROOT, command, slow, start, wait_for_calls

__all__ = ["slow"]


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str) -> dict[tuple[str, ...], float]:
    """By the name and the values of the labels."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


@pytest.fixture
def textfile(home: Home) -> Path:
    """Where node_exporter looks; the config names it."""
    path = home.root / "collector" / "capillary.prom"
    path.parent.mkdir()
    home.settings["metrics"] = {"textfile": "collector/capillary.prom"}
    home.save()
    return path


def test_a_night_leaves_its_numbers_for_prometheus(home: Home, sandbox: Sandbox, textfile: Path) -> None:
    """The sums are the server's and the manifest's; times are Unix seconds; the file is readable to all."""
    home.write_ids([*known_ids(40), 900_000_001, 900_000_001])
    began = datetime.now(UTC).timestamp()
    assert command("run", home.config_path).returncode == 0
    found, manifest = values(textfile.read_text()), snapshot.manifest(home.export)
    calls = {key[1]: value for key, value in found.items() if key[0] == "capillary_export_calls_total"}
    assert sum(calls.values()) == calls_seen(sandbox) == manifest["calls"]["made"]
    outcomes = {key[1]: value for key, value in found.items() if key[0] == "capillary_export_outcomes"}
    assert outcomes == manifest["outcomes"]
    assert found["capillary_export_ids", "distinct"] == 41
    assert found["capillary_export_ids", "repeated"] == 1
    assert found["capillary_export_night_state", "published"] == 1
    assert found["capillary_export_night_state", "held"] == found[("capillary_export_running",)] == 0
    assert began - 1 <= found[("capillary_export_last_success_timestamp_seconds",)] <= began + 600
    assert found["capillary_export_snapshot_rows", "customers"] == manifest["tables"]["customers"]["rows"]
    assert found["capillary_export_data_age_seconds", "0.9"] <= 86_400
    assert 0.9 < found[("capillary_export_coverage_ratio",)] <= 1
    assert found["capillary_export_checks_failed", "hold"] == 0
    assert stat.S_IMODE(textfile.stat().st_mode) == 0o644
    assert sorted(path.name for path in textfile.parent.iterdir()) == ["capillary.prom"]


def test_names_units_and_help_are_as_prometheus_wants_them(home: Home, textfile: Path) -> None:
    """Base units at the end of the name, counters end in _total, every family has HELP and TYPE, none is twice."""
    home.write_ids(known_ids(5))
    command("run", home.config_path)
    text = textfile.read_text()
    found = families(text)
    assert all(
        family.documentation.endswith(".") and family.type in ("gauge", "counter")
        for family in found.values()
    )
    assert text.count("# TYPE") == len(found)
    ends = {"s": "_seconds", "By": "_bytes", "1": "_ratio", "{call}/s": "_per_second"}
    for measure in MEASURES:
        assert measure.full_name.endswith(ends.get(measure.unit, "")), measure
        assert measure.full_name.endswith("_total") == measure.is_counter
        assert "total" not in measure.otel_name
    assert "_created" not in text


def test_while_it_runs_the_file_is_written_again(home: Home, slow: Sandbox, textfile: Path) -> None:
    """At the start, and then every so often: running, its pace, its quota, its end."""
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": 1}]
    home.save()
    process = start("run", home.config_path)
    try:
        wait_for_calls(slow, 60)
        assert textfile.exists()
        found = values(exposition(standing_of(home.config()), {}).decode())
    finally:
        process.kill()
        process.communicate()
    assert found[("capillary_export_running",)] == 1
    assert found["capillary_export_night_state", "fetching"] == 1
    assert found[("capillary_export_quota_calls_per_second",)] == 20
    assert 0 < found[("capillary_export_calls_per_second",)] <= 22
    assert found["capillary_export_call_latency_seconds", "0.95"] >= 0.1
    assert found[("capillary_export_time_left_seconds",)] > 0
    dead = values(exposition(standing_of(home.config()), {}).decode())
    assert dead["capillary_export_night_state", "interrupted"] == 1
    assert ("capillary_export_calls_per_second",) not in dead
    assert dead["capillary_export_calls_total", "answered"] > 0


def test_the_thread_writes_each_time_its_turn_comes(home: Home, textfile: Path) -> None:
    """Not only at the start and the end."""
    home.work.mkdir()
    troubles: list[Exception] = []
    with Textfile(home.config(), troubles.append, every_s=0.02):
        until = threading.Event()
        seen = set()
        for _ in range(200):
            until.wait(0.02)
            if textfile.exists():
                seen.add(textfile.stat().st_ino)
            if len(seen) > 3:
                break
    assert len(seen) > 3
    assert not troubles


def test_a_file_that_cannot_be_written_ends_no_night(home: Home) -> None:
    """It is told once, with the reason; the night is published."""
    home.settings["metrics"] = {"textfile": "no/such/folder/x.prom"}
    home.write_ids(known_ids(5))
    home.save()
    done = command("run", home.config_path)
    assert done.returncode == 0
    assert done.stderr.count("watcher.failed") == 1
    assert "no/such/folder/x.prom" in done.stderr


def test_before_the_first_night_there_is_little_to_tell(home: Home) -> None:
    """No night, no snapshot, no workspace: the text is valid all the same."""
    found = values(exposition(standing_of(home.config()), {}).decode())
    assert found[("capillary_export_running",)] == 0
    assert not any(name.startswith("capillary_export_night") for name, *_ in found)


def test_labels_of_the_config_stand_on_every_sample(home: Home) -> None:
    """Two exports on one machine are told apart; odd characters are escaped."""
    labels = {"export": 'brand "A"\n\\b'}
    text = exposition(standing_of(home.config()), labels).decode()
    samples = [sample for family in families(text).values() for sample in family.samples]
    assert samples
    assert all(sample.labels["export"] == labels["export"] for sample in samples)


def test_the_age_leaves_out_the_oldest_tenth() -> None:
    """Of 100 customers 50 came tonight, 40 three nights ago, 10 a hundred nights ago."""
    tonight = date(2026, 11, 22)
    by_night = {tonight: 50, tonight - timedelta(days=3): 40, tonight - timedelta(days=100): 10}
    found: dict[str, Any] = {
        "nights": [], "live": None, "trouble": None, "running": False, "disk": None, "newest_manifest": None,
        "version": "1", "now": "2026-11-22T05:00:00+00:00",
        "live_manifest": {"tables": {}, "customers_by_night": {day.isoformat(): n for day, n in by_night.items()}},
    }  # fmt: skip
    ages = values(exposition(found, {}).decode())
    name, day = "capillary_export_data_age_seconds", 86_400.0
    assert [ages[name, share] for share in ("0.5", "0.9", "1")] == [0, 3 * day, 100 * day]


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"textfile": "x.txt"}, "must end in .prom"),
        ({"labels": {"outcome": "x"}}, "a label of the metrics' own"),
        ({"labels": {"a-b": "x"}}, "is no label"),
        ({"otlp": "localhost:4318"}, "must be a plain URL"),
        ({"otlp": "http://user:secret@localhost:4318"}, "must be a plain URL"),
    ],
)
def test_wrong_settings_are_told(home: Home, metrics: dict[str, Any], said: str) -> None:
    """Before anything starts, with what is allowed."""
    home.settings["metrics"] = metrics
    home.save()
    with pytest.raises(UsageError, match=said):
        load_config(home.config_path, environ={})


def test_every_metric_stands_in_the_docs() -> None:
    """Its name, its type and its meaning."""
    docs = (ROOT / "docs" / "operations.md").read_text()
    for measure in MEASURES:
        kind = "counter" if measure.is_counter else "gauge"
        assert f"| `{measure.full_name}` | {kind} | {measure.help} |" in docs
