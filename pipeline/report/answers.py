"""The verdict and the eight questions of the morning, answered in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.outcome import VERDICTS, Outcome
from pipeline.report.codes import advice_for
from pipeline.report.facts import Facts, ReasonCount, Status
from pipeline.report.words import (
    Clock,
    change,
    count,
    day,
    latency,
    nights_ago,
    of_things,
    share,
    shown,
    span,
)
from pipeline.store.snapshots import ManifestCheck

USED_UP = 0.9
"""From this share of the allowed calls on, the quota is what limits a night."""
THROTTLED_OFTEN = 0.01


class Verdict(NamedTuple):
    """How the night ended, in a word; its tone (good, warn, bad, busy); why; and what to run next."""

    word: str
    tone: str
    why: str
    do: str
    command: str = ""


class Answer(NamedTuple):
    """A question of the morning, the answer in a few words, and what is behind it."""

    question: str
    answer: str
    more: str
    tone: str = ""
    link: str = ""  # the part of the page that has the details


def command(facts: Facts, words: str) -> str:
    """A command of ours, as it is to be typed."""
    return f"capillary-export {words.format(config=facts.config, night=facts.night, export=facts.export)}"


# The verdict


def verdict(facts: Facts) -> Verdict:
    """Published or not, why, and the next command."""
    return _VERDICTS[facts.status](facts)


def _published(facts: Facts) -> Verdict:
    failed, deferred = (facts.outcomes.get(one, 0) for one in ("failed", "deferred"))
    forced = f"A check had failed; it was published all the same: “{shown(facts.forced_reason)}”. "
    why = (forced if facts.forced_reason else "") + _how_complete(facts)
    tone = "warn" if facts.forced_reason or failed else "good"  # not to reach all is what most nights do
    if failed:
        do = f"ask once more for {of_things(failed, 'ID')} that failed:"
        return Verdict("Published", tone, why, do, command(facts, "run {config}"))
    if deferred:
        return Verdict(
            "Published", tone, why, "nothing to do; the next night asks those first who were not asked."
        )
    return Verdict("Published", tone, why, "nothing to do.")


def _how_complete(facts: Facts) -> str:
    deferred = facts.outcomes.get("deferred", 0)
    if not deferred:
        return f"All {of_things(facts.distinct, 'ID')} were asked for."
    asked = facts.distinct - deferred
    why = f" {shown(facts.reason)}" if facts.reason else ""
    return f"{count(asked)} of {of_things(facts.distinct, 'ID')} were asked for.{why}"


def _superseded(facts: Facts) -> Verdict:
    live = f"{facts.live} is live" if facts.live else "nothing is live"
    why = f"This night's snapshot was published, and is not the live one any more: {live}."
    return Verdict(
        "Published, not live now",
        "warn",
        why,
        "to go back to it:",
        command(facts, "publish {config} --night {night}"),
    )


def _held(facts: Facts) -> Verdict:
    failed = failed_checks(facts)
    live = f"The last snapshot stays live: {facts.live}." if facts.live else "No snapshot is live yet."
    if not failed:
        return Verdict(
            "Held", "bad", f"{shown(facts.reason)} {live}", "build it again:", command(facts, "run {config}")
        )
    first = failed[0]
    more = f" And {of_things(len(failed) - 1, 'more check')}." if len(failed) > 1 else ""
    why = f"{shown(first.name)} failed: {shown(first.detail)}.{more} {live}"
    do = "look at the checks below. If tonight's rows are right after all:"
    return Verdict(
        "Held", "bad", why, do, command(facts, "publish {config} --night {night} --force --reason TEXT")
    )


def _waiting(facts: Facts) -> Verdict:
    why = "The snapshot is whole and its checks passed; it was not to be published (--no-publish)."
    return Verdict(
        "Not published", "warn", why, "to publish it:", command(facts, "publish {config} --night {night}")
    )


def _stopped(facts: Facts) -> Verdict:
    refused = any(word in facts.reason for word in ("401", "403", "refuse", "denied", "password", "token"))
    do, words = (
        ("see what the API refuses:", "doctor {config}") if refused else ("go on with it:", "run {config}")
    )
    why = f"{shown(facts.reason) or 'The run ended before the night did.'} {_kept(facts)}"
    return Verdict("Stopped, nothing published", "bad", why, do, command(facts, words))


def _died(facts: Facts) -> Verdict:
    why = f"The run ended without a word (killed, or the machine went down). {_kept(facts)}"
    return Verdict(
        "Died, nothing published", "bad", why, "go on where it stopped:", command(facts, "run {config}")
    )


def _kept(facts: Facts) -> str:
    done = facts.distinct - facts.outcomes.get("deferred", 0)
    kept = f"{of_things(max(0, done), 'answer')} of {count(facts.distinct)} IDs are kept, none is paid for twice. "
    live = f"Readers still see {facts.live}." if facts.live else "Readers see nothing yet."
    return (kept if facts.distinct else "No ID was asked for. ") + live


def _running(facts: Facts) -> Verdict:
    done = facts.distinct - facts.outcomes.get("deferred", 0)
    why = f"{count(max(0, done))} of {of_things(facts.distinct, 'ID')} have a verdict so far."
    return Verdict("Running", "busy", why, "watch it:", command(facts, "status {config}"))


def _taken_along(facts: Facts) -> Verdict:
    why = f"The night ended early; its answers went on {shown(facts.reason)}."
    return Verdict("Taken along", "warn", why, "see that night's page.", "")


_VERDICTS: dict[Status, Callable[[Facts], Verdict]] = {
    Status.PUBLISHED: _published,
    Status.SUPERSEDED: _superseded,
    Status.HELD: _held,
    Status.WAITING: _waiting,
    Status.STOPPED: _stopped,
    Status.DIED: _died,
    Status.RUNNING: _running,
    Status.TAKEN_ALONG: _taken_along,
}


def failed_checks(facts: Facts) -> list[ManifestCheck]:
    """The checks that hold the night."""
    return [check for check in facts.checks if not check.passed and check.severity == "hold"]


# The eight questions


def answers(facts: Facts, clock: Clock) -> list[Answer]:
    """In the order in which they are asked."""
    return [
        _did_it_publish(facts, clock),
        _why_not(facts),
        _who_is_missing(facts),
        _how_old(facts),
        _is_the_quota_the_limit(facts),
        _what_changed(facts),
        _what_fails(facts),
        _when_will_it_end(facts, clock),
    ]


def _did_it_publish(facts: Facts, clock: Clock) -> Answer:
    question = "Did it publish?"
    if facts.status is Status.PUBLISHED:
        at = f" at {clock.moment(facts.published_at, facts.night)}" if facts.published_at else ""
        rows = of_things(sum(facts.rows.values()), "row")
        more = f"Snapshot {facts.snapshot} is live: {rows} in {len(facts.rows)} tables. {_of_tables(facts)}".strip()
        return Answer(question, f"Yes{at}.", more, "warn" if _are_behind(facts) else "good", "tables")
    live = f"Readers see {facts.live}." if facts.live else "Readers see nothing yet."
    if facts.status is Status.SUPERSEDED:
        return Answer(question, "Yes, but another snapshot is live now.", live, "warn")
    word = "Not yet." if facts.status is Status.RUNNING else "No."
    return Answer(question, word, live, "busy" if facts.status is Status.RUNNING else "bad")


def _are_behind(facts: Facts) -> bool:
    return facts.tables_of is not None and facts.tables_of.snapshot != facts.live


def _of_tables(facts: Facts) -> str:
    """The tables of Delta Lake or Iceberg, where there are such."""
    tables = facts.tables_of
    if tables is None:
        return ""
    count = of_things(len(tables.tables), f"{tables.format} table")
    if not tables.snapshot:
        return f"No {tables.format} table is at it yet; `run` goes on with them."
    if _are_behind(facts):
        return f"{count}: some are still at {tables.snapshot}; `run` goes on with them."
    return f"{count} are at it, too."


def _why_not(facts: Facts) -> Answer:
    question = "If not, why?"
    found = verdict(facts)
    if facts.status in (Status.PUBLISHED, Status.SUPERSEDED):
        warned = sum(not check.passed for check in facts.checks)
        passed = f"{of_things(len(facts.checks) - warned, 'check')} passed"
        more = f"{passed}, {of_things(warned, 'warning')}." if warned else f"{passed}."
        return Answer(question, "It published.", more, "", "checks")
    return Answer(
        question,
        found.why,
        f"{found.do} {found.command}".strip(),
        found.tone,
        "checks" if facts.checks else "",
    )


def _who_is_missing(facts: Facts) -> Answer:
    question = "Who is missing?"
    missing = {name: facts.outcomes.get(name, 0) for name in ("failed", "deferred", "absent")}
    words = {"failed": "failed", "deferred": _not_asked(facts), "absent": "not known to the API"}
    told = [f"{count(number)} {words[name]}" for name, number in missing.items() if number]
    answered = sum(facts.outcomes.get(one.word, 0) for one in VERDICTS if one.has_data)
    more = f"{count(answered)} of {of_things(facts.distinct, 'ID')} answered ({share(answered, facts.distinct)})."
    if not facts.distinct:
        return Answer(question, "The list of IDs was not read.", "No ID was asked for.", "bad", "account")
    if not told:
        return Answer(question, "Nobody.", more, "good", "account")
    tone = "bad" if missing["failed"] else ""
    return Answer(question, f"{', '.join(told)}.", more, tone, "account")


def _not_asked(facts: Facts) -> str:
    return "not asked yet" if facts.is_under_way else "not asked (deferred)"


def _how_old(facts: Facts) -> Answer:
    question, age = "How old is the data?", facts.age
    if age is None or not age.customers:
        return Answer(question, "There is no data yet.", "No snapshot has customers.", "warn", "age")
    oldest = age.oldest_tenth()
    answer = (
        "All rows are from this night."
        if not oldest and age.seen_within(1) == age.customers
        else (f"The oldest tenth is {nights_ago(oldest)}{'' if oldest else ' too'}.")
    )
    within = ", ".join(
        f"{share(age.seen_within(days), age.customers)} in {of_things(days, 'night')}" for days in (1, 7, 30)
    )
    whose = "This night's snapshot" if age.is_this_night else f"The live snapshot {age.snapshot}"
    return Answer(
        question, answer, f"{whose} has {of_things(age.customers, 'customer')}; seen {within}.", "", "age"
    )


def _is_the_quota_the_limit(facts: Facts) -> Answer:
    question, spent = "Is the quota the limit?", facts.spent
    if not spent.made:
        return Answer(question, "No call was made.", "", "", "calls")
    if spent.throttled > THROTTLED_OFTEN * spent.made:
        part = share(spent.throttled, spent.made)
        said = f"The API refused {of_things(spent.throttled, 'call')} as too many ({part})"
        return Answer(
            question,
            "Yes, the API's own, which is lower than ours.",
            f"{said}: quota.limits is set too high.",
            "bad",
            "calls",
        )
    if spent.allowed is None or math.isinf(spent.allowed):
        made = f"{of_things(spent.made, 'call')} made; no limit is configured for that time."
        return Answer(question, "No limit is configured.", made, "", "calls")
    used = spent.made / max(1.0, spent.allowed)
    more = f"{of_things(spent.made, 'call')} made; at the quota's pace {count(spent.allowed)} fit into that time."
    if used >= USED_UP:
        return Answer(question, f"Yes: {_used(used)} of the allowed calls were used.", more, "", "calls")
    return Answer(
        question,
        f"No: {_used(used)} of the allowed calls were used.",
        f"{more} {_what_else(facts)}",
        "",
        "calls",
    )


def _used(part: float) -> str:
    return share(min(part, 1.0), 1.0)


def _what_else(facts: Facts) -> str:
    """What held a night back that left calls unused."""
    spent = facts.spent
    if spent.latency_ms and spent.in_flight_most and facts.series.slots and spent.allowed:
        most = spent.in_flight_most / spent.latency_ms * 60_000
        allowed = min(facts.series.quota, default=math.inf)
        if most < allowed:
            return (
                f"{spent.in_flight_most} calls in flight at {latency(spent.latency_ms)} let through "
                f"{count(most)} a minute: raise quota.max_in_flight."
            )
    return (
        "Where less was called than allowed, the API was slow or away, or few IDs were left: see the plots."
    )


def _what_changed(facts: Facts) -> Answer:
    question = "What changed against yesterday?"
    if not facts.before:
        return Answer(question, "There is no night before to compare with.", "", "", "changes")
    last = facts.before[0]
    if not facts.rows:
        return Answer(
            question,
            "Nothing: readers see what they saw.",
            f"The last snapshot is of {day(last.night)}.",
            "",
            "changes",
        )
    name = "customers"
    more = [
        f"{change(facts.rows[table], last.rows.get(table, 0))} {table}"
        for table in facts.rows
        if table != name and facts.rows[table] != last.rows.get(table, 0)
    ]
    more.sort(key=lambda text: -abs(int(text.split()[0].replace(",", "").replace("−", "-"))))
    first = f"{change(facts.rows.get(name, 0), last.rows.get(name, 0))} customers"
    answer = f"{first}, answered IDs {change(_answered(facts.outcomes), _answered(last.outcomes))}."
    told = "; ".join(more[:3]) or "All other tables have as many rows as before"
    return Answer(question, answer, f"Rows: {told}. Against {day(last.night)}.", "", "changes")


def _answered(outcomes: Mapping[str, int]) -> int:
    return sum(outcomes.get(one.word, 0) for one in VERDICTS if one.has_data)


def _what_fails(facts: Facts) -> Answer:
    question = "What fails?"
    failures = [one for one in facts.reasons if one.outcome is Outcome.FAILED]
    again = sum(one.count for one in facts.reasons if one.outcome is Outcome.RETRIED)
    more = f"{of_things(again, 'call')} of {count(facts.spent.made)} failed and had to be made again."
    failed = facts.outcomes.get("failed", 0)
    if not failed:
        return Answer(question, "No ID failed.", more if again else "", "good", "failures")
    worst = f", most with: {reason_text(failures[0])}" if failures else ""
    return Answer(question, f"{of_things(failed, 'ID')}{worst}.", more, "bad", "failures")


def reason_text(one: ReasonCount) -> str:
    """A reason in words, with its code."""
    text = shown(one.text, 120) or advice_for(one.outcome, one.code).what
    return f"{text} ({one.code})" if one.code else text


def _when_will_it_end(facts: Facts, clock: Clock) -> Answer:
    question, plan = "When will tonight end?", facts.forecast
    if plan is None:
        return Answer(
            question, "Not known.", "There is no plan: `capillary-export plan` says why.", "warn", "forecast"
        )
    if not plan.asked and not plan.is_running:
        return Answer(question, "Nothing fits, or nobody is due.", _begins(facts, clock), "warn", "forecast")
    after = (
        ""
        if plan.is_running
        else f", {span((plan.ends_at - plan.starts_at).total_seconds())} after it begins"
    )
    ends = f"{clock.moment(plan.ends_at, facts.night)}{after}"
    fits = (
        f"All {of_things(plan.ids, 'ID')} fit."
        if not plan.deferred
        else f"{count(plan.asked)} of {of_things(plan.asked + plan.deferred, 'ID')} fit, {count(plan.deferred)} wait."
    )
    window = f" The window closes at {clock.time(plan.window_ends)}." if plan.window_ends else ""
    begins = "" if plan.is_running else f"{_begins(facts, clock)} "
    return Answer(
        question, f"At {ends}.", f"{begins}{fits}{window}", "warn" if plan.deferred else "", "forecast"
    )


def _begins(facts: Facts, clock: Clock) -> str:
    assert facts.forecast is not None
    return f"If it begins at {clock.moment(facts.forecast.starts_at, facts.night)}."
