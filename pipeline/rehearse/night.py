"""The process that runs the sample night: the real one, by clocks that go faster.

Its last line on standard output tells how it went, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.rehearse.clocks import Hurry

real_clock = time.monotonic


def main(words: list[str]) -> int:
    """`SPEED STARTS_AT CONFIG NIGHT`: run that night as if it were `STARTS_AT` (Unix time)."""
    from pipeline.rehearse.clocks import Hurry

    speed, starts_at, config_path, night = words
    hurry = Hurry(float(starts_at))
    sys.stdout.write(json.dumps(_run(Path(config_path), night, hurry, float(speed))) + "\n")
    return 0


def _run(config_path: Path, night: str, hurry: Hurry, speed: float) -> dict[str, Any]:
    """Everything of ours is imported here: by now the clocks are set."""
    from datetime import date

    from pipeline.blocks import TABLES
    from pipeline.config import load_config
    from pipeline.errors import ExportError
    from pipeline.night import Options, Screen, run_night
    from pipeline.normalize.scribe import die_with_parent
    from pipeline.stats import Tally

    die_with_parent(os.getppid())
    _allow_for_lateness(speed)
    began: dict[str, float] = {}

    class Watch(Screen):
        """Hurries the fetch, and notes in real seconds when the other parts begin."""

        def step(self, text: str) -> None:
            began[text.partition(" ")[0]] = real_clock()

        @contextmanager
        def fetching(self, tally: Tally, *_about: Any) -> Iterator[Callable[[], None]]:
            """The second process takes a second or two to start, which a long night does not feel: until it has
            answered, nothing is hurried."""
            try:
                yield lambda: hurry.go(speed) if tally.durable and hurry.speed != speed else None
            finally:
                hurry.go(1.0)

    config = load_config(config_path, environ={}, tables=[table.name for table in TABLES])
    options = Options(night=date.fromisoformat(night), now=lambda: datetime.fromtimestamp(time.time(), UTC))
    try:
        result = run_night(config, options, Watch())
    except ExportError as exc:
        return {"error": exc.message, "hint": exc.hint, "exit_code": int(exc.exit_code)}
    return {
        "build_s": real_clock() - began.get("building", real_clock()),
        "stopped": result.stopped.message if result.stopped else "",
        "held": result.held.message if result.held else "",
    }


def _allow_for_lateness(speed: float) -> None:
    """Timers are late and a loop is busy for a few milliseconds; by hurried clocks that is `speed` times as much."""
    from pipeline.fetch import concurrency, pool, quota

    quota.BURST_S *= speed
    pool.STALE_TURN_S *= speed
    concurrency.STALL_S *= speed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
