"""Metrics as a file that node_exporter's textfile collector reads: at once, each minute, and at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from pipeline.config import Config
from pipeline.metrics import exposition
from pipeline.status import standing_of
from pipeline.store.atomic import write_quickly

EVERY_S = 60.0
READABLE = 0o644
"""node_exporter is another user, and there is nothing private in it."""


def write_textfile(config: Config) -> None:
    """Write `metrics.textfile`, whole. Raises StorageError."""
    path = config.metrics.textfile
    assert path is not None
    write_quickly(path, exposition(standing_of(config), config.metrics.labels))
    with suppress(OSError):
        path.chmod(READABLE)


class Textfile:
    """Keeps the file fresh while it is entered, from a thread; `on_trouble` is told of the first failure."""

    def __init__(
        self, config: Config, on_trouble: Callable[[Exception], None], every_s: float = EVERY_S
    ) -> None:
        self._config = config
        self._on_trouble = on_trouble
        self._every_s = every_s
        self._over = threading.Event()
        self._is_told = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def __enter__(self) -> Textfile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        self._write()
        while not self._over.wait(self._every_s):
            self._write()

    def _write(self) -> None:
        try:
            write_textfile(self._config)
        except Exception as exc:  # whatever it is, the night goes on
            if not self._is_told:
                self._is_told = True
                self._on_trouble(exc)
