"""OpenTelemetry: a real receiver on loopback gets the night's metrics and one trace of its steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline.sandbox import known_ids
from tests.conftest import Home
from tests.test_cli import command


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Taking(BaseHTTPRequestHandler):
    """OTLP over HTTP, as protobuf."""

    server: Receiver

    def do_POST(self) -> None:
        """Metrics or spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._note(resource)
                for scope in resource.scope_metrics:
                    self.server.metrics |= {metric.name: metric for metric in scope.metrics}
        elif self.path == "/v1/traces":
            for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._note(traced)
                self.server.spans += [span for scope in traced.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self, found: Any) -> None:
        about = {one.key: one.value.string_value for one in found.resource.attributes}
        self.server.services.add(f"{about['service.name']} {about.get('export')}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector on loopback."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_collector_gets_the_nights_metrics_and_one_trace(home: Home, receiver: Receiver) -> None:
    """Steps are spans of one trace, in order, within the night's; metrics have names and units as OpenTelemetry's."""
    home.settings["metrics"] = {"otlp": receiver.url, "labels": {"export": "a"}}
    home.write_ids(known_ids(10))
    home.save()
    done = command("run", home.config_path)
    assert done.returncode == 0, done.stderr
    by_name = {span.name: span for span in receiver.spans}
    assert [span.name for span in sorted(receiver.spans, key=lambda one: one.end_time_unix_nano)] == [
        "list", "plan", "fetch", "build", "publish", "night",
    ]  # fmt: skip
    assert len({span.trace_id for span in receiver.spans}) == 1
    night = by_name.pop("night")
    assert {span.parent_span_id for span in by_name.values()} == {night.span_id}
    assert all(span.start_time_unix_nano >= night.start_time_unix_nano for span in by_name.values())
    calls = receiver.metrics["capillary_export.calls"]
    assert (calls.unit, calls.sum.is_monotonic) == ("{call}", True)
    assert sum(point.as_int or point.as_double for point in calls.sum.data_points) >= 10
    assert receiver.metrics["capillary_export.disk_free"].unit == "By"
    assert receiver.services == {"capillary-export a"}


@pytest.mark.long
def test_a_collector_that_is_away_ends_no_night(home: Home) -> None:
    """It is warned of; the night is published, and its exit code is its own."""
    home.settings["metrics"] = {"otlp": "http://127.0.0.1:9"}
    home.write_ids(known_ids(5))
    home.save()
    done = command("run", home.config_path, "--json")
    assert done.returncode == 0
    assert '"published": true' in done.stdout
    assert "library.warned" in done.stderr
    assert "Traceback" not in done.stderr
