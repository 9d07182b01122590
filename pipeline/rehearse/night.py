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
from typing import Any

real_clock = time.monotonic


def main(words: list[str]) -> int:
    """`SPEED STARTS_AT CONFIG NIGHT`: run that night as if it were `STARTS_AT` (Unix time)."""
    from pipeline.rehearse.clocks import hasten

    speed, starts_at, config_path, night = words
    hasten(float(speed), float(starts_at))
    sys.stdout.write(json.dumps(_run(Path(config_path), night)) + "\n")
    return 0


def _run(config_path: Path, night: str) -> dict[str, Any]:
    """Everything of ours is imported here: by now the clocks are set."""
    from datetime import date

    from pipeline.blocks import TABLES
    from pipeline.config import load_config
    from pipeline.errors import ExportError
    from pipeline.night import Options, Screen, run_night
    from pipeline.normalize.scribe import die_with_parent

    die_with_parent(os.getppid())
    lasted: dict[str, float] = {}

    class Watch(Screen):
        """Notes in real seconds how long each part takes."""

        def step(self, text: str) -> None:
            lasted[text.partition(":")[0].split(" ")[0]] = real_clock()

        @contextmanager
        def fetching(self, *_about: Any) -> Iterator[Callable[[], None]]:
            lasted["fetching"] = real_clock()
            try:
                yield lambda: None
            finally:
                lasted["fetched"] = real_clock()

    config = load_config(config_path, environ={}, tables=[table.name for table in TABLES])
    options = Options(night=date.fromisoformat(night), now=lambda: datetime.fromtimestamp(time.time(), UTC))
    try:
        result = run_night(config, options, Watch())
    except ExportError as exc:
        return {"error": exc.message, "hint": exc.hint, "exit_code": int(exc.exit_code)}
    return {
        "build_s": real_clock() - lasted.get("building", real_clock()),
        "stopped": result.stopped.message if result.stopped else "",
        "held": result.held.message if result.held else "",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
