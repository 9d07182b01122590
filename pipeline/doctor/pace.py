"""Whether quota and window can be meant so: what a night covers, how long a full round takes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, fine, warned
from pipeline.plan import Plan
from pipeline.store.ledger import Throttling, read_throttling

DAY_S = 86_400
SOON_S = 15 * 60
MANY_NIGHTS = 30
MUCH_THROTTLED = 0.001
"""Above this share of 429s the limits are no longer those of the server."""


def look_at_window(case: Case) -> Iterator[Finding]:
    """When it closes; closed or about to, a run asks for nobody."""
    plan, until = case.plan, case.config.window.until
    if until is None:
        yield fine("window", "none: a night goes on until all are asked")
    elif plan is None or plan.window_ends is None:
        yield fine("window", f"until {until:%H:%M}")
    else:
        left = (plan.window_ends - case.now).total_seconds()
        ends = f"{plan.window_ends.astimezone(case.zone):%Y-%m-%d %H:%M}"
        if left > SOON_S:
            yield fine("window", f"closes at {ends}, in {left / 3600:.1f} hours")
        else:
            told = "closed" if left <= 0 else f"closes in {left / 60:.0f} minutes,"
            yield warned(
                "window",
                f"It {told} at {ends}: a run now asks for {'nobody' if left <= 0 else 'few'}.",
                "Start the night earlier, or name another end: `run --until HH:MM`.",
            )


def look_at_quota(case: Case) -> Iterator[Finding]:
    """What share a night covers, in how many nights everybody has been asked, and what the API said to it."""
    quota = case.config.quota
    if "limits" not in quota.model_fields_set:
        yield warned(
            "quota",
            "quota.limits is not set: 60 calls a minute, which every brand has.",
            "Ask Capillary for your brand's limit, and write it into the config.",
        )
    elif not quota.limits:
        yield warned(
            "quota",
            "quota.limits is empty: nothing paces the calls but max_in_flight.",
            "Set it to what the API allows: calls above it are refused (429), and others who use the key suffer.",
        )
    if case.plan is None:
        yield fine("quota", "what it covers is not estimated: the list of IDs is not known")
    else:
        yield _coverage(case, case.plan)
        yield from _in_flight(case)
    yield from _throttled(case)


def _coverage(case: Case, plan: Plan) -> Finding:
    pace = (
        "without a limit"
        if math.isinf(plan.calls_per_s)
        else f"at {plan.calls_per_s * 60:,.0f} calls a minute"
    )
    if not plan.due:
        return fine("quota", f"all {plan.ids:,} IDs are done")
    told = f"{plan.due:,} IDs are due, {plan.asked:,} ({plan.asked / plan.due:.0%}) fit tonight, {pace}"
    if plan.fits is None:
        return _endless(plan, told)
    nights = math.ceil(plan.ids / plan.fits) if plan.fits else 0
    if not nights:
        return warned("quota", f"{told}.", "Nothing fits before the window's end; see `window`.")
    round_ = "a full round takes one night" if nights == 1 else f"a full round takes {nights:,} nights"
    if nights > MANY_NIGHTS:
        return warned(
            "quota",
            f"{told}; {round_}.",
            "Ask Capillary for a higher limit, open the window for longer, or list fewer customers "
            "(plan.order: likely_changed asks first for those who changed).",
        )
    return fine("quota", f"{told}; {round_}")


def _endless(plan: Plan, told: str) -> Finding:
    if plan.seconds_needed > DAY_S:
        return warned(
            "quota",
            f"{told}; that takes {plan.seconds_needed / DAY_S:,.1f} days, and no window ends it.",
            "Set window.until: what was fetched by then is published each morning, and the next night goes on.",
        )
    return fine("quota", f"{told}; that takes {plan.seconds_needed / 3600:,.1f} hours")


def _in_flight(case: Case) -> Iterator[Finding]:
    """Little's law: so many calls under way, each so long, let through so many a second."""
    latency, quota = case.learned.latency_s, case.config.quota
    wanted = min((one.calls / one.per_s for one in quota.limits_at(case.now, case.zone)), default=math.inf)
    if not latency or math.isinf(wanted) or quota.max_in_flight / latency >= wanted:
        return
    yield warned(
        "quota",
        f"quota.max_in_flight ({quota.max_in_flight}) lets {quota.max_in_flight / latency * 60:,.0f} calls a minute "
        f"through at the last nights' latency ({latency * 1000:,.0f} ms); the limits allow {wanted * 60:,.0f}.",
        f"Raise quota.max_in_flight to {math.ceil(1.5 * wanted * latency):,}.",
    )


def _throttled(case: Case) -> Iterator[Finding]:
    """What the last night that made calls was told."""
    for folder in reversed(case.workspace.nights()):
        seen = read_throttling(folder.parts)
        if seen.calls:
            if seen.throttled > seen.calls * MUCH_THROTTLED:
                yield _above(seen, str(folder.night))
            return


def _above(seen: Throttling, night: str) -> Finding:
    return warned(
        "quota",
        f"In the night {night} the API refused {seen.throttled:,} of {seen.calls:,} calls as too many (429). In the "
        f"minutes in which it did so, it took {seen.taken_a_minute:,} at the most.",
        "Set quota.limits no higher than that, or quota.reserved_share if others use the same key.",
    )
