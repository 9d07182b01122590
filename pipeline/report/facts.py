"""What the morning page tells, as plain numbers: no words, no drawings, and no customer's data or ID among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from pipeline.outcome import Outcome
from pipeline.store.lakehouse import Marker
from pipeline.store.snapshots import ManifestCheck
from pipeline.store.workspace import IdCounts


class Status(StrEnum):
    """How a night stands."""

    PUBLISHED = "published"
    SUPERSEDED = "superseded"  # it was published, and is not the live snapshot any more
    HELD = "held"
    WAITING = "waiting"  # its snapshot is whole and good, and was not to be published
    STOPPED = "stopped"
    DIED = "died"
    RUNNING = "running"
    TAKEN_ALONG = "taken along"


class Slot(NamedTuple):
    """A stretch of the night. Calls stand where they were sent; latencies in ms, None where no call was sent."""

    at: datetime  # UTC
    calls: int
    again: int  # of these, had to be made again
    throttled: int  # of these, answered 429
    verdicts: Mapping[Outcome, int]
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Series:
    """The night by time, in slots of `slot_s` seconds; `quota` is what each may have, in calls a minute."""

    slot_s: int = 60
    slots: Sequence[Slot] = ()
    quota: Sequence[float] = ()  # infinite where nothing limits

    def per_minute(self, count: float) -> float:
        """A slot's count, as a rate."""
        return count * 60 / self.slot_s


@dataclass(frozen=True)
class Spent:
    """The night's calls. `allowed` is what the quota let through while it ran, None where that is not known.

    `earlier` were made by a night that died, whose journal this one took along.
    """

    made: int = 0
    repeated: int = 0
    throttled: int = 0
    pages: int = 0
    earlier: int = 0
    allowed: float | None = None
    first_at: datetime | None = None  # when the first and the last call were sent
    last_at: datetime | None = None
    in_flight_most: int = 0  # quota.max_in_flight
    latency_ms: float | None = None  # mean


@dataclass(frozen=True)
class ReasonCount:
    """IDs that ended so (`outcome`), or calls that had to be made again, for one reason."""

    outcome: Outcome
    code: int
    count: int
    text: str = ""


@dataclass(frozen=True)
class Age:
    """How old the snapshot's customers are: by the night that fetched their rows."""

    as_of: date
    by_night: Mapping[date, int]
    is_this_night: bool  # the night's own snapshot, else the live one
    snapshot: str = ""

    @property
    def customers(self) -> int:
        """How many the snapshot has."""
        return sum(self.by_night.values())

    def seen_within(self, days: int) -> int:
        """How many were fetched in the last so many nights, this one counted in."""
        return sum(count for night, count in self.by_night.items() if (self.as_of - night).days < days)

    def oldest_tenth(self) -> int:
        """Nights since the youngest of the oldest tenth was fetched."""
        ages = sorted(((self.as_of - night).days, count) for night, count in self.by_night.items())
        behind, wanted = 0, 0.9 * self.customers
        for days, count in ages:
            behind += count
            if behind > wanted:
                return max(0, days)
        return max(0, ages[-1][0]) if ages else 0


@dataclass(frozen=True)
class Before:
    """A snapshot that was made before this night: what to compare with."""

    night: date
    snapshot: str
    rows: Mapping[str, int]
    outcomes: Mapping[str, int]
    distinct: int


@dataclass(frozen=True)
class Drift:
    """Something in the answers that fits no column: a path or a column, and how often it came."""

    where: str
    what: str
    count: int


@dataclass(frozen=True)
class Forecast:
    """What a run that begins at `starts_at` can do, and when it ends. Computed by the planner, not here."""

    starts_at: datetime
    ids: int
    asked: int
    deferred: int
    calls: int
    ends_at: datetime
    window_ends: datetime | None = None
    disk_bytes: int = 0
    memory_bytes: int = 0
    is_running: bool = False  # of the run that is under way


@dataclass(frozen=True)
class Facts:
    """All that the page of a night is made from."""

    night: date
    status: Status
    made_at: datetime  # when these facts were gathered, UTC
    zone: str = ""  # whose clock the page shows; empty for the machine's
    config: str = "CONFIG"  # how the commands on the page name the config
    version: str = ""
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    snapshot: str = ""
    live: str = ""
    tables_of: Marker | None = None  # which run the tables of Delta Lake or Iceberg have reached
    published_at: datetime | None = None
    forced_reason: str = ""
    export: str = ""
    ids: IdCounts = field(default_factory=IdCounts)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    series: Series = field(default_factory=Series)
    slowest: Series = field(default_factory=Series)
    reasons: Sequence[ReasonCount] = ()
    age: Age | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    before: Sequence[Before] = ()  # newest first
    checks: Sequence[ManifestCheck] = ()
    unknown_fields: Sequence[Drift] = ()
    rejects: Sequence[Drift] = ()
    rejected_rows: Sequence[Drift] = ()
    forecast: Forecast | None = None
    missing: Sequence[str] = ()  # what could not be read, in words

    @property
    def distinct(self) -> int:
        """The IDs that the night was given."""
        return self.ids.distinct

    @property
    def is_under_way(self) -> bool:
        """Whether more verdicts may come: then IDs without one are due still, not deferred."""
        return self.status is Status.RUNNING
