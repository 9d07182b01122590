"""A rehearsal: what `plan` says of tonight, a sample night that is really run, and what follows from it for tonight."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.errors import Exit, ExportError, StorageError, UsageError
from pipeline.night import Options, plan_night
from pipeline.night.learned import FEW_IDS, learn
from pipeline.plan import Learned, Plan
from pipeline.plan.allowance import Allowance
from pipeline.plan.window import night_of
from pipeline.processes import module_command
from pipeline.rehearse.climate import Climate, climate_of
from pipeline.rehearse.stand import Stand, base_size, sandbox, stand, write_config, write_list
from pipeline.store.ledger import calls_parts
from pipeline.store.parts import read_part
from pipeline.store.workspace import Measured, Workspace

SAMPLE_IDS = 10_000
"""A little more than a journal chunk holds, so that the memory of a full chunk is seen."""
FEWEST_IDS = 200
CALLS_PER_S_HERE = 150.0
"""So many calls a second of real time a rehearsal makes at the most: small beside what this machine could."""
FASTEST = 60.0
LEAST_LATENCY_S = 0.03
"""Where the latency decides the pace, it stays above this in real time: the sandbox's own is not to count."""
STEADY = (0.1, 0.9)
"""The calls between these shares of the sample tell the pace; what is before and after is told as a whole."""
SEED = 7


@dataclass(frozen=True)
class Settings:
    """What the command line adds. `speed` and `ids` are chosen where None; `starts_at` is now where None."""

    speed: float | None = None
    ids: int | None = None
    starts_at: datetime | None = None


@dataclass(frozen=True)
class Sample:
    """The sample night, measured. Times are the night's own, but for `build_s` and `took_s`: those are real."""

    ids: int
    calls: int
    speed: float
    calls_per_s: float  # while it ran steadily
    share: float  # of what quota and latency let through
    edges_s: float  # before and after: the first calls, the last retries and second looks
    latency_s: float  # mean
    memory_bytes: int
    disk_bytes: int
    build_s: float  # tables and checks
    took_s: float  # of real time, all in all


@dataclass(frozen=True)
class Rehearsal:
    """What was planned, what the sample did, and what it comes to for tonight."""

    plan: Plan
    climate: Climate
    sample: Sample
    foreseen: Plan  # the plan again, by what the sample took
    ends_at: datetime  # of the fetch
    tables_at: datetime  # when the tables are live
    disk_free_bytes: int

    @property
    def calls_per_id(self) -> float:
        """As the sample took."""
        return self.sample.calls / self.sample.ids

    @property
    def disk_fits(self) -> bool:
        """Whether tonight's files have room."""
        return self.foreseen.disk_bytes <= self.disk_free_bytes


def rehearse(config: Config, settings: Settings, say: Callable[[str], None]) -> Rehearsal:
    """Rehearse tonight. Nothing of the workspace or the export is changed, no host but this one is called.

    `say` is told what happens meanwhile. Raises UsageError, StorageError, and what ended the sample night.
    """
    at, plan = _tonight(config, settings)
    climate = climate_of(Workspace(config.work.path))
    pace = pace_of(config, climate, at)
    speed = settings.speed or speed_for(pace, climate, config)
    ids = settings.ids or max(FEWEST_IDS, min(SAMPLE_IDS, plan.asked))
    say(f"rehearsing {ids:,} IDs, {speed:.3g} times as fast: about {ids / pace / speed + 10:.0f} seconds")
    with stand() as place:
        sample = run_sample(place, config, climate, Conditions(ids, speed, at))
        learned = learn(place.workspace)
    return _foreseen(config, plan, climate, sample, learned, at)


def _tonight(config: Config, settings: Settings) -> tuple[datetime, Plan]:
    """When the night begins, and its plan. Where this day's night is done already, tomorrow's is meant."""
    if "-" in config.ids.paths:
        raise UsageError(
            "IDs from standard input cannot be rehearsed: the plan has to read them.",
            "Name the files with --set ids.paths=[…].",
        )
    at = settings.starts_at or datetime.now(UTC)
    plan = plan_night(config, Options(now=lambda: at))
    if not plan.due:
        at += timedelta(days=1)
        plan = plan_night(config, Options(now=lambda: at))
    return at, plan


def pace_of(config: Config, climate: Climate, at: datetime) -> float:
    """Calls a second that quota and latency let through as the night begins."""
    return Allowance(config.quota, _zone(config), at, most_per_s=_most_per_s(config, climate)).pace()


def _most_per_s(config: Config, climate: Climate) -> float:
    return config.quota.max_in_flight / max(1e-3, climate.mean_latency_s)


def speed_for(pace: float, climate: Climate, config: Config) -> float:
    """How much faster than life the sample runs, so that this machine is not what holds it up."""
    speed = min(FASTEST, CALLS_PER_S_HERE / pace)
    if pace > 0.8 * _most_per_s(config, climate):
        speed = min(speed, climate.mean_latency_s / LEAST_LATENCY_S)
    return max(1.0, round(speed, 2))


def _zone(config: Config) -> ZoneInfo | None:
    return ZoneInfo(config.window.timezone) if config.window.timezone else None


# The sample night


class Conditions(NamedTuple):
    """Of the sample: how many IDs, how fast, and which moment its clocks begin at."""

    ids: int
    speed: float
    at: datetime


def run_sample(place: Stand, config: Config, climate: Climate, conditions: Conditions) -> Sample:
    """Run it and measure. Raises ExportError as the night ended, where it did not end well."""
    ids, speed, at = conditions
    day = at.astimezone(UTC).date()
    write_list(place.root / "ids.csv", ids, climate.verdicts, day, SEED)
    began = datetime.now(UTC)
    with sandbox(base_size(ids, climate.verdicts), climate.fault_plan(speed), SEED, day) as url:
        write_config(place, config, url)
        told = _run_night(place, config, conditions)
    took_s = (datetime.now(UTC) - began).total_seconds()
    measured = _measured(place, told)
    sent, latency_s = _when_sent(place)
    zone = _zone(config)
    allowance = Allowance(config.quota, zone, at, most_per_s=config.quota.max_in_flight / latency_s)
    pace, share = steady_pace(sent, allowance)
    return Sample(
        ids=measured.ids,
        calls=measured.calls,
        speed=speed,
        calls_per_s=pace,
        share=share,
        edges_s=max(0.0, float(sent[-1] - sent[0]) - len(sent) / pace),
        latency_s=latency_s,
        memory_bytes=measured.memory_bytes,
        disk_bytes=measured.night_bytes + measured.snapshot_bytes,
        build_s=told.get("build_s", 0.0),
        took_s=took_s,
    )


def _run_night(place: Stand, config: Config, conditions: Conditions) -> dict[str, Any]:
    night = night_of(conditions.at, _zone(config))
    words = [str(conditions.speed), str(conditions.at.timestamp()), str(place.config), night.isoformat()]
    environ = {name: text for name, text in os.environ.items() if not name.startswith("CAPILLARY_EXPORT__")}
    with subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        module_command("pipeline.rehearse.night", *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environ,
        cwd=place.root,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        finally:
            process.kill()  # its second process ends with it
    lines = output.decode(errors="replace").splitlines()
    if process.returncode or not lines:
        raise ExportError(f"The sample night ended with exit code {process.returncode}.")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _measured(place: Stand, told: dict[str, Any]) -> Measured:
    """Raises ExportError where the sample night has no end to speak of."""
    state = next((folder.state() for folder in place.workspace.nights()), None)
    if state is not None and state.measured is not None and state.measured.ids >= FEW_IDS:
        return state.measured
    why = told.get("error") or told.get("held") or told.get("stopped") or "it answered too few IDs"
    failure = ExportError(f"The sample night did not come to its end: {why}", told.get("hint", ""))
    failure.exit_code = Exit(told.get("exit_code", Exit.STOPPED))
    raise failure


def _when_sent(place: Stand) -> tuple[npt.NDArray[Any], float]:
    """When the sample's calls were sent, by its clocks, sorted, in seconds; and their mean latency."""
    (folder,) = place.workspace.nights()
    sent, latencies = [np.empty(0)], [np.empty(0)]
    for path in calls_parts(folder.parts):
        for batch in read_part(path, ["fetched_at", "latency_us"]):
            latency = batch.column("latency_us").to_numpy() / 1e6
            sent.append(batch.column("fetched_at").to_numpy() / 1e6 - latency)
            latencies.append(latency)
    return np.sort(np.concatenate(sent)), max(1e-4, float(np.mean(np.concatenate(latencies))))


def steady_pace(sent: npt.NDArray[Any], allowance: Allowance) -> tuple[float, float]:
    """Calls a second in the sample's middle, and that as a share of what was allowed there; 1 at the most.

    `sent` are seconds of Unix time, sorted, of at least some dozens of calls.
    """
    first, last = (int(share * (len(sent) - 1)) for share in STEADY)
    seconds = max(1e-6, float(sent[last] - sent[first]))
    start, end = (datetime.fromtimestamp(float(sent[one]), UTC) for one in (first, last))
    allowed = allowance.calls_until(end) - allowance.calls_until(start)
    calls = last - first
    return calls / seconds, min(1.0, calls / allowed) if allowed > 0 else 1.0


# What follows


def _foreseen(
    config: Config, plan: Plan, climate: Climate, sample: Sample, learned: Learned, at: datetime
) -> Rehearsal:
    """Tonight by what the sample took: the plan's own arithmetic, with other numbers."""
    known = learn(Workspace(config.work.path))
    has_nights = known.latency_s > 0
    calls_per_id = sample.calls / sample.ids
    wasted = 1 / max(0.01, sample.share)  # a pace below the allowed one is as if more calls were needed
    again = replace(
        learned,
        calls_per_id=calls_per_id * wasted,
        latency_s=known.latency_s or climate.mean_latency_s,
        night_bytes_per_id=known.night_bytes_per_id if has_nights else learned.night_bytes_per_id,
        snapshot_bytes_per_id=known.snapshot_bytes_per_id if has_nights else learned.snapshot_bytes_per_id,
    )
    foreseen = plan_night(config, Options(now=lambda: at), again)
    foreseen = replace(
        foreseen, calls_per_id=calls_per_id, calls_needed=math.ceil(foreseen.asked * calls_per_id)
    )
    ends_at = at.astimezone(UTC) + timedelta(seconds=foreseen.seconds_needed + sample.edges_s)
    if foreseen.window_ends is not None:
        ends_at = min(ends_at, foreseen.window_ends)
    build_s = sample.build_s * max(1.0, max(foreseen.ids, foreseen.asked) / sample.ids)
    return Rehearsal(
        plan=plan,
        climate=climate,
        sample=sample,
        foreseen=foreseen,
        ends_at=ends_at,
        tables_at=ends_at + timedelta(seconds=build_s),
        disk_free_bytes=_free(config),
    )


def _free(config: Config) -> int:
    """Of the disks where tonight's files go. Raises StorageError."""
    places = [config.work.path] + ([] if "://" in config.output.url else [Path(config.output.url)])
    try:
        return min(shutil.disk_usage(_nearest(place)).free for place in places)
    except OSError as exc:
        raise StorageError(f"Cannot look at the disk of {config.work.path}: {exc.strerror}.") from exc


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
