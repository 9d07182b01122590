"""Facts into HTML. What comes from outside is escaped by the template, and cut and cleaned by `words.shown`."""

from __future__ import annotations

import importlib.util
import math
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2.bccache import Bucket

from pipeline.outcome import VERDICTS, Outcome
from pipeline.report import plots, words
from pipeline.report.answers import answers, reason_text, verdict
from pipeline.report.codes import advice_for
from pipeline.report.facts import Facts, ReasonCount, Slot
from pipeline.store.snapshots import ManifestCheck

SLOWEST_SHOWN = 8
KINDS_SHOWN = 25
REASONS_SHOWN = 40
_PARTS = {
    "answers": "Answers",
    "account": "Account",
    "calls": "Calls",
    "failures": "Failures",
    "checks": "Checks",
    "changes": "Changes",
    "age": "Age",
    "drift": "Drift",
    "forecast": "Forecast",
}


class _Compiled(jinja2.FileSystemBytecodeCache):
    """Templates as they were compiled before; where nothing may be written, they are compiled each time."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it for the next process."""
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)


def templates(compiled: Path) -> jinja2.Environment:
    """The page's templates; in the folder `compiled` their code is kept, as Python keeps its modules'."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_Compiled(str(compiled), f"%s.jinja-{jinja2.__version__}.pyc"),
    )
    environment.filters.update(
        count=words.count,
        share=words.share,
        change=words.change,
        latency=words.latency,
        size=words.size,
        day=words.day,
        nights_ago=words.nights_ago,
        shown=words.shown,
        marked=words.marked,
    )
    return environment


_TEMPLATES = templates(Path(importlib.util.cache_from_source(__file__)).parent)


class Shown(NamedTuple):
    """A line of the table of failures."""

    what: str
    number: int
    reason: str
    do: str
    command: str


def page_of(facts: Facts, *, refresh_s: float = 0) -> str:
    """The page, whole. With `refresh_s` it asks for itself again every so many seconds, as long as it is served."""
    clock = words.Clock(facts.zone)
    return _TEMPLATES.get_template("page.html.j2").render(**_told(facts, clock), refresh_s=refresh_s)


def _told(facts: Facts, clock: words.Clock) -> dict[str, Any]:
    """All that the template needs beside the facts."""
    parts = {name: text for name, text in _PARTS.items() if name != "checks" or facts.checks}
    reasons = _reasons(facts)
    before = facts.before[0] if facts.before else None
    return {
        "facts": facts,
        "verdict": verdict(facts),
        "answers": answers(facts, clock),
        "parts": parts.items(),
        "links": {*parts, "tables"} - ({"tables"} if not facts.rows else set()),
        "account": [(one.word, facts.outcomes.get(one.word, 0)) for one in VERDICTS],
        "unbalanced": _unbalanced(facts),
        "outcome_fill": lambda name: "absent" if name == Outcome.DEFERRED.word else name,
        "allowed": _allowed(facts),
        **_plots(facts, clock),
        "reasons": reasons[:REASONS_SHOWN],
        "more_reasons": max(0, len(reasons) - REASONS_SHOWN),
        "failed_checks": sorted((one for one in facts.checks if not one.passed), key=_severity),
        "passed_checks": [one for one in facts.checks if one.passed],
        "number": _number,
        "band": _band,
        "before": before,
        "answered": _answered(facts.outcomes),
        "answered_before": _answered(before.outcomes) if before else 0,
        "kinds_shown": KINDS_SHOWN,
        "plan_command": f"capillary-export plan {facts.config}",
        "clock_name": clock.name,
        "moment": partial(clock.moment, near=facts.night),
    }


def _plots(facts: Facts, clock: words.Clock) -> dict[str, Any]:
    unit = plots.slot_name(facts.slowest)
    found: dict[str, Any] = {
        "rows_plots": plots.rows_plots(facts),
        "slowest_unit": f"{unit}s" if unit == "minute" else f"stretches of {unit}",
        "slowest": sorted(facts.slowest.slots, key=_slowness)[:SLOWEST_SHOWN],
    }
    if facts.series.slots:
        found |= {
            "calls_plot": plots.calls_plot(facts, clock),
            "latency_plot": plots.latency_plot(facts, clock),
            "outcome_strips": plots.outcome_strips(facts, clock),
        }
    return found


def _slowness(slot: Slot) -> float:
    return -(slot.p95 or 0.0)


def _severity(check: ManifestCheck) -> int:
    return 0 if check.severity == "hold" else 1


def _answered(outcomes: Any) -> int:
    return sum(outcomes.get(one.word, 0) for one in VERDICTS if one.has_data)


def _unbalanced(facts: Facts) -> int:
    """The outcomes' sum where it is not the number of distinct IDs; 0 where all is well."""
    total = sum(facts.outcomes.values())
    return 0 if total == facts.distinct else total


def _allowed(facts: Facts) -> str:
    spent = facts.spent
    if spent.allowed is None or not spent.made:
        return ""
    if math.isinf(spent.allowed):
        return "No limit was configured."
    used = words.share(min(spent.made, spent.allowed), spent.allowed)
    return f"At the quota's pace {words.count(spent.allowed)} fit into that time: {used} were used."


def _reasons(facts: Facts) -> list[Shown]:
    """What is not plain, failures first."""
    order = [
        Outcome.FAILED,
        Outcome.PARTIAL,
        Outcome.ABSENT,
        Outcome.MERGED,
        Outcome.DELETED,
        Outcome.RETRIED,
    ]
    told = [one for one in facts.reasons if one.outcome in order]
    told.sort(key=lambda one: (order.index(one.outcome), -one.count))
    return [_shown(one, facts) for one in told]


def _shown(one: ReasonCount, facts: Facts) -> Shown:
    advice = advice_for(one.outcome, one.code)
    command = advice.command.format(
        config=facts.config, night=facts.night, export=facts.export, word=one.outcome.word
    )
    is_call = one.outcome is Outcome.RETRIED
    return Shown(
        "call made again" if is_call else one.outcome.word, one.count, reason_text(one), advice.do, command
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}"


def _band(check: ManifestCheck) -> str:
    """From … to …, open where the band is."""
    if check.band is None:
        return ""
    low, high = check.band
    if low is None or high is None:
        return f"at most {_number(high)}" if low is None else f"at least {_number(low)}"
    return f"{_number(low)} – {_number(high)}"
