"""What works, what doesn't, and what to do: everything a night needs, tried once. `examine` is its door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from pipeline.config import Config
from pipeline.doctor.api import look_at_api, look_at_secret
from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, Level, failed
from pipeline.doctor.lists import look_at_ids
from pipeline.doctor.machine import look_at_disk, look_at_machine, look_at_memory, look_at_time_zone
from pipeline.doctor.network import look_at_host, look_at_name, look_at_tls
from pipeline.doctor.pace import look_at_quota, look_at_window
from pipeline.doctor.places import (
    look_at_lock,
    look_at_nights,
    look_at_output,
    look_at_tables,
    look_at_workspace,
)
from pipeline.errors import ExportError

__all__ = ["Finding", "Level", "examine"]

Look = Callable[[Case], Iterator[Finding]]

HERE: dict[str, Look] = {
    "machine": look_at_machine,
    "IDs": look_at_ids,
    "workspace": look_at_workspace,
    "lock": look_at_lock,
    "nights": look_at_nights,
    "output": look_at_output,
    "tables": look_at_tables,
    "disk": look_at_disk,
    "memory": look_at_memory,
    "time zone": look_at_time_zone,
    "window": look_at_window,
    "quota": look_at_quota,
    "secret": look_at_secret,
}
"""What this machine can tell by itself."""
OUTSIDE: dict[str, Look] = {
    "name": look_at_name,
    "host": look_at_host,
    "TLS": look_at_tls,
    "API": look_at_api,
}
"""The way to the API, step by step: where one fails, the next ones would say the same in other words."""


def examine(config: Config, now: datetime) -> list[Finding]:
    """Try everything in turn; what follows from a failure is still tried where that makes sense.

    Calls the API once, and a second time only where the first answer does not tell whom it is about.
    """
    case = Case(config, now)
    findings = [one for what, look in HERE.items() for one in _looked(what, look, case)]
    is_ready = all(one.ok for one in findings if one.what == "secret")
    for what, look in OUTSIDE.items():
        if what == "API" and not is_ready:
            break
        found = _looked(what, look, case)
        findings += found
        if not all(one.ok for one in found):
            break
    return findings


def _looked(what: str, look: Look, case: Case) -> list[Finding]:
    """What was found until an error ended the look, and the error."""
    found: list[Finding] = []
    try:
        found += look(case)
    except ExportError as exc:
        found.append(failed(what, exc))
    return found
