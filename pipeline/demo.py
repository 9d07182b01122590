"""A whole night against the sandbox in one command: nothing to configure, nothing leaves this machine."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.blocks import TABLES
from pipeline.config import Config, load_config
from pipeline.errors import ExportError, UsageError
from pipeline.night import Options, Result, Screen, run_night
from pipeline.processes import module_command
from pipeline.sandbox import known_ids
from pipeline.store.atomic import make_folder, write_atomically

CALLS_PER_MINUTE = 4_800
FAULTS = "latency=20ms±15ms, 500=0.3%, cut=0.1%, reset=0.1%, wrong-type=0.4%"
PASSWORD = "sandbox"  # noqa: S105 - the sandbox's own, it guards made-up people
NOT_IDS = ("3.87E+08", "387020208.0", "", "n/a", "../x", "-7", "0", "12 34", "9223372036854775808")


@dataclass(frozen=True)
class DemoSettings:
    """What the demo can be told."""

    out: Path
    ids: int = 5_000
    nights: int = 1
    seed: int = 1


@dataclass(frozen=True)
class DemoNight:
    """One of the demo's nights: how it ended, and what the sandbox saw of it."""

    result: Result
    judged: dict[str, Any]


def run_demo(settings: DemoSettings, screen: Screen) -> Iterator[DemoNight]:
    """Run the nights, one day after the other. Raises the errors of `errors.py`."""
    home = _fresh_home(settings.out)
    _write_ids(home / "ids.csv.gz", settings.ids)
    today = datetime.now(UTC).date()
    for number in range(settings.nights):
        day = today - timedelta(days=settings.nights - 1 - number)
        with _sandbox(settings, day) as url:
            result = run_night(_config(home, url), Options(night=day), screen)
            yield DemoNight(result, _get_json(f"{url}/sandbox/judge"))


def _fresh_home(out: Path) -> Path:
    """The demo's own folder inside the export; an earlier demo's is replaced, anything else is left alone."""
    home = out / "_demo"
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Name a folder with --out.")
    if out.exists() and any(out.iterdir()):
        if not home.exists():
            raise UsageError(f"{out} exists and is no demo's.", "Name another folder with --out.")
        for path in (home, out / "snapshots"):
            shutil.rmtree(path, ignore_errors=True)
        (out / "current.json").unlink(missing_ok=True)
    return make_folder(home)


def _write_ids(path: Path, rows: int) -> None:
    """A CSV as they come: mostly good, with repeats, unknown customers, and cells that a spreadsheet spoiled."""
    spoiled = NOT_IDS[: max(1, rows // 20)]
    count = max(1, rows - len(spoiled) - rows // 100)
    ids: list[object] = list(known_ids(count))
    repeats = ids[: rows // 200]
    strangers = [900_000_001 + 7 * number for number in range(rows - len(ids) - len(spoiled) - len(repeats))]
    with replacing_gzip(path) as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "note"])
        for number, one in enumerate([*ids, *strangers, *repeats, *spoiled][:rows]):
            writer.writerow([one, f"row {number}"])


@contextmanager
def replacing_gzip(path: Path) -> Iterator[Any]:
    """A gzip text file to write."""
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        yield file


def _config(home: Path, url: str) -> Config:
    """The demo's config, written down so that every other command works on it too."""
    write_atomically(home / "password", PASSWORD.encode())
    text = f"""\
api:
  host: {url}
  auth: {{kind: basic, till: till.01, password_file: password}}
  source: INSTORE
  params: {{gapToUpgrade: 0, gapToRenew: 0, includedFraudDetails: true}}
ids: {{paths: [ids.csv.gz], column: customer_id, max_rejected_share: 0.1}}
quota:
  limits: [{{calls: {CALLS_PER_MINUTE}, per_s: 60}}]
  max_in_flight: 32
work: {{path: work}}
output: {{url: ..}}
"""
    write_atomically(home / "demo.yaml", text.encode())
    return load_config(home / "demo.yaml", environ={}, tables=[table.name for table in TABLES])


@contextmanager
def _sandbox(settings: DemoSettings, day: date) -> Iterator[str]:
    """A sandbox in a process of its own; gives its URL."""
    options = {
        "port": 0,
        "customers": settings.ids,
        "calls-per-minute": CALLS_PER_MINUTE,
        "faults": FAULTS,
        "seed": settings.seed,
        "day": day.isoformat(),
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        module_command("pipeline.sandbox", *words), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url.startswith("http://127.0.0.1"):
            raise ExportError("The sandbox did not start.")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def _get_json(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own loopback server
        found: dict[str, Any] = json.load(response)
        return found
