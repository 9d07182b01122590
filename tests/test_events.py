"""What a night tells while it runs, as data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from pipeline.events import EVENTS
from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import Sandbox, known_ids
from tests.conftest import Home

NIGHT = date(2026, 11, 22)


class Heard(Screen):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, /, **fields: object) -> None:
        """One more."""
        assert name in EVENTS, name
        self.told.append((name, fields))

    def names(self) -> list[str]:
        """In the order they came."""
        return [name for name, _ in self.told]

    def of(self, name: str) -> dict[str, Any]:
        """The first event of this name."""
        return next(fields for told, fields in self.told if told == name)

    def many(self, name: str) -> int:
        """How often it was told."""
        return self.names().count(name)


def heard(home: Home, **flags: Any) -> Heard:
    found = Heard()
    run_night(home.config(**flags), Options(night=NIGHT), found)
    return found


def test_a_night_tells_its_story_in_order(home: Home) -> None:
    """From the start to the pointer, each step is an event with its numbers."""
    found = heard(home)
    assert found.names() == [
        "night.started", "ids.read", "plan.made", "fetch.started", "chunk.sealed", "fetch.ended",
        "snapshot.built", "snapshot.published", "snapshot.followed",
    ]  # fmt: skip
    assert found.of("ids.read")["distinct"] == found.of("plan.made")["asked"] == 50
    assert found.of("chunk.sealed")["records"] == found.of("fetch.ended")["calls"] >= 50
    assert sum(found.of("snapshot.published")["outcomes"].values()) == 50


def test_a_second_start_with_nothing_to_do_says_so(home: Home) -> None:
    """The same night again: nothing is asked, and that is an event, too."""
    heard(home)
    again = heard(home)
    assert again.names() == ["night.started", "ids.read", "plan.made", "night.unchanged"]
    assert again.of("night.started")["is_new"] is False


def test_a_failed_call_is_told_with_its_request_id(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """Each retry names the ID, the status, and what Capillary's support asks for; so does whom it gave up."""
    home.settings["api"]["host"] = start_sandbox(faults="500=20%").url
    home.save()
    found = heard(home, retry__max_attempts=2)
    retry, failed = found.of("fetch.retry"), found.of("fetch.failed")
    assert retry["status"] == failed["status"] == 500
    assert retry["request_id"].startswith("sandbox-")
    assert failed["customer_id"] in known_ids(50)
    assert found.many("fetch.failed") == found.of("fetch.ended")["outcomes"]["failed"]


def test_throttling_is_told_once_a_pause(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """Many calls are turned away together; the pause that follows is one event."""
    home.settings["api"]["host"] = start_sandbox(calls_per_minute=20, faults="latency=20ms").url
    home.write_ids(known_ids(21))
    home.save()
    found = heard(home, retry__max_wait_s=0.5, retry__outage_s=1)
    throttled = found.of("fetch.throttled")
    assert throttled["code"] == 429
    assert 0 < throttled["wait_s"] <= 0.5
    assert found.many("fetch.throttled") <= found.of("fetch.ended")["throttled"]


def test_an_outage_is_told_when_it_begins(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """The breaker opens once, whatever number of calls fail; the night's stop is an event with its reason."""
    home.settings["api"]["host"] = start_sandbox(faults="outage=60s@1s, latency=50ms").url
    home.write_ids(known_ids(400))
    home.save()
    found = heard(home, retry__outage_s=1)
    assert found.many("breaker.opened") == 1
    assert found.of("breaker.opened")["reason"] == "HTTP 503"
    assert found.many("night.stopped") == 1
