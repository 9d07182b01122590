"""Speed, as CI can hold it: a night and a rebuild against aiohttp alone, on the same machine in the same minute."""

from __future__ import annotations

import pytest

from bench.night import NightRun, measure_night, measure_raw
from bench.rebuild import measure_rebuild
from bench.server import running_server
from bench.synthetic import CHUNK, fetched_template

CUSTOMERS = 4_000
PAIRS = 2
START_UP_CUSTOMERS = 1
MOST_TIMES_THE_RAW_LOOP = 4.5
"""CPU of a customer in a night, all processes, to CPU of a request in a raw loop, both without start-up. It was 2.1
(1.6–2.4) when this was written; the bound is twice that, for two other workers share the machine.
Lower it when the night gets faster."""
REBUILT_CHUNKS = 3
MOST_OF_THE_RAW_LOOP = 1.5
"""CPU of a customer in a rebuild to that of a request: 0.6 to 0.8 when this was written."""


@pytest.mark.slow
def test_a_night_costs_few_times_what_the_requests_cost() -> None:
    """CPU, not time: others who use the machine make both slower, but hardly the one more than the other."""
    with running_server() as server:
        idle = measure_night(server, START_UP_CUSTOMERS), measure_raw(server, START_UP_CUSTOMERS)
        ratios = []
        for _ in range(PAIRS):
            raw, night = measure_raw(server, CUSTOMERS), measure_night(server, CUSTOMERS)
            ratios.append(cpu_beyond(night, idle[0]) / cpu_beyond(raw, idle[1]))
    assert min(ratios) < MOST_TIMES_THE_RAW_LOOP, ratios


@pytest.mark.slow
def test_a_rebuild_costs_less_than_the_requests_did() -> None:
    """What a customer more takes: normalizing, merge, checks."""
    with running_server() as server, fetched_template(server) as template:
        idle, ratios = measure_raw(server, START_UP_CUSTOMERS), []
        for _ in range(PAIRS):
            raw = measure_raw(server, CUSTOMERS)
            few, more = (
                measure_rebuild(server, template, chunks).used.cpu_s for chunks in (1, REBUILT_CHUNKS)
            )
            of_one = (more - few) / ((REBUILT_CHUNKS - 1) * CHUNK) * 1e6
            ratios.append(of_one / cpu_beyond(raw, idle))
    assert min(ratios) < MOST_OF_THE_RAW_LOOP, ratios


def cpu_beyond(run: NightRun, idle: NightRun) -> float:
    """µs of CPU a customer, without what starting and publishing an almost empty night takes."""
    return (run.used.cpu_s - idle.used.cpu_s) / (run.customers - idle.customers) * 1e6
