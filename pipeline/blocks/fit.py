"""From a column of raw values to a typed Arrow array, and what did not fit.

A column is looked at as a whole: when its values are all of the type that is expected, Arrow converts them at
once. Only a column with something odd in it is read value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.base import Kind
from pipeline.blocks.secrets import without_secrets
from pipeline.jsontext import Json, JsonFloat, dump, type_name

DECIMALS = 9
"""Decimals kept of money, points and ratios: BigQuery's NUMERIC, which fits every warehouse."""
MAX_INTEGER_DIGITS = 29

ARROW_TYPES: dict[Kind, Any] = {
    Kind.TEXT: pa.string(),
    Kind.INT: pa.int64(),
    Kind.BOOL: pa.bool_(),
    Kind.DECIMAL: pa.decimal128(38, DECIMALS),
    Kind.INSTANT: pa.timestamp("us", "UTC"),
    Kind.LOCAL: pa.timestamp("us"),
    Kind.DATE: pa.date32(),
    Kind.JSON: pa.string(),
}


class Misfit(NamedTuple):
    """A value that its column cannot hold as it came.

    `reason` is empty where nothing is wrong with it: digits were rounded away, or `""` stands for no number
    or date.
    """

    row: int
    reason: str
    raw: Any


class Fitted(NamedTuple):
    """A typed column and the values that did not fit it."""

    array: pa.Array[Any]
    misfits: list[Misfit]


Values = Sequence[Any]
_NONE = type(None)
_WIDE = Context(prec=200)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_PLAIN_NUMBER = re.compile(rf"-?\d{{1,{MAX_INTEGER_DIGITS}}}(\.\d{{1,{DECIMALS}}})?", re.ASCII)
_NOT_FOR_ARROW = re.compile(rf"[eE]|\d{{{MAX_INTEGER_DIGITS + 1}}}", re.ASCII)
"""Arrow 26 crashes on 1E-999999999, and gives wrong numbers for other exponents and for 30 digits and more."""
_OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


def fit(kind: Kind, values: Values, zone: ZoneInfo | None = None) -> Fitted:
    """Type a column. `zone` is for date-times of kind INSTANT that come without theirs (else misfits)."""
    kinds = set(map(type, values))
    kinds.discard(_NONE)
    if not kinds:
        return Fitted(pa.nulls(len(values), ARROW_TYPES[kind]), [])
    try:
        quick = _QUICK[kind](values, kinds)
    except (pa.ArrowInvalid, OverflowError):
        quick = None
    if quick is not None:
        return Fitted(quick, [])
    return _one_by_one(kind, values, zone)


def _quick_text(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return pa.array(values, pa.string()) if kinds == {str} else None


def _quick_int(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return pa.array(values, pa.int64()) if kinds == {int} else None


def _quick_bool(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return pa.array(values, pa.bool_()) if kinds == {bool} else None


def _quick_decimal(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    """Integers through int64, fractions through their text: Arrow's parser, no binary float in between."""
    if kinds == {int}:
        return pa.array(values, pa.int64()).cast(ARROW_TYPES[Kind.DECIMAL])
    if not kinds <= {int, JsonFloat}:
        return None
    texts = [None if value is None else str(value) for value in values]
    if _NOT_FOR_ARROW.search("\n".join(filter(None, texts))):
        return None
    return pa.array(texts, pa.string()).cast(ARROW_TYPES[Kind.DECIMAL])


def _quick_instant(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return _within_years(Kind.INSTANT, values) if kinds == {str} else None


def _quick_date(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return _within_years(Kind.DATE, values) if kinds == {str} else None


def _quick_local(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    """Arrow reads a bare date as midnight; here it is a misfit, so a column with one goes value by value."""
    if kinds != {str} or min(len(value) for value in values if value is not None) <= len("2026-11-22"):
        return None
    return _within_years(Kind.LOCAL, values)


def _within_years(kind: Kind, values: Values) -> pa.Array[Any] | None:
    """None where a year is before 1 or after 9999: Arrow has those, most readers have not."""
    array = pa.array(values, pa.string()).cast(ARROW_TYPES[kind])
    try:
        pc.min_max(array).as_py()
    except (OverflowError, ValueError):
        return None
    return array


def _quick_json(values: Values, kinds: set[type]) -> pa.Array[Any] | None:
    return pa.array([None if value is None else _json(value) for value in values], pa.string())


def _json(value: Json) -> str:
    """JSON text; nothing signed or secret in it."""
    return without_secrets(dump(value)) if value else "[]" if type(value) is list else dump(value)


_QUICK: dict[Kind, Callable[[Values, set[type]], pa.Array[Any] | None]] = {
    Kind.TEXT: _quick_text,
    Kind.INT: _quick_int,
    Kind.BOOL: _quick_bool,
    Kind.DECIMAL: _quick_decimal,
    Kind.INSTANT: _quick_instant,
    Kind.LOCAL: _quick_local,
    Kind.DATE: _quick_date,
    Kind.JSON: _quick_json,
}


class _UnfitError(ValueError):
    """This value cannot stand in this column; the text is the reason."""


class _Rounded(NamedTuple):
    """A value that fits once digits are dropped; the raw one is kept beside it."""

    value: Any


def _one_by_one(kind: Kind, values: Values, zone: ZoneInfo | None) -> Fitted:
    read = _READERS[kind]
    fitted: list[Any] = []
    misfits: list[Misfit] = []
    for row, raw in enumerate(values):
        value = None
        if raw == "" and kind not in (Kind.TEXT, Kind.JSON):
            misfits.append(Misfit(row, "", raw))  # says nothing, but is not null
        elif raw is not None:
            try:
                value = read(raw, zone)
            except _UnfitError as exc:
                misfits.append(Misfit(row, str(exc), raw))
            if type(value) is _Rounded:
                misfits.append(Misfit(row, "", raw))
                value = value.value
        fitted.append(value)
    if kind is Kind.DECIMAL:
        return Fitted(pa.array(fitted, pa.string()).cast(ARROW_TYPES[kind]), misfits)
    return Fitted(pa.array(fitted, ARROW_TYPES[kind]), misfits)


def _expected(what: str, raw: Json) -> _UnfitError:
    return _UnfitError(f"expected {what}, got {type_name(raw)}")


def _read_text(raw: Json, _: ZoneInfo | None) -> str:
    if type(raw) is str:
        return raw
    if type(raw) in (int, JsonFloat, bool):
        return dump(raw)
    raise _expected("text", raw)


def _read_int(raw: Json, _: ZoneInfo | None) -> int:
    if type(raw) not in (int, str, JsonFloat):
        raise _expected("an integer", raw)
    number = _finite(raw, "an integer")
    if number.adjusted() > 19 or number != number.to_integral_value():
        raise _UnfitError("not a 64-bit integer")
    if not -(2**63) <= int(number) < 2**63:
        raise _UnfitError("not a 64-bit integer")
    return int(number)


def _read_bool(raw: Json, _: ZoneInfo | None) -> bool:
    if type(raw) is bool:
        return raw
    if type(raw) is str and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    raise _expected("true or false", raw)


def _read_decimal(raw: Json, _: ZoneInfo | None) -> str | _Rounded:
    if type(raw) not in (int, str, JsonFloat):
        raise _expected("a number", raw)
    if _PLAIN_NUMBER.fullmatch(str(raw)):
        return str(raw)
    number = _finite(raw, "a number")
    if number and number.adjusted() >= MAX_INTEGER_DIGITS:
        raise _UnfitError(f"more than {MAX_INTEGER_DIGITS} integer digits")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -DECIMALS:
        return format(number, "f") if exponent < 0 else str(int(number))
    rounded = number.quantize(Decimal(1).scaleb(-DECIMALS), ROUND_HALF_EVEN, _WIDE)
    if rounded.adjusted() >= MAX_INTEGER_DIGITS:
        raise _UnfitError(f"more than {MAX_INTEGER_DIGITS} integer digits")
    return format(rounded, "f") if rounded == number else _Rounded(format(rounded, "f"))


def _finite(raw: Json, what: str) -> Decimal:
    """The number a raw value writes; underscores and blanks, which Decimal would accept, are no numbers."""
    text = str(raw)
    try:
        number = Decimal(text) if text.isascii() and "_" not in text and text == text.strip() else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise _UnfitError(f"expected {what}, got a string that is none")
    return number


def _read_instant(raw: Json, zone: ZoneInfo | None) -> datetime | _Rounded:
    if type(raw) is str and _INSTANT.fullmatch(raw):
        return _moment(raw, None)
    if type(raw) is str and _LOCAL.fullmatch(raw):
        if zone is None:
            raise _UnfitError("a date-time without its zone")
        return _moment(raw, zone)
    raise _UnfitError(f"expected a date-time with its zone, got {_time_shape(raw)}")


def _read_local(raw: Json, _: ZoneInfo | None) -> datetime | _Rounded:
    if type(raw) is str and _LOCAL.fullmatch(raw):
        return _with_dropped_digits(raw, _parsed(raw))
    raise _UnfitError(f"expected a date-time without a zone, got {_time_shape(raw)}")


def _read_date(raw: Json, _: ZoneInfo | None) -> date:
    if type(raw) is str and _DATE.fullmatch(raw):
        return _parsed(raw).date()
    raise _UnfitError(f"expected a date, got {_time_shape(raw)}")


def _moment(raw: str, zone: ZoneInfo | None) -> datetime | _Rounded:
    moment = _parsed(raw)
    try:
        moment = (moment if zone is None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (OverflowError, ValueError) as exc:
        raise _UnfitError("no such date-time") from exc
    return _with_dropped_digits(raw, moment)


def _parsed(raw: str) -> datetime:
    try:
        return datetime.fromisoformat(raw)
    except ValueError as exc:
        raise _UnfitError("no such date or time") from exc


def _with_dropped_digits(raw: str, moment: datetime) -> datetime | _Rounded:
    """Microseconds are kept; a finer fraction is dropped, and the raw text kept."""
    fraction = re.search(r"[.,](\d+)", raw)
    finer = fraction is not None and fraction[1][6:].strip("0") != ""
    return _Rounded(moment) if finer else moment


def _time_shape(raw: Json) -> str:
    if type(raw) is not str:
        return type_name(raw)
    for pattern, shape in ((_DATE, "a date"), (_LOCAL, "one without"), (_INSTANT, "one with a zone")):
        if pattern.fullmatch(raw):
            return shape
    return "other text" if raw else "empty text"


def _read_json(raw: Json, _: ZoneInfo | None) -> str:
    return _json(raw)


_READERS: dict[Kind, Callable[[Any, ZoneInfo | None], Any]] = {
    Kind.TEXT: _read_text,
    Kind.INT: _read_int,
    Kind.BOOL: _read_bool,
    Kind.DECIMAL: _read_decimal,
    Kind.INSTANT: _read_instant,
    Kind.LOCAL: _read_local,
    Kind.DATE: _read_date,
    Kind.JSON: _read_json,
}


def offsets(values: Values) -> pa.Array[Any]:
    """The zone offsets of a column of date-times, as written (`+05:30`, `Z`); null where there is none."""
    found = [_OFFSET.search(value) if type(value) is str else None for value in values]
    return pa.array([match[0] if match else None for match in found], pa.string())
