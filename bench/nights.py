"""Nights against a sandbox in this process, one day after the other, from a folder that can be copied."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from pipeline.blocks import TABLES
from pipeline.config import load_config
from pipeline.night import Options, Result, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids

FIRST_NIGHT = date(2026, 11, 2)


@contextmanager
def running(config: SandboxConfig) -> Iterator[Sandbox]:
    """A sandbox that serves from a thread."""
    ready, held = threading.Event(), dict[str, Any]()

    async def serve() -> None:
        held["stop"], held["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with Sandbox(config) as sandbox:
            held["sandbox"] = sandbox
            ready.set()
            await held["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10), "the sandbox did not start"
    try:
        yield held["sandbox"]
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join(10)


@dataclass
class Export:
    """A config, its workspace and its export in one folder; `nights` have been run."""

    root: Path
    sandbox: Sandbox
    customers: int
    nights: int = 0
    ended_at: float = 0.0

    def begin(self) -> Export:
        """Write the config and the list."""
        self.root.mkdir(parents=True, exist_ok=True)
        settings = {
            "api": {
                "host": self.sandbox.url,
                "auth": {"kind": "basic", "till": "till.01", "password_file": "password"},
                "params": {"gapToUpgrade": 0, "gapToRenew": 0, "includedFraudDetails": True},
            },
            "ids": {"paths": ["ids.csv"]},
            "quota": {"limits": [{"calls": 100_000, "per_s": 1}], "max_in_flight": 16},
            "retry": {"max_wait_s": 0.2},
            "work": {"keep_nights": 2},
            "output": {"keep_snapshots": 2, "grace": 0},
        }
        (self.root / "nightly.yaml").write_text(yaml.safe_dump(settings))
        (self.root / "password").write_text(self.sandbox.config.password)
        (self.root / "ids.csv").write_text("\n".join(["customer_id", *map(str, known_ids(self.customers))]))
        return self

    def copy(self, root: Path) -> Export:
        """The same, somewhere else."""
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root)
        return Export(root, self.sandbox, self.customers, self.nights, self.ended_at)

    def run(self, *, asks: int | None = None, faults: str = "", **flags: Any) -> Result:
        """The next night, which asks so many customers, the longest unseen first; all where None."""
        night = FIRST_NIGHT + timedelta(days=self.nights)
        self.sandbox.day, self.sandbox.faults = night, faults
        self.nights += 1
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        tables = [table.name for table in TABLES]
        config = load_config(self.root / "nightly.yaml", flags=dotted, environ={}, tables=tables)
        if (
            left := int(self.ended_at) + 1 - time.time()
        ) > 0:  # who was seen before whom is known by the second
            time.sleep(left)
        result = run_night(config, Options(night=night, limit=asks), Screen())
        self.ended_at = time.time()
        return result
