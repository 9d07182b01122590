"""Facts of a made-up night, for pages that no sandbox would bring about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipeline.outcome import Outcome
from pipeline.report.facts import (
    Age,
    Before,
    Drift,
    Facts,
    Forecast,
    ReasonCount,
    Series,
    Slot,
    Spent,
    Status,
)
from pipeline.store.snapshots import ManifestCheck
from pipeline.store.workspace import IdCounts

NIGHT = date(2026, 11, 24)
BEGAN = datetime(2026, 11, 23, 19, 30, tzinfo=UTC)  # 01:00 in Kolkata


def series(slots: int = 180, calls: int = 980) -> Series:
    """Minutes at nearly the quota, an outage in the middle, a slow hour, some repeats."""
    told: list[Slot] = []
    for place in range(slots):
        is_away = slots // 2 <= place < slots // 2 + 4
        made = 0 if is_away else calls + place * 7 % 20
        again = place * 13 % 29 if place % 5 == 0 else 0
        slow = 5.0 if 40 <= place < 70 else 1.0
        verdicts = {Outcome.EXPORTED: made - again - place % 3, Outcome.ABSENT: place % 3} if made else {}
        latencies = (None,) * 3 if is_away else (84.0 * slow, 190.0 * slow, 420.0 * slow)
        told.append(
            Slot(
                BEGAN + timedelta(minutes=place), made, again if made else 0, again // 3, verdicts, *latencies
            )
        )
    return Series(60, told, [1000.0] * slots)


def night(**changes: Any) -> Facts:
    """A published night of 180,000 IDs with a little of everything."""
    made = series()
    calls = sum(slot.calls for slot in made.slots)
    tables = ["customers", "profiles", "loyalty_programs", "points_summary", "segments", "outcomes"]
    about: dict[str, Any] = {
        "night": NIGHT,
        "status": Status.PUBLISHED,
        "made_at": BEGAN + timedelta(hours=4),
        "zone": "Asia/Kolkata",
        "config": "nightly.yaml",
        "version": "0.1.0",
        "started_at": BEGAN,
        "ended_at": BEGAN + timedelta(hours=3, minutes=2),
        "snapshot": "2026-11-23T223107Z",
        "live": "2026-11-23T223107Z",
        "published_at": BEGAN + timedelta(hours=3, minutes=1),
        "export": "./export",
        "ids": IdCounts(read=1_204_118, distinct=1_203_950, repeated=161, rejected=7),
        "outcomes": {
            "exported": calls - 700,
            "partial": 212,
            "absent": 180,
            "deleted": 3,
            "merged": 5,
            "failed": 41,
            "deferred": 1_203_950 - calls + 700 - 441,
        },
        "spent": Spent(
            made=calls,
            repeated=700,
            throttled=120,
            allowed=180_000.0,
            first_at=BEGAN,
            last_at=BEGAN + timedelta(hours=3),
            in_flight_most=64,
            latency_ms=131.0,
        ),
        "series": made,
        "slowest": made,
        "reasons": reasons(),
        "age": Age(NIGHT, {NIGHT - timedelta(days=days): 160_000 for days in range(8)}, True),
        "rows": {name: 1_280_000 + 11 * place for place, name in enumerate(tables)},
        "before": before(tables),
        "checks": [
            ManifestCheck(name="rows add up", passed=True, detail="kept and tonight's"),
            ManifestCheck(
                name="changed: loyalty_programs.current_slab",
                passed=False,
                detail="4.1 % of the rows changed",
                severity="warn",
                value=0.041,
                band=[0.0, 0.03],
            ),
        ],
        "unknown_fields": [Drift("profiles[].nickName", "string", 1_208)],
        "rejects": [Drift("loyalty_programs.current_slab", "expected text, got a list", 3)],
        "rejected_rows": [Drift("ids.csv", "scientific notation: a spreadsheet shortened the number", 7)],
        "forecast": Forecast(
            BEGAN + timedelta(days=1),
            1_203_950,
            269_000,
            934_950,
            270_100,
            BEGAN + timedelta(days=1, hours=4, minutes=30),
            BEGAN + timedelta(days=1, hours=4, minutes=30),
            5_200_000_000,
            690_000_000,
        ),
    }
    return Facts(**{**about, **changes})


def reasons() -> Sequence[ReasonCount]:
    """One of each sort."""
    return [
        ReasonCount(Outcome.RETRIED, 503, 640),
        ReasonCount(Outcome.PARTIAL, 8062, 212, "points details fetch failed"),
        ReasonCount(Outcome.ABSENT, 8015, 180, "customer not found"),
        ReasonCount(Outcome.RETRIED, 429, 120),
        ReasonCount(Outcome.FAILED, -2, 38, "no answer within 30 s"),
        ReasonCount(Outcome.FAILED, -20, 3),
        ReasonCount(Outcome.MERGED, 8069, 5),
        ReasonCount(Outcome.DELETED, 8026, 3),
    ]


def before(tables: Sequence[str]) -> list[Before]:
    """Seven nights that grew by a little each."""
    return [
        Before(
            NIGHT - timedelta(days=days),
            f"2026-11-{23 - days}T223055Z",
            {name: 1_280_000 - 900 * days + 7 * place for place, name in enumerate(tables)},
            {"exported": 175_000, "partial": 190, "absent": 171, "failed": 12, "deferred": 1_026_000},
            1_201_373,
        )
        for days in range(1, 8)
    ]
