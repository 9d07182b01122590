"""What happens in a night, as data: each event's name, how loud it is, what it means. Who hears of it is handed in."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Tell(Protocol):
    """Told of an event by its name and fields: numbers, dates, our own words; no customer data but IDs, no secrets."""

    def __call__(self, name: str, /, **fields: object) -> None: ...


def tell_nobody(name: str, /, **fields: object) -> None:
    """Where nobody listens."""


class Event(NamedTuple):
    """How loud an event is (debug, info, warning, error), and what it means."""

    level: str
    meaning: str


EVENTS = {
    "night.started": Event("info", "a run begins, or goes on with a night"),
    "chunks.normalized": Event("info", "what a death had left without tables has them now"),
    "ids.read": Event("info", "the CSVs are read, and what was found in them"),
    "plan.made": Event("info", "what tonight can cover, and when it ends"),
    "fetch.started": Event("info", "the calls begin"),
    "fetch.progress": Event("info", "how far it is, once a minute"),
    "fetch.retry": Event("debug", "a call has to be made again"),
    "fetch.failed": Event("debug", "an ID is given up for tonight"),
    "fetch.paused": Event("info", "the API says that its quota is used up: no call leaves for a while"),
    "fetch.throttled": Event("warning", "the API turns calls away: all wait, and the pace is halved"),
    "breaker.opened": Event("warning", "the API is taken to be down: one call at a time asks"),
    "breaker.closed": Event("info", "the API answers again"),
    "chunk.sealed": Event("info", "a journal file is full, and its rows are written"),
    "fetch.ended": Event("info", "the calls are over, and what they amount to"),
    "helper.died": Event("warning", "the second process died; the night goes on with another"),
    "serving.started": Event("info", "the page is to be had at this address while the run goes on"),
    "snapshot.built": Event("info", "all tables are written"),
    "check.failed": Event("warning", "a check found something; with the severity hold it holds the snapshot"),
    "snapshot.published": Event("info", "readers see tonight's snapshot"),
    "snapshot.held": Event("warning", "the snapshot is not published, and why"),
    "snapshot.followed": Event("info", "the page and the retention are done"),
    "tables.reached": Event("info", "every Delta Lake or Iceberg table is at the live snapshot"),
    "tables.behind": Event("warning", "some Delta Lake or Iceberg tables are not at the live snapshot"),
    "night.unchanged": Event("info", "there was nothing to do"),
    "night.stopped": Event("warning", "the night stops before its end; `run` goes on"),
    "night.failed": Event("error", "the run ends with an error"),
    "notify.failed": Event("error", "a hook was not told; the night is not affected"),
    "library.warned": Event("warning", "a library says something; without the text of its errors"),
    "watcher.failed": Event(
        "warning", "a display, a metrics file or the like has failed; the night goes on without it"
    ),
}
"""Every event there is."""
