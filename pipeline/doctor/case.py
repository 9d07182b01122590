"""What several looks share: the config, tonight's plan, the first rows of the list. Each is worked out once."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.config import Config
from pipeline.errors import ExportError
from pipeline.fetch.client import Question
from pipeline.ids import IdReader
from pipeline.night import Options, plan_night
from pipeline.night.learned import learn
from pipeline.night.listing import csv_spec
from pipeline.plan import Learned, Plan
from pipeline.store.workspace import Workspace

FIRST_ROWS = 1000


class FirstRows(NamedTuple):
    """The beginning of the list of IDs."""

    files: list[str]
    read: int
    rejected: int
    first: Question | None  # the first customer in it


class Case:
    """The patient: a config at a moment."""

    def __init__(self, config: Config, now: datetime) -> None:
        self.config = config
        self.now = now
        self.workspace = Workspace(config.work.path)
        self.plan_error: ExportError | None = None

    @property
    def zone(self) -> ZoneInfo | None:
        """The window's zone; None for the machine's."""
        name = self.config.window.timezone
        return ZoneInfo(name) if name else None

    @property
    def is_piped(self) -> bool:
        """Whether the IDs come from standard input: then nothing is known of them before a night."""
        return "-" in self.config.ids.paths

    @cached_property
    def first_rows(self) -> FirstRows:
        """Raises UsageError."""
        reader = IdReader(csv_spec(self.config.ids))
        files = reader.files()
        for batch in reader.batches(FIRST_ROWS):
            if batch.ids:
                first = Question(batch.ids[0], batch.texts[0] if batch.texts else "")
                return FirstRows(files, reader.read, reader.rejected, first)
        return FirstRows(files, reader.read, reader.rejected, None)

    @cached_property
    def plan(self) -> Plan | None:
        """Tonight's; None where list, workspace or output cannot be read (`plan_error` says why)."""
        if self.is_piped:
            return None
        try:
            return plan_night(self.config, Options(now=lambda: self.now))
        except ExportError as exc:
            self.plan_error = exc
            return None

    @cached_property
    def learned(self) -> Learned:
        """What the last nights took. Raises StorageError."""
        return learn(self.workspace)

    @cached_property
    def holder(self) -> int | None:
        """The process that holds the workspace; 0 where it is unknown. Raises StorageError."""
        return self.workspace.holder()
