"""From a column of raw values to a typed Arrow array, and what did not fit.

A column is converted as a whole: where its values are all of the type that is expected, Arrow takes them at once,
and where they are not, it refuses. Only a column with something odd in it is read value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.base import Kind
from pipeline.blocks.secrets import SIGNED, without_secrets, without_signed_url
from pipeline.jsontext import Json, JsonFloat, decode, dump, type_name

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
_EMPTY: dict[type, str] = {list: "[]", dict: "{}"}
_USUAL: dict[Kind, type] = {Kind.TEXT: str, Kind.BOOL: bool}
"""Values of these types are what the column holds, as they are."""
_WIDE = Context(prec=200)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_PLAIN_NUMBER = re.compile(rf"-?\d{{1,{MAX_INTEGER_DIGITS}}}(\.\d{{1,{DECIMALS}}})?", re.ASCII)
"""What Arrow reads right: 26 crashes on 1E-999999999, gives wrong numbers for other exponents and for 30 digits and
more, takes +5 and 5. for numbers, and refuses to round."""
_OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


def fit(kind: Kind, values: Values, zone: ZoneInfo | None = None) -> Fitted:
    """Type a column. `zone` is for date-times of kind INSTANT that come without theirs (else misfits)."""
    if not values or (values[0] is None and values.count(None) == len(values)):
        return Fitted(pa.nulls(len(values), ARROW_TYPES[kind]), [])
    if kind is Kind.DECIMAL:
        return _fit_decimals(values)
    try:
        quick = _QUICK[kind](values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        quick = None
    return _one_by_one(kind, values, zone) if quick is None else Fitted(quick, [])


def _quick_text(values: Values) -> pa.Array[Any]:
    """Arrow takes text and nothing else for text; a `JsonFloat` is its own text."""
    return pa.array(values, pa.string())


def _quick_int(values: Values) -> pa.Array[Any]:
    """Arrow takes neither true nor a numeric string for an integer."""
    return pa.array(values, pa.int64())


def _quick_bool(values: Values) -> pa.Array[Any]:
    """Arrow takes neither 0 nor "true" for a truth."""
    return pa.array(values, pa.bool_())


def _quick_instant(values: Values) -> pa.Array[Any] | None:
    return _within_years(Kind.INSTANT, pa.array(values, pa.string()))


def _quick_date(values: Values) -> pa.Array[Any] | None:
    return _within_years(Kind.DATE, pa.array(values, pa.string()))


def _quick_local(values: Values) -> pa.Array[Any] | None:
    """Arrow reads a bare date as midnight; here it is a misfit, so a column with one goes value by value."""
    texts = pa.array(values, pa.string())
    if pc.min(pc.binary_length(texts)).as_py() <= len("2026-11-22"):
        return None
    return _within_years(Kind.LOCAL, texts)


def _within_years(kind: Kind, texts: pa.Array[Any]) -> pa.Array[Any] | None:
    """None where a year is before 1 or after 9999: Arrow has those, most readers have not."""
    array = texts.cast(ARROW_TYPES[kind])
    try:
        pc.min_max(array).as_py()
    except (OverflowError, ValueError):
        return None
    return array


def _quick_json(values: Values) -> pa.Array[Any]:
    return pa.array([None if value is None else _json(value) for value in values], pa.string())


def _json(value: Json) -> str:
    """JSON text; nothing signed or secret in it."""
    if value:
        return without_secrets(dump(value))
    return _EMPTY.get(type(value)) or dump(value)


_QUICK: dict[Kind, Callable[[Values], pa.Array[Any] | None]] = {
    Kind.TEXT: _quick_text,
    Kind.INT: _quick_int,
    Kind.BOOL: _quick_bool,
    Kind.INSTANT: _quick_instant,
    Kind.LOCAL: _quick_local,
    Kind.DATE: _quick_date,
    Kind.JSON: _quick_json,
}


def _fit_decimals(values: Values) -> Fitted:
    """Through their text, by Arrow's parser, no binary float in between; each distinct number once.

    Values are decoded ones, or the JSON text that stood in the answer (`msgspec.Raw`).
    """
    encoded: Any = _json_texts(values).dictionary_encode()
    rows_of = encoded.indices.to_numpy()
    array, odd = _fit_numbers(encoded.dictionary)
    array = array.take(encoded.indices)
    if not odd:
        return Fitted(array, [])
    is_odd = np.zeros(len(encoded.dictionary), bool)
    is_odd[list(odd)] = True
    rows = np.flatnonzero(is_odd[rows_of])
    found = zip(rows.tolist(), rows_of[rows].tolist(), strict=True)
    return Fitted(array, [Misfit(row, odd[number].reason, _decoded(values[row])) for row, number in found])


def _json_texts(values: Values) -> pa.StringArray:
    """Each value's JSON text."""
    try:
        written = b"".join(values)
    except TypeError:  # decoded ones among them
        values = [value if type(value) is msgspec.Raw else _json_text(value) for value in values]
        written = b"".join(values)
    ends: Any = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=ends[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(written))


def _json_text(value: Json) -> bytes:
    if type(value) is JsonFloat:
        return value.encode()
    if type(value) is int:
        return b"%d" % value
    return b"null" if value is None else dump(value).encode()


def _decoded(value: Json) -> Json:
    return decode(bytes(value)).doc if type(value) is msgspec.Raw else value


def _fit_numbers(texts: pa.StringArray) -> tuple[pa.Array[Any], dict[int, Misfit]]:
    """Distinct JSON texts as numbers, and which of them did not fit, by their places."""
    is_null: Any = pc.equal(texts, pa.scalar("null"))
    numbers: Any = pc.if_else(is_null, None, texts)
    if _is_for_arrow(numbers):
        with suppress(pa.ArrowInvalid):  # more decimals than are kept, somewhere
            return numbers.cast(ARROW_TYPES[Kind.DECIMAL]), {}
    is_odd: Any = pc.invert(pc.match_substring_regex(numbers, f"^{_PLAIN_NUMBER.pattern}$")).fill_null(False)
    places = np.flatnonzero(is_odd.to_numpy(zero_copy_only=False)).tolist()
    odd = [(place, decode(texts[place].as_py().encode()).doc) for place in places]
    read, misfits = _read_each(Kind.DECIMAL, odd, None)
    numbers = pc.replace_with_mask(numbers, is_odd, pa.array(read, pa.string()))
    return numbers.cast(ARROW_TYPES[Kind.DECIMAL]), {misfit.row: misfit for misfit in misfits}


def _is_for_arrow(numbers: pa.StringArray) -> bool:
    """Whether none has an exponent, and none is so long that it may have too many digits."""
    digits = numbers.buffers()[2]
    written = b"" if digits is None else digits.to_pybytes()
    longest = pc.max(pc.binary_length(numbers)).as_py() or 0
    return longest <= MAX_INTEGER_DIGITS and b"e" not in written and b"E" not in written


def put_in(
    array: pa.Array[Any], kind: Kind, cells: Sequence[tuple[int, Json]], zone: ZoneInfo | None = None
) -> Fitted:
    """A typed column, and in these rows, in rising order, these decoded values, each read by itself."""
    read, misfits = _read_each(kind, cells, zone)
    is_odd = np.zeros(len(array), bool)
    is_odd[[row for row, _ in cells]] = True
    return Fitted(pc.replace_with_mask(array, pa.array(is_odd), _array_of(kind, read)), misfits)


def without_signed_urls(texts: pa.Array[Any]) -> pa.Array[Any]:
    """A column of text; `REMOVED` stands in the place of each that holds a signed URL. Hardly ever one does."""
    if not pc.any(pc.match_substring_regex(texts, SIGNED.pattern, ignore_case=True)).as_py():
        return texts
    return pa.array([without_signed_url(text) for text in texts.to_pylist()], pa.string())


class _UnfitError(ValueError):
    """This value cannot stand in this column; the text is the reason."""


class _Rounded(NamedTuple):
    """A value that fits once digits are dropped; the raw one is kept beside it."""

    value: Any


def _one_by_one(kind: Kind, values: Values, zone: ZoneInfo | None) -> Fitted:
    fitted, misfits = _read_each(kind, enumerate(values), zone)
    return Fitted(_array_of(kind, fitted), misfits)


def _array_of(kind: Kind, fitted: Sequence[Any]) -> pa.Array[Any]:
    if kind is Kind.DECIMAL:
        return pa.array(fitted, pa.string()).cast(ARROW_TYPES[kind])
    array: pa.Array[Any] = pa.array(fitted, ARROW_TYPES[kind])
    return array


def _read_each(
    kind: Kind, values: Iterable[tuple[int, Json]], zone: ZoneInfo | None
) -> tuple[list[Any], list[Misfit]]:
    """Values that stand in these rows, each read by itself; null where it does not fit."""
    read, usual = _READERS[kind], _USUAL.get(kind, _NONE)
    fitted: list[Any] = []
    misfits: list[Misfit] = []
    for row, raw in values:
        if raw is None or type(raw) is usual:
            fitted.append(raw)
            continue
        value = None
        if raw == "" and kind is not Kind.JSON:
            misfits.append(Misfit(row, "", raw))  # says nothing, but is not null
        else:
            try:
                value = read(raw, zone)
            except _UnfitError as exc:
                misfits.append(Misfit(row, str(exc), raw))
            if type(value) is _Rounded:
                misfits.append(Misfit(row, "", raw))
                value = value.value
        fitted.append(value)
    return fitted, misfits


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
