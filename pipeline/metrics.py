"""The numbers of an export as metrics: declared once, for Prometheus' text and for OpenTelemetry.

Each is made from how things stand (`status.standing_of`), whether a night runs, has ended, or died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "capillary_export_"
STATES = ("started", "fetching", "stopped", "interrupted", "held", "published", "taken along", "unknown")
AGES = {"0.5": 0.5, "0.9": 0.9, "1": 1.0}


class Sample(NamedTuple):
    """A value and its labels."""

    value: float
    labels: Mapping[str, str] = {}


Standing = Mapping[str, Any]
"""`status.standing_of`: what `status --json` shows, and the manifests of the live and of the newest snapshot."""


@dataclass(frozen=True)
class Measure:
    """A metric: its name without the prefix, how OpenTelemetry writes its unit, what it means, where it is read."""

    name: str
    unit: str
    help: str
    read: Callable[[Standing], Iterable[Sample]]
    is_counter: bool = False

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return f"{PREFIX}{self.name}"

    @property
    def otel_name(self) -> str:
        """As OpenTelemetry has it: dots, and neither a unit nor `total` at the end."""
        stem = self.name.removesuffix("_total").removesuffix(f"_{_ENDINGS.get(self.unit, ' ')}")
        return f"capillary_export.{stem}"


_ENDINGS = {"s": "seconds", "By": "bytes", "1": "ratio"}


# Reading


def _newest(found: Standing) -> Mapping[str, Any]:
    nights = found["nights"]
    return nights[0] if nights else {}


def _progress(name: str, by: float = 1.0) -> Callable[[Standing], Iterator[Sample]]:
    """A number of the newest night's last run; nothing where it has none."""

    def read(found: Standing) -> Iterator[Sample]:
        value = (_newest(found).get("progress") or {}).get(name)
        if value is not None:
            yield Sample(value * by)

    return read


def _while_fetching(name: str) -> Callable[[Standing], Iterator[Sample]]:
    """The same of a run that fetches now: what was is no pace, and no forecast."""

    def read(found: Standing) -> Iterator[Sample]:
        night = _newest(found)
        if night.get("is_running") and (night.get("step") or {}).get("step") == "fetching":
            yield from _progress(name)(found)

    return read


def _moment(text: str | None) -> Iterator[Sample]:
    if text:
        yield Sample(datetime.fromisoformat(text).timestamp())


def _state(found: Standing) -> Iterator[Sample]:
    night = _newest(found)
    for state in STATES if night else ():
        yield Sample(float(night["state"] == state), {"state": state.replace(" ", "_")})


def _calls(found: Standing) -> Iterator[Sample]:
    """Every call is one of three."""
    progress = _newest(found).get("progress")
    if progress:
        again, throttled = progress["repeated"], progress["throttled"]
        yield Sample(progress["calls"] - again, {"result": "answered"})
        yield Sample(max(0, again - throttled), {"result": "failed"})
        yield Sample(throttled, {"result": "throttled"})


def _outcomes(found: Standing) -> Iterator[Sample]:
    """Of the newest night's snapshot, or of its run so far."""
    manifest, night = found["newest_manifest"], _newest(found)
    counts = manifest["outcomes"] if manifest and not night.get("is_running") else None
    if counts is None:
        counts = (night.get("progress") or {}).get("outcomes", {})
    return (Sample(count, {"outcome": word}) for word, count in counts.items())


def _ids(found: Standing) -> Iterator[Sample]:
    counts = _newest(found).get("ids", {})
    names = ("distinct", "repeated", "rejected", "carried")
    return (Sample(counts[name], {"kind": name}) for name in names if name in counts)


def _latency(found: Standing) -> Iterator[Sample]:
    progress = _newest(found).get("progress") or {}
    for quantile, name in (("0.5", "latency_p50_ms"), ("0.95", "latency_p95_ms")):
        if progress.get(name) is not None:
            yield Sample(progress[name] / 1000, {"quantile": quantile})


def _failed_checks(found: Standing) -> Iterator[Sample]:
    manifest = found["newest_manifest"]
    if manifest:
        failed = [check["severity"] for check in manifest["checks"] if not check["passed"]]
        for severity in ("hold", "warn"):
            yield Sample(failed.count(severity), {"severity": severity})


def _tables(count: Callable[[Mapping[str, Any]], float]) -> Callable[[Standing], Iterator[Sample]]:
    def read(found: Standing) -> Iterator[Sample]:
        tables = (found["live_manifest"] or {"tables": {}})["tables"]
        return (Sample(count(table), {"table": name}) for name, table in tables.items())

    return read


def _coverage(found: Standing) -> Iterator[Sample]:
    """The share of the IDs ever asked for that have rows."""
    tables = (found["live_manifest"] or {"tables": {}})["tables"]
    asked = tables.get("outcomes", {}).get("rows", 0)
    if asked and "customers" in tables:
        yield Sample(tables["customers"]["rows"] / asked)


def _ages(found: Standing) -> Iterator[Sample]:
    """How old rows are, by nights: of half, of all but the oldest tenth, of all."""
    by_night = (found["live_manifest"] or {}).get("customers_by_night") or {}
    nights = sorted(((date.fromisoformat(night), count) for night, count in by_night.items()), reverse=True)
    total = sum(count for _, count in nights)
    today = datetime.fromisoformat(found["now"]).date()
    for label, share in AGES.items() if total else ():
        left = share * total
        for night, count in nights:
            left -= count
            if left <= 1e-9 * total:
                yield Sample(max(0, (today - night).days) * 86_400.0, {"quantile": label})
                break


def _measured(name: str) -> Callable[[Standing], Iterator[Sample]]:
    def read(found: Standing) -> Iterator[Sample]:
        measured = _newest(found).get("measured")
        if measured:
            yield Sample(measured[name])

    return read


MEASURES = (
    Measure(
        "info", "", "Which version wrote this.", lambda found: [Sample(1, {"version": found["version"]})]
    ),
    Measure("running", "", "1 while a run is at work.", lambda found: [Sample(float(found["running"]))]),
    Measure("night_state", "", "1 for the state that the newest night is in.", _state),
    Measure(
        "night_start_timestamp_seconds",
        "s",
        "When the newest night began, as Unix time.",
        lambda found: _moment(_newest(found).get("started_at")),
    ),
    Measure(
        "night_change_timestamp_seconds",
        "s",
        "When the newest night's state changed last, as Unix time.",
        lambda found: _moment(_newest(found).get("updated_at")),
    ),
    Measure(
        "last_success_timestamp_seconds",
        "s",
        "When the live snapshot was published, as Unix time.",
        lambda found: _moment((found["live"] or {}).get("published_at")),
    ),
    Measure(
        "export_reachable",
        "",
        "1 where output.url answered when this was written.",
        lambda found: [Sample(float(found["trouble"] is None))],
    ),
    Measure("calls_total", "{call}", "Calls of the newest night's last run.", _calls, is_counter=True),
    Measure(
        "ids", "{id}", "IDs in the newest night's list, and its rows that were repeated or rejected.", _ids
    ),
    Measure("outcomes", "{id}", "IDs of the newest night by their verdict.", _outcomes),
    Measure(
        "planned_ids",
        "{id}",
        "IDs that the last run was to ask for, as far as foreseen.",
        _progress("planned"),
    ),
    Measure(
        "deferred_ids", "{id}", "IDs that are foreseen to be left for another night.", _progress("deferred")
    ),
    Measure("calls_in_flight", "{call}", "Calls under way.", _while_fetching("in_flight")),
    Measure(
        "calls_per_second",
        "{call}/s",
        "Calls a second in the last minute.",
        _while_fetching("calls_per_s_now"),
    ),
    Measure(
        "quota_calls_per_second",
        "{call}/s",
        "Calls a second that the quota allows.",
        _while_fetching("allowed_per_s"),
    ),
    Measure("call_latency_seconds", "s", "Latency of the last thousand calls.", _latency),
    Measure("time_left_seconds", "s", "How long the fetch is foreseen to go on.", _while_fetching("eta_s")),
    Measure("checks_failed", "{check}", "Checks that the newest night's snapshot failed.", _failed_checks),
    Measure("snapshot_rows", "{row}", "Rows of the live snapshot.", _tables(lambda table: table["rows"])),
    Measure(
        "snapshot_bytes",
        "By",
        "Size of the live snapshot.",
        _tables(lambda table: sum(file["bytes"] for file in table["files"])),
    ),
    Measure("coverage_ratio", "1", "Share of the IDs ever asked for that have rows.", _coverage),
    Measure(
        "data_age_seconds",
        "s",
        "How old customers' rows are, in whole nights: 0.9 leaves the oldest tenth out.",
        _ages,
    ),
    Measure(
        "disk_free_bytes",
        "By",
        "Room left on the workspace's disk.",
        lambda found: [Sample(found["disk"]["free_bytes"])] if found["disk"] else [],
    ),
    Measure(
        "disk_size_bytes",
        "By",
        "Size of the workspace's disk.",
        lambda found: [Sample(found["disk"]["total_bytes"])] if found["disk"] else [],
    ),
    Measure("night_bytes", "By", "Journal and parts of the newest night.", _measured("night_bytes")),
    Measure(
        "memory_peak_bytes", "By", "Peak memory of the newest night's processes.", _measured("memory_bytes")
    ),
)
"""Every metric there is."""


# Writing


def exposition(found: Standing, labels: Mapping[str, str]) -> bytes:
    """Prometheus' text format; `labels` stand on every sample."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(found, labels))
    return generate_latest(registry)


class _Found(Collector):
    """What prometheus_client asks for the families."""

    def __init__(self, found: Standing, labels: Mapping[str, str]) -> None:
        self._found, self._labels = found, labels

    def collect(self) -> Iterator[Metric]:
        """Each metric that has a value now."""
        for measure in MEASURES:
            family = CounterMetricFamily if measure.is_counter else GaugeMetricFamily
            made: Metric = family(measure.full_name, measure.help)
            for sample in measure.read(self._found):
                made.add_sample(measure.full_name, {**self._labels, **sample.labels}, sample.value)
            if made.samples:
                yield made
