"""The command that rehearses tonight."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from pipeline.cli.app import ConfigPath, JsonFlag, SetOption, app, load
from pipeline.cli.showing import as_grid, clock, plain, show, span
from pipeline.errors import StorageError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.rehearse.climate import Climate
    from pipeline.rehearse.rehearsal import Rehearsal

SpeedOption = Annotated[
    float | None,
    typer.Option(
        "--speed",
        metavar="N",
        min=1,
        max=1000,
        help="So many times as fast as tonight; default by the quota.",
    ),
]
IdsOption = Annotated[
    int | None,
    typer.Option(
        "--ids", metavar="N", min=200, max=200_000, help="Size of the sample; default 10,000 or fewer."
    ),
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="HH:MM", help="When tonight begins; default now.")
]


@app.command(epilog="Example: capillary-export rehearse nightly.yaml --at 01:00")
def rehearse(
    config: ConfigPath,
    speed: SpeedOption = None,
    ids: IdsOption = None,
    at: AtOption = None,
    set_: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Tonight against the sandbox, in compressed time.

    Tells when it ends and what it takes; needs no secret, calls no one.
    """
    from pipeline.rehearse.rehearsal import Settings
    from pipeline.rehearse.rehearsal import rehearse as run_rehearsal

    settings = load(config, set_)
    found = run_rehearsal(settings, Settings(speed, ids, _begins_at(at, settings)), _say)
    show(rehearsal_json(found), [_comparison(found, settings.window.timezone), *_notes(found)], as_json)
    if not found.disk_fits:
        raise StorageError(
            f"Tonight needs about {found.foreseen.disk_bytes / 1e9:.1f} GB and "
            f"{found.disk_free_bytes / 1e9:.1f} GB are free.",
            "Free some space, or lower work.keep_nights and output.keep_snapshots.",
        )
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _begins_at(text: str | None, config: Config) -> datetime | None:
    """The next time that the clocks of the window's zone (the machine's without one) show this."""
    if text is None:
        return None
    from pipeline.config import parse_clock_time

    wanted = parse_clock_time(text, "--at")
    zone = ZoneInfo(config.window.timezone) if config.window.timezone else None
    now = datetime.now(UTC)
    today = now.astimezone(zone).date()
    for day in (today, today + timedelta(days=1)):
        local = datetime.combine(day, wanted)
        moment = (local.replace(tzinfo=zone) if zone else local.astimezone()).astimezone(UTC)
        if moment > now:
            return moment
    return now  # the clocks were put forward past it


def rehearsal_json(found: Rehearsal) -> dict[str, Any]:
    """A rehearsal, for machines."""
    plan, foreseen, climate = found.plan, found.foreseen, found.climate
    return {
        "plan": {name: plain(value) for name, value in asdict(plan).items()},
        "rehearsed": {
            "asked": foreseen.asked,
            "deferred": foreseen.deferred,
            "calls": foreseen.calls_needed,
            "calls_per_id": round(found.calls_per_id, 4),
            "share_of_allowed_pace": round(found.sample.share, 4),
            "seconds_needed": round((found.ends_at - _start(found)).total_seconds(), 1),
            "ends_at": plain(found.ends_at),
            "tables_at": plain(found.tables_at),
            "memory_bytes": foreseen.memory_bytes,
            "disk_bytes": foreseen.disk_bytes,
            "disk_free_bytes": found.disk_free_bytes,
            "disk_fits": found.disk_fits,
        },
        "sample": {name: round(value, 4) for name, value in asdict(found.sample).items()},
        "last_nights": {
            "nights": climate.nights,
            "calls": climate.calls,
            "latency_s": [round(one, 4) for one in climate.latencies_s],
            "body_bytes": list(climate.body_bytes),
            "faults": {name: round(share, 6) for name, share in climate.faults.items()},
            "verdicts": {one.word: round(share, 6) for one, share in climate.verdicts.items()},
        },
    }


def _start(found: Rehearsal) -> datetime:
    return found.plan.ends_at - timedelta(seconds=found.plan.seconds_needed)


def _comparison(found: Rehearsal, timezone: str | None) -> Any:
    plan, foreseen = found.plan, found.foreseen
    needed = (found.ends_at - _start(found)).total_seconds()
    rows = [
        ("asked tonight", f"{plan.asked:,}", f"{foreseen.asked:,}"),
        ("calls", f"{plan.calls_needed:,}", f"{foreseen.calls_needed:,}"),
        ("calls an ID", f"{plan.calls_per_id:.3f}", f"{found.calls_per_id:.3f}"),
        ("fetched until", clock(plan.ends_at, timezone), clock(found.ends_at, timezone)),
        ("after", span(plan.seconds_needed), span(needed)),
        ("tables until", "–", clock(found.tables_at, timezone)),
        ("memory", f"{plan.memory_bytes / 1e6:,.0f} MB", f"{foreseen.memory_bytes / 1e6:,.0f} MB"),
        ("disk", f"{plan.disk_bytes / 1e9:.2f} GB", f"{foreseen.disk_bytes / 1e9:.2f} GB"),
    ]
    return as_grid((timezone or "", "plan", "rehearsed"), rows)


def _notes(found: Rehearsal) -> list[str]:
    sample = found.sample
    lines = [
        f"\nRehearsed: {sample.ids:,} IDs, {sample.calls:,} calls, {sample.speed:.3g} times as fast, in "
        f"{sample.took_s:.0f} seconds. At its steady pace it used {sample.share:.1%} of what quota and latency let "
        "through.",
        _told(found.climate),
        f"{found.disk_free_bytes / 1e9:.1f} GB of disk are free.",
    ]
    if sample.share < 0.95 and not any(name.startswith("429") for name in found.climate.faults):
        lines.append(
            "The pace stayed below what is allowed: this machine, with the sandbox on it, may have been too busy. "
            "Rehearse again when it is quiet, or with a smaller --speed."
        )
    return lines


def _told(climate: Climate) -> str:
    latency = ", ".join(
        f"{share:.0%} below {climate.latency_s(share) * 1000:,.0f} ms" for share in (0.5, 0.95)
    )
    faults = ", ".join(f"{share:.2%} {name}" for name, share in climate.faults.items()) or "none"
    if not climate.nights:
        return f"Assumed, as no night has been yet: latency {latency}; failing calls: {faults}."
    return (
        f"As on the last nights ({climate.nights}, {climate.calls:,} calls looked at): latency {latency}; "
        f"failing calls: {faults}."
    )
