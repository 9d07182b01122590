"""Fault plans: what goes wrong, how often, when. A plan is text:

    latency=80ms±40ms, 429=1%, 500=100% from call 1000 to 1200, outage=20s@30s, embed-missing:points=50%

    plan     rule, rule, …
    rule     name[:argument][=value][ from point][ to point]
    value    a share `1%` (all, if left out), `80ms±40ms` of latency, `20s@30s` of outage: length @ start; of latency
             and pad also quantiles, evenly spaced from the least to the most: `20ms/60ms/2s`, `4kB/6kB/90kB`
    point    `call 1000`, or a time `30s`, `500ms`, `2m` since the first call under the plan; `to 9` after
             `from call 5` is a call too. A time's end is exclusive, a call's inclusive

Whether a fault strikes is a function of seed, customer, attempt and the rule's name: the same in every run,
in whatever order customers are asked. A retry is a new attempt and draws anew. Data faults don't draw by
attempt: they stay. `pad` makes bodies as long as those of an account that has more to tell, with spaces."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.sandbox.answers import (
    AUTH_UNAVAILABLE,
    UNAUTHORIZED,
    WAF_BLOCK,
    Answer,
    errors,
    gateway,
    too_many,
)
from pipeline.sandbox.datafaults import DATA_FAULTS, WRONG_TYPES
from pipeline.sandbox.dice import topic, unit
from pipeline.sandbox.hostile import HOSTILE
from pipeline.sandbox.rawjson import Document

# Names of faults that aren't statuses, hostile bodies or data faults; what each does is in server.py.
REPLY_FAULTS = (
    "429-bare", "503-auth", "401-xml", "waf-403", "cut", "reset", "slow-body", "hang", "wrong-type",
    "other-id",
)  # fmt: skip

# What `name:argument` means where it is a number, and what it is if left out.
_DEFAULTS = {
    "slow-body": 2.0,
    "hang": 3600.0,
    "deep-nesting": 10_000.0,
    "huge-body": 5.0,
    "429": 1.0,
    "cut": 50.0,
    "purchases-low": 10.0,
    "stale": 7.0,
    "store-missing": 7.0,
}
_NAMED = ("embed-missing", "tier-renamed")  # whose argument is a name
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}

_STATUS = re.compile(r"[45]\d\d(-html|-body)?")
_NUMBER = r"\d+(?:\.\d+)?"
_TIME = re.compile(rf"({_NUMBER})(ms|s|m)")
_LENGTH = re.compile(rf"({_NUMBER})(B|kB|MB)")
_LENGTH_UNITS = {"B": 1, "kB": 1000, "MB": 1_000_000}
_SHARE = re.compile(rf"({_NUMBER})%")
_ARGUMENT = re.compile(rf"({_NUMBER})(?:s|MB|%)?")
_RULE = re.compile(
    r"(?P<name>[\w-]+)(?::(?P<argument>[\w.%-]+))?(?:\s*=\s*(?P<value>\S+?))?"
    r"(?:\s+from\s+(?P<start>(?:call\s+)?\S+))?(?:\s+to\s+(?P<end>(?:call\s+)?\S+))?"
)

_LATENCY, _WRONG_TYPE, _PAD = topic("latency"), topic("wrong type"), topic("pad")
_HTML_STATUSES = range(520, 525)  # Cloudflare's own: it never speaks JSON


@dataclass(frozen=True)
class Moment:
    """Where a call stands in its plan."""

    customer: int
    attempt: int  # of this customer today, from 1
    call: int  # under this plan, from 1
    elapsed_s: float  # since the plan's first call


@dataclass(frozen=True)
class Span:
    """When a rule holds. Ends are open where None."""

    from_call: float | None = None
    to_call: float | None = None
    from_s: float | None = None
    to_s: float | None = None

    def covers(self, moment: Moment) -> bool:
        """Whether the rule holds for this call."""
        if self.from_call is not None and moment.call < self.from_call:
            return False
        if self.to_call is not None and moment.call > self.to_call:
            return False
        if self.from_s is not None and moment.elapsed_s < self.from_s:
            return False
        return self.to_s is None or moment.elapsed_s < self.to_s


@dataclass(frozen=True)
class Rule:
    """One fault of a plan."""

    name: str
    share: float = 1.0
    argument: str = ""
    span: Span = Span()
    base_s: float = 0.0  # latency only
    spread_s: float = 0.0
    quantiles: tuple[float, ...] = ()  # of latency in seconds, of pad in bytes

    def quantile(self, share: float) -> float:
        """What `share` of the draws stay below."""
        at = share * (len(self.quantiles) - 1)
        low = self.quantiles[int(at)]
        return low + (at - int(at)) * (self.quantiles[min(int(at) + 1, len(self.quantiles) - 1)] - low)

    @property
    def number(self) -> float:
        """The argument as a number, or what the fault takes without one."""
        found = _ARGUMENT.fullmatch(self.argument)
        return float(found[1]) if found else _DEFAULTS.get(self.name, 0.0)


class Plan:
    """A parsed plan; decides, does nothing."""

    def __init__(self, rules: Sequence[Rule], seed: int) -> None:
        self._seed = seed
        self._latencies = [rule for rule in rules if rule.name == "latency"]
        self._tokens = [rule for rule in rules if rule.name == "token-fail"]
        self._data = [rule for rule in rules if rule.name in DATA_FAULTS]
        self._pads = [rule for rule in rules if rule.name == "pad"]
        others = self._latencies + self._tokens + self._data + self._pads
        self._replies = [rule for rule in rules if rule not in others]

    def latency_s(self, moment: Moment) -> float:
        """How long the answer takes on top."""
        total = 0.0
        for rule in self._latencies:
            if rule.span.covers(moment):
                draw = unit(self._seed, _LATENCY, moment.customer, moment.attempt)
                spread = rule.spread_s * (2 * draw - 1)
                total += rule.quantile(draw) if rule.quantiles else max(0.0, rule.base_s + spread)
        return total

    def least_bytes(self, moment: Moment) -> int:
        """How long the body is at the least; by customer alone."""
        covering = [rule for rule in self._pads if rule.span.covers(moment)]
        return max(
            (int(rule.quantile(unit(self._seed, _PAD, moment.customer))) for rule in covering), default=0
        )

    def strike(self, moment: Moment) -> Rule | None:
        """The fault that spoils this reply: the first of the plan that strikes. Adding a rule at the end
        changes no other's victims."""
        for rule in self._replies:
            if rule.span.covers(moment) and self._draw(rule, moment.customer, moment.attempt) < rule.share:
                return rule
        return None

    def token_fails(self, call: int, elapsed_s: float) -> bool:
        """Whether the token endpoint fails on its call of this number, from 1."""
        moment = Moment(0, call, call, elapsed_s)
        return any(
            rule.span.covers(moment) and self._draw(rule, 0, call) < rule.share for rule in self._tokens
        )

    def data_faults(self, moment: Moment) -> list[Rule]:
        """The data faults on this customer; by customer alone, so a second ask finds them too."""
        return [
            rule
            for rule in self._data
            if rule.span.covers(moment) and self._draw(rule, moment.customer, 0) < rule.share
        ]

    def wrong_type(self, moment: Moment) -> Callable[[Document], None]:
        """Which type goes wrong."""
        draw = unit(self._seed, _WRONG_TYPE, moment.customer, moment.attempt)
        return WRONG_TYPES[int(draw * len(WRONG_TYPES))]

    def _draw(self, rule: Rule, customer: int, attempt: int) -> float:
        return unit(self._seed, topic(f"{rule.name}:{rule.argument}"), customer, attempt)


def ready_made(rule: Rule) -> Answer | None:
    """The reply of a fault that takes no heed of the customer; None for any other fault."""
    if rule.name in _READY_MADE:
        return _READY_MADE[rule.name]
    if not _STATUS.fullmatch(rule.name):
        return None
    status, _, kind = rule.name.partition("-")
    code = int(status)
    if kind == "body":
        return errors(code, "Please retry after some time")
    if kind == "html" or code in _HTML_STATUSES:
        return gateway(code)
    return errors(code, "Something went wrong", status=code)


_READY_MADE = {
    "429-bare": too_many({}),
    "503-auth": AUTH_UNAVAILABLE,
    "401-xml": UNAUTHORIZED,
    "waf-403": WAF_BLOCK,
    "outage": gateway(503),
}


def parse_plan(text: str, seed: int = 1) -> Plan:
    """A plan from its text. Raises ValueError that names the rule and what is wrong with it."""
    rules = [_rule(part.strip()) for part in text.split(",") if part.strip()]
    return Plan(rules, seed)


def _rule(text: str) -> Rule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(f"fault {text!r}: must read name[:argument][=value][ from point][ to point]")
    name, argument, value = found["name"], found["argument"] or "", found["value"]
    _check_name(text, name, argument)
    span = _span(text, found["start"], found["end"])
    if name in ("latency", "pad") and (name == "pad" or "/" in (value or "")):
        measure = _seconds if name == "latency" else _bytes
        return Rule(name, 1.0, "", span, quantiles=_quantiles(text, value, measure))
    if name == "latency":
        base_s, spread_s = _latency(text, value)
        return Rule(name, 1.0, "", span, base_s, spread_s)
    if name == "outage":
        return _outage(text, value)
    if name == "half-missing" and value is None:
        value = "50%"
    return Rule(name, _share(text, value), _argument(text, name, argument), span)


def _check_name(text: str, name: str, argument: str) -> None:
    names = {"latency", "pad", "outage", "token-fail", *REPLY_FAULTS, *HOSTILE, *DATA_FAULTS}
    if name not in names and not _STATUS.fullmatch(name):
        raise ValueError(
            f"fault {text!r}: {name!r} is not one of {', '.join(sorted(names))}, or a status 4xx or 5xx"
        )
    if name == "embed-missing" and not argument:
        raise ValueError(f"fault {text!r}: say which block is missing, as in embed-missing:points")


def _argument(text: str, name: str, argument: str) -> str:
    if argument and name not in _NAMED:
        if name not in _DEFAULTS:
            raise ValueError(f"fault {text!r}: {name!r} takes no argument")
        if not _ARGUMENT.fullmatch(argument):
            raise ValueError(f"fault {text!r}: the argument {argument!r} must be a number")
    return argument


def _share(text: str, value: str | None) -> float:
    if value is None:
        return 1.0
    found = _SHARE.fullmatch(value)
    if found is None or float(found[1]) > 100:
        raise ValueError(f"fault {text!r}: {value!r} must be a share from 0% to 100%")
    return float(found[1]) / 100


def _latency(text: str, value: str | None) -> tuple[float, float]:
    base, _, spread = (value or "").replace("+-", "±").partition("±")
    return _seconds(text, base), _seconds(text, spread) if spread else 0.0


def _quantiles(text: str, value: str | None, measure: Callable[[str, str], float]) -> tuple[float, ...]:
    found = tuple(measure(text, one) for one in (value or "").split("/"))
    if list(found) != sorted(found):
        raise ValueError(f"fault {text!r}: quantiles go from the least to the most")
    return found


def _bytes(text: str, value: str) -> float:
    found = _LENGTH.fullmatch(value)
    if found is None:
        raise ValueError(f"fault {text!r}: {value!r} must be a length such as 800B, 6kB or 1.5MB")
    return float(found[1]) * _LENGTH_UNITS[found[2]]


def _outage(text: str, value: str | None) -> Rule:
    length, at, start = (value or "").partition("@")
    if not at:
        raise ValueError(f"fault {text!r}: an outage reads how-long@when, as in outage=20s@30s")
    begins_s = _seconds(text, start)
    return Rule("outage", 1.0, "", Span(from_s=begins_s, to_s=begins_s + _seconds(text, length)))


def _seconds(text: str, value: str) -> float:
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError(f"fault {text!r}: {value!r} must be a time such as 80ms, 20s or 2m")
    return float(found[1]) * _UNITS[found[2]]


def _span(text: str, start: str | None, end: str | None) -> Span:
    by_call = bool(start and start.startswith("call"))
    from_call, from_s = _point(text, start, False)
    to_call, to_s = _point(text, end, by_call)
    if (from_call is None and to_call is not None and start) or (from_call is not None and to_s is not None):
        raise ValueError(f"fault {text!r}: from and to must both be calls or both be times")
    return Span(from_call, to_call, from_s, to_s)


def _point(text: str, point: str | None, by_call: bool) -> tuple[float | None, float | None]:
    """(call, None) or (None, seconds)."""
    if point is None:
        return None, None
    number = point.removeprefix("call").strip()
    if not (point.startswith("call") or (by_call and number.isdecimal())):
        return None, _seconds(text, point)
    if not number.isdecimal():
        raise ValueError(f"fault {text!r}: {point!r} must be a call's number, as in call 1000")
    return float(number), None
