"""What the last nights' journals say of the API, and that the sandbox does it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline.night import Options, Screen, run_night
from pipeline.outcome import Outcome
from pipeline.rehearse.climate import Climate, climate_of
from pipeline.rehearse.rehearsal import pace_of, speed_for
from pipeline.rehearse.stand import base_size, write_list
from pipeline.sandbox import Sandbox, known_ids, parse_plan
from pipeline.sandbox.customers import Base, Fate
from pipeline.sandbox.faults import Moment
from pipeline.store.workspace import Workspace
from tests.conftest import Home

DAY = date(2026, 11, 21)


def test_a_nights_latency_sizes_faults_and_fates_are_read_from_its_journal(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """As the server did them: a tenth of the calls fail with 503, some are cut, each takes 20 ms and more."""
    sandbox = start_sandbox(faults="latency=20ms/40ms, 503=10%, cut=3%, pad=30kB", day=DAY)
    home.settings["api"]["host"] = sandbox.url
    home.write_ids([*known_ids(480), *range(1, 21)])
    home.save()
    run_night(home.config(), Options(night=DAY), Screen())
    found = climate_of(Workspace(home.work))
    seen, calls = sandbox.judge.faults, len(sandbox.judge.arrivals)
    assert found.nights == 1
    assert found.calls == calls
    assert found.faults["503"] == pytest.approx(seen["503"] / calls)
    assert found.faults["cut"] == pytest.approx(seen["cut"] / calls)
    assert found.latencies_s[0] >= 0.02
    assert found.latency_s(0.5) == pytest.approx(found.latencies_s[len(found.latencies_s) // 2])
    assert min(found.body_bytes) >= 30_000
    assert found.verdicts[Outcome.ABSENT] >= 0.04
    assert sum(found.verdicts.values()) == pytest.approx(1.0)


def test_without_a_night_all_is_assumed(tmp_path: Path) -> None:
    """And said to be: `nights` is 0."""
    assert climate_of(Workspace(tmp_path)) == Climate()
    assert Climate().nights == 0


def test_the_sandbox_does_the_same_again_only_faster() -> None:
    """The plan's latencies are the climate's divided by the speed, its shares the same."""
    climate = Climate(1, 1000, (0.1, 0.2, 0.6), (5000, 9000), {"503": 0.1})
    assert climate.mean_latency_s == pytest.approx(0.275)
    plan = parse_plan(climate.fault_plan(speed=10))
    moments = [Moment(customer, 1, customer, 0.0) for customer in range(4000)]
    latencies = [plan.latency_s(one) for one in moments]
    assert sum(latencies) / len(latencies) == pytest.approx(0.0275, rel=0.03)
    assert min(latencies) == pytest.approx(0.01, rel=0.02)
    assert max(latencies) == pytest.approx(0.06, rel=0.02)
    struck = Counter(rule.name for one in moments if (rule := plan.strike(one)))
    assert struck["503"] / len(moments) == pytest.approx(0.1, rel=0.2)
    assert {5000 <= plan.least_bytes(one) <= 9000 for one in moments} == {True}


def test_the_sample_has_the_fates_of_the_last_nights(tmp_path: Path) -> None:
    """A fifth partial, a tenth unknown to the API: far more than the sandbox's usual base."""
    verdicts = {Outcome.EXPORTED: 0.65, Outcome.PARTIAL: 0.2, Outcome.ABSENT: 0.1, Outcome.MERGED: 0.05}
    write_list(tmp_path / "ids.csv", 400, verdicts, DAY, seed=7)
    ids = [int(line) for line in (tmp_path / "ids.csv").read_text().split()[1:]]
    base = Base(base_size(400, verdicts), 7)
    numbers = [base.number(one) for one in ids]
    fates = Counter(base.fate(k, DAY) if k is not None else Fate.ABSENT for k in numbers)
    assert len(set(ids)) == 400
    wanted = {Fate.REGULAR: 260, Fate.PARTIAL: 80, Fate.ABSENT: 40, Fate.MERGED: 20}
    assert {fate: abs(fates[fate] - count) <= 25 for fate, count in wanted.items()} == dict.fromkeys(
        wanted, True
    )


@pytest.mark.parametrize(
    ("limits", "in_flight", "expected"),
    [
        ([{"calls": 1000, "per_s": 60}], 64, 9.0),  # 150 calls a second of real time
        ([{"calls": 60, "per_s": 60}], 64, 60.0),  # the fastest
        ([{"calls": 5000, "per_s": 1}], 512, 1.0),  # faster than a rehearsal can be
        (
            [{"calls": 5000, "per_s": 1}],
            2,
            pytest.approx(8.0, rel=0.1),
        ),  # the latency decides: 0.24 s, two at a time
    ],
)
def test_the_speed_follows_from_the_pace(
    home: Home, limits: list[dict[str, int]], in_flight: int, expected: float
) -> None:
    """Fast, but never so that this machine or the sandbox would be what holds the night up."""
    from datetime import UTC, datetime

    config = home.config(quota__limits=limits, quota__max_in_flight=in_flight)
    pace = pace_of(config, Climate(), datetime.now(UTC))
    assert speed_for(pace, Climate(), config) == expected
