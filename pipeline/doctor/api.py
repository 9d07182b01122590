"""One call, as a night makes it: the secret, the rights, source and account, the server's clock."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from pipeline.config import BasicAuthConfig, Config
from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, failed, fine, warned
from pipeline.doctor.verdicts import read_verdict
from pipeline.errors import ExportError
from pipeline.fetch import Probe, ask_once
from pipeline.fetch.client import Question
from pipeline.fetch.outcomes import Action
from pipeline.night.asking import embed_of

NOBODY = Question(1)
"""An ID that no customer has: the answer «not found» proves that everything in between works."""
LONGEST_PAUSE_S = 60.0
SKEW_S = 60.0
SKEW_OF_BUDGETS_S = 5.0
"""A day's budget in a fixed window begins a few seconds late (fetch/quota.py): for it clocks have to agree better."""

_MD5 = re.compile(r"[0-9a-fA-F]{32}")


def look_at_secret(case: Case) -> Iterator[Finding]:
    """Whether it can be had, and looks like one. Never shows any of it."""
    secret, source = case.config.secret().get_secret_value(), case.config.api.auth.secret
    yield fine("secret", "found")
    if secret != secret.strip():
        yield warned(
            "secret",
            "It begins or ends with white space.",
            "Set the variable anew without it; `printf %s` writes no line's end.",
        )
    if isinstance(case.config.api.auth, BasicAuthConfig) and _MD5.fullmatch(secret):
        yield warned(
            "secret",
            "The password looks like an MD5 already.",
            "Give the till's plain password: the program makes the MD5 that the API wants.",
        )
    if source.file is not None and _is_open_to_all(source.file):
        yield warned(
            "secret", f"Everybody on this machine can read {source.file}.", f"chmod 600 {source.file}"
        )


def _is_open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def look_at_api(case: Case) -> Iterator[Finding]:
    """Ask for the first customer of the list. Where the answer may be that customer's fault, once for nobody."""
    if case.holder is not None:
        yield fine("API", "not called: the run that is under way has all of the quota")
        return
    config, first = case.config, _first(case)
    calls = 1 if isinstance(config.api.auth, BasicAuthConfig) else 2  # a token first
    try:
        probe = _ask(case, first)
    except ExportError as exc:  # no token
        yield failed("API", exc, calls=1)
        return
    finding = read_verdict(config, first, probe, calls)
    if probe.judged.action is Action.RETRY and probe.reply is not None and first != NOBODY:
        time.sleep(pause_s(config, case.now))
        finding = _of_one_or_all(config, finding, _ask(case, NOBODY), 2 * calls)
    yield finding
    yield from _clock(config, probe)


def _first(case: Case) -> Question:
    """The first customer of the list, if one is known."""
    try:
        return (None if case.is_piped else case.first_rows.first) or NOBODY
    except ExportError:
        return NOBODY


def _ask(case: Case, question: Question) -> Probe:
    secret: SecretStr = case.config.secret()
    return ask_once(case.config, secret, embed_of(case.config), question)


def pause_s(config: Config, now: datetime) -> float:
    """Between two calls, as the quota has it."""
    limits = config.quota.limits_at(now, None)
    return min(LONGEST_PAUSE_S, max((one.per_s / one.calls for one in limits), default=0.0))


def _of_one_or_all(config: Config, first: Finding, second: Probe, calls: int) -> Finding:
    """Who is to blame for a first answer that was of no use: that customer, or the API?"""
    other = read_verdict(config, NOBODY, second, calls)
    if second.judged.action is not Action.ACCEPT:
        return other
    return warned(
        "API",
        f"The list's first customer gets no usable answer ({first.detail.rstrip('.')}), others do.",
        "A night tries such customers again and counts them as `failed`; nothing is to be done for one of them.",
        calls=calls,
    )


def _clock(config: Config, probe: Probe) -> Iterator[Finding]:
    """Ours against the server's, at the middle of the call; that one is in whole seconds."""
    if probe.reply is None or probe.reply.server_time is None:
        return
    ours = datetime.fromtimestamp((probe.reply.fetched_at - probe.reply.latency_us / 2) / 1e6, UTC)
    skew = (ours - probe.reply.server_time).total_seconds() - 0.5
    has_budget = any(limit.window == "fixed" for limit in config.quota.limits)
    if abs(skew) < (SKEW_OF_BUDGETS_S if has_budget else SKEW_S):
        yield fine("clock", "agrees with the server's")
        return
    yield warned(
        "clock",
        f"This machine's clock is {skew:+,.0f} s off the server's.",
        "Set it by NTP (`timedatectl set-ntp true`): the night's date, the window's end and a day's budget go by it.",
    )
