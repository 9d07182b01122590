"""What the values of a config may be: durations, times of day, zones; and what every section has in common."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from datetime import time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}
_CLOCK_TIME = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
A_WEEK_S = 7 * 86_400
A_MONTH_S = 31 * 86_400


def _seconds(value: object) -> object:
    """`12h`, `90m`, `30s`, `2d`, or a bare number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a number of seconds, or a duration such as 30s, 15m, 12h or 2d")
    return float(match[1]) * _UNIT_S[match[2]]


def _clock_time(value: object) -> object:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _CLOCK_TIME.fullmatch(value.strip()):
        raise ValueError("must be a time of day as HH:MM, such as 05:30")
    return value.strip().rjust(5, "0") if value.count(":") == 1 else value.strip().rjust(8, "0")


def _variable(value: str) -> str:
    """The message doesn't repeat the value: it may be the secret itself."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable, not the secret itself")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError) as exc:
        raise ValueError("must be a time zone's name, such as Asia/Kolkata") from exc
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
ClockTime = Annotated[time, BeforeValidator(_clock_time)]
Zone = Annotated[str, AfterValidator(_zone)]
Variable = Annotated[str, AfterValidator(_variable)]
Word = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
"""Strict, because true is no 1."""


class Section(BaseModel, defer_build=True):
    """Every part of the config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def with_nearest(names: Iterable[str], known: Iterable[str]) -> str:
    """Names that are unknown, each with the known one it may have been meant for."""
    near = {name: difflib.get_close_matches(name, list(known), 1) for name in names}
    return ", ".join(
        f"{name}{f' (did you mean {found[0]}?)' if found else ''}" for name, found in near.items()
    )
