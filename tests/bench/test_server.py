"""The bench's own tools, as far as the figures depend on them."""

from __future__ import annotations

import json
import urllib.request

import pytest

from bench import bodies
from bench.heaps import place_of
from bench.profiling import read_stacks
from bench.ranges import spread
from bench.server import has_nginx, running_server
from bench.stopwatch import Budget

nginx_too = pytest.param(
    False, marks=pytest.mark.skipif(not has_nginx(), reason="there is no nginx with Lua")
)


@pytest.mark.parametrize("plain", [True, nginx_too])
def test_each_server_sends_the_prepared_body_under_the_id_asked_for(plain: bool) -> None:
    """Otherwise the night refuses its answers; and calls are counted, for resumes are judged by that."""
    prepared = bodies.templates()
    with running_server(plain=plain) as server:
        for customer_id in (bodies.FIRST_ID, bodies.FIRST_ID + 12_345):
            with urllib.request.urlopen(f"{server.url}/v2/customers/{customer_id}?embed=points") as answer:
                body = answer.read()
            assert body == bodies.body_of(customer_id, prepared)
            assert json.loads(body)["id"] == customer_id
        calls, first_at = server.seen()
        server.forget()
        assert (calls, first_at > 0, server.seen()) == (2, True, (0, 0.0))


def test_bodies_have_the_size_that_the_figures_are_told_for() -> None:
    """5.4 KB on average; peers and limits of docs/design.md are measured with such."""
    assert 5_200 < bodies.mean_bytes(bodies.templates()) < 5_600


@pytest.mark.parametrize("count", [1, 7, 8_192, 20_000])
def test_ids_are_distinct_whatever_their_number(count: int) -> None:
    """Out of order, but each place of the range once."""
    assert sorted(bodies.ids(count)) == list(range(bodies.FIRST_ID, bodies.FIRST_ID + count))


def test_stacks_are_told_by_process() -> None:
    """py-spy names a process by its command; ours differ in the module that they run."""
    found = read_stacks(
        "process 1:python -m pipeline;run (pipeline/cli.py:3);judge (pipeline/fetch/outcomes.py:9) 2\n"
        'process 2:python -c "a;b" pipeline.normalize.scribe 5;add (pipeline/normalize/chunk.py:8) 3'
    )
    assert found["main"].own == {"judge (fetch/outcomes.py)": 2}
    assert found["scribe"].lines == {"add (normalize/chunk.py:8)": 3}


def test_a_spread_shows_its_range_where_there_is_one() -> None:
    """One run is shown as it is."""
    assert [str(spread([5.0])), str(spread([3.0, 1.0, 2.0], 1))] == ["5", "2.0 (1.0–3.0)"]


def test_a_budget_foresees_by_what_the_last_took() -> None:
    """Nothing is known of work that was never done."""
    budget = Budget(100.0)
    assert budget.needs_s("rebuild", 10) == 0.0
    with budget.taking("rebuild", 1):
        pass
    assert 0.0 < budget.needs_s("rebuild", 1_000) < 100.0


def test_memory_is_told_by_who_asked_for_it() -> None:
    """The innermost function of ours and what it called; an import by the package that we imported, with all of its."""
    merged = [
        ("take", "/v/site-packages/pyarrow/compute.py", 5),
        ("taken", "/x/pipeline/merge/rounds.py", 7),
        ("main", "/x/pipeline/cli/__init__.py", 1),
    ]
    imported = [
        ("<module>", "/v/site-packages/numpy/core.py", 1),
        ("_load", "<frozen importlib._bootstrap>", 1),
        ("<module>", "/v/site-packages/pyarrow/__init__.py", 1),
        ("_load", "<frozen importlib._bootstrap>", 1),
        ("<module>", "/x/pipeline/merge/rounds.py", 1),
        ("invoke", "/v/site-packages/typer/core.py", 1),
    ]
    assert place_of(merged) == "taken (merge/rounds.py): take (pyarrow/compute.py)"
    assert place_of(merged[1:]) == "taken (merge/rounds.py)"
    assert place_of(imported) == "imported: pyarrow"
    assert place_of([]) == "the interpreter"
