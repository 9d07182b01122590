"""Metrics and one trace of the night's steps to an OpenTelemetry collector (OTLP over HTTP): the extra `otel`.

Everything is sent from threads of the SDK's own; a collector that does not answer costs a few seconds at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from pipeline import __version__
from pipeline.config import Config
from pipeline.events import EVENTS
from pipeline.metrics import MEASURES, Measure, Standing
from pipeline.night import Screen
from pipeline.status import standing_of

EVERY_S = 60.0
TIMEOUT_S = 5.0
ENDS = {
    "ids.read": "list",
    "plan.made": "plan",
    "fetch.ended": "fetch",
    "snapshot.built": "build",
    "snapshot.published": "publish",
    "snapshot.held": "publish",
}
"""Which step of the night an event ends; the next one begins there."""


class Otlp(Screen):
    """Sends while it is entered."""

    def __init__(self, config: Config) -> None:
        assert config.metrics.otlp is not None
        self._config = config
        about = {"service.name": "capillary-export", "service.version": __version__, **config.metrics.labels}
        url, resource = config.metrics.otlp, Resource.create(about)
        exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics", timeout=TIMEOUT_S)
        reader = PeriodicExportingMetricReader(exporter, EVERY_S * 1000, TIMEOUT_S * 1000)
        self._metrics = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        spans = OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=TIMEOUT_S)
        self._tracing.add_span_processor(BatchSpanProcessor(spans))
        self._tracer = self._tracing.get_tracer("capillary-export", __version__)
        self._since = time.time_ns()
        self._looked_at, self._found = float("-inf"), dict[str, Any]()
        self._observe()

    def __enter__(self) -> Otlp:
        self._root: Span = self._tracer.start_span("night", start_time=self._since)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # its text may hold anything
            self._root.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._root.end()
        with suppress(Exception):  # the SDK warns of what it could not send
            self._metrics.shutdown(timeout_millis=2 * TIMEOUT_S * 1000)
        with suppress(Exception):
            self._tracing.shutdown()

    def event(self, name: str, /, **fields: object) -> None:
        """The end of a step is a span; a warning is an event of the night's."""
        told = {key: value for key, value in fields.items() if isinstance(value, str | int | float)}
        if name in ENDS:
            now = time.time_ns()
            inside = set_span_in_context(self._root)
            span = self._tracer.start_span(ENDS[name], inside, attributes=told, start_time=self._since)
            span.end(now)
            self._since = now
        elif EVENTS[name].level == "warning":
            self._root.add_event(name, told)

    def _observe(self) -> None:
        meter = self._metrics.get_meter("capillary-export", __version__)
        for measure in MEASURES:
            make = meter.create_observable_counter if measure.is_counter else meter.create_observable_gauge
            make(measure.otel_name, [self._reading(measure)], measure.unit, measure.help)

    def _reading(self, measure: Measure) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, dict(labels)) for value, labels in measure.read(self._standing())]

        return read

    def _standing(self) -> Standing:
        """Read once for all metrics of an export."""
        if time.monotonic() - self._looked_at > 1.0:
            self._found, self._looked_at = standing_of(self._config), time.monotonic()
        return self._found
