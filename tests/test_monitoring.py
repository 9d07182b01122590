"""The dashboard and the alert rules in configs/monitoring/ speak of metrics that real nights write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import MEASURES, exposition
from pipeline.night import Options, Screen, run_night
from pipeline.plan import Plan
from pipeline.stats import Tally
from pipeline.status import standing_of
from tests.conftest import Home
from tests.test_cli import ROOT

MONITORING = ROOT / "configs" / "monitoring"
NAME = re.compile(r"capillary_export_\w+")
MATCHER = re.compile(r"(capillary_export_\w+)\{([^}]*)\}")


def rules() -> list[dict[str, Any]]:
    """All alert rules."""
    loaded = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """All panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def queries() -> list[str]:
    """Every expression of both."""
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in panels() for target in panel["targets"]
    ]


class Looking(Screen):
    """Takes the metrics in the middle of the fetch."""

    def __init__(self, home: Home) -> None:
        self.home, self.text = home, ""

    @contextmanager
    def fetching(self, tally: Tally, plan: Plan) -> Iterator[Callable[[], None]]:
        """Once a call was answered and noted."""

        def draw() -> None:
            if tally.done and tally.latencies_us and not self.text:
                self.home.work.joinpath(f"{night_of(self.home)}/progress.json").write_bytes(tally.to_json())
                tally.allowed_per_s = 100.0
                self.text = exposition(standing_of(self.home.config()), {}).decode()

        yield draw
        draw()


def night_of(home: Home) -> str:
    """The one night there is."""
    return next(home.work.glob("20*")).name


def samples(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Names and labels."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, dict(sample.labels)


def test_every_metric_named_is_written_by_a_real_night(home: Home) -> None:
    """In the middle of its fetch or after it; and each value of a label that a rule asks for can come."""
    looking = Looking(home)
    run_night(home.config(), Options(), looking)
    written = [*samples(looking.text), *samples(exposition(standing_of(home.config()), {}).decode())]
    names = {name for name, _ in written}
    assert {measure.full_name for measure in MEASURES} == names
    asked = {name for query in queries() for name in NAME.findall(query)}
    assert asked <= names
    for query in queries():
        for name, matchers in MATCHER.findall(query):
            for label, how, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
                wanted = set(value.split("|")) if how == "=~" else {value}
                there = {labels.get(label) for one, labels in written if one == name}
                assert label == "export" or wanted <= there, (name, label, wanted - there)


def test_each_rule_says_what_is_wrong_and_what_to_do() -> None:
    """A name, an expression with balanced brackets, a patience, a severity, a summary and a remedy."""
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) >= 8
    for rule in found:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert all(rule["expr"].count(one) == rule["expr"].count(other) for one, other in ("()", "{}", "[]"))


def test_the_alerts_that_were_promised_are_there() -> None:
    """No success for 26 hours, held, failed and throttled shares, the age and coverage of the data, the disk."""
    by_name = {rule["alert"]: rule["expr"] for rule in rules()}
    assert f"> {26} * 3600" in by_name["CapillaryExportNoSuccess"]
    assert timedelta(hours=26).total_seconds() == 26 * 3600
    for name, metric in {
        "Held": "night_state",
        "ManyFailed": "outcomes",
        "Throttled": "calls_total",
        "DataIsOld": "data_age_seconds",
        "CoverageIsLow": "coverage_ratio",
        "DiskIsFull": "disk_free_bytes",
    }.items():
        assert f"capillary_export_{metric}" in by_name[f"CapillaryExport{name}"]


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Its data source and its exports are variables; panels have a title, a unit and places that do not overlap."""
    loaded = json.loads((MONITORING / "dashboard.json").read_text())
    assert [one["name"] for one in loaded["templating"]["list"]] == ["datasource", "export"]
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        place = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & place
        assert at["x"] + at["w"] <= 24
        taken |= place
        assert all("$export" in target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in panels()}) == len(panels())
