"""Where a run's numbers go while it runs: a file for node_exporter, an OpenTelemetry collector."""

from __future__ import annotations

from pipeline.telemetry.textfile import Textfile

__all__ = ["Textfile"]
