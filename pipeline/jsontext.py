"""JSON as the API writes it, with every number's own text.

The API's floats are text here (`JsonFloat`), never binary floats: `1100.2139892578125`, `-1.1996371E9` and
26-digit balances reach the tables as they were written. A body that the strict decoder refuses (invalid
UTF-8, NaN, lone surrogates) is read once more with patience; what that had to bend is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

Json: TypeAlias = Any
"""A decoded JSON value: dict, list, str, int, `JsonFloat`, bool or None."""


Blocks: TypeAlias = dict[str, msgspec.Raw]
"""The keys at the top of a body, each with the bytes of its value."""


class JsonFloat(str):
    """The text of a JSON number that has a fraction or an exponent, such as `24000.0`."""

    __slots__ = ()


class Decoded(NamedTuple):
    """A body's document, and what had to be bent to read it (`""`: nothing).

    `repeated`: what the document lost because its key came again at the top of the body (the last one
    counts).
    """

    doc: Any
    problem: str
    repeated: tuple[tuple[str, Any], ...] = ()


class UnreadableError(ValueError):
    """The body is no JSON, however patiently read."""


_STRICT = msgspec.json.Decoder(float_hook=JsonFloat)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_INT_DIGITS = 4000
"""Python refuses to read longer integers; they stay text (sys.set_int_max_str_digits)."""
_TOP = msgspec.json.Decoder(Blocks)


def decode(body: bytes, top: Blocks | None = None) -> Decoded:
    """Decode a whole body; numbers with a fraction or an exponent become `JsonFloat`.

    `top` is what `blocks_of` says of it, where that is known. Raises UnreadableError when no reading gives a document.
    """
    try:
        doc = _STRICT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refusal:
        return _decode_patiently(body, str(refusal))
    if type(doc) is not dict or is_all_there(body, top or blocks_of(body) or {}):
        return Decoded(doc, "")
    return Decoded(doc, "", _repeated(body.decode()))


def loads(text: bytes) -> Json:
    """A value that stood in a body, decoded as `decode` does. It was read before: it is JSON."""
    return _STRICT.decode(text)


def blocks_of(body: bytes) -> Blocks | None:
    """A body's keys at the top and the bytes of their values; None for one that no strict decoder reads so.

    This look skips over the values, a fraction of decoding them.
    """
    try:
        top: Blocks = _TOP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return top


def is_all_there(body: bytes, top: Blocks) -> bool:
    """Whether the keys at the top and their values account for every byte: then no key came twice.

    A documented body has `extendedFields` twice. A body with white space between its keys is looked at slowly.
    """
    return len(body) == 1 + 4 * len(top) + sum(map(len, top)) + sum(map(len, top.values()))


def _repeated(text: str) -> tuple[tuple[str, Any], ...]:
    """What the keys at the top held before they came again, read slowly; nothing where nothing was lost."""
    top: list[tuple[str, Any]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        top[:] = pairs  # the outermost object is the last to be told
        return dict(pairs)

    try:
        last = _loads(text, remember)
    except RecursionError:
        return ()
    if type(last) is not dict:
        return ()
    return tuple((key, _without_surrogates(value)) for key, value in top if value and value != last[key])


def _loads(text: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Json:
    return json.loads(
        text, parse_float=JsonFloat, parse_int=_int_or_text, parse_constant=str, object_pairs_hook=pairs_hook
    )


def _decode_patiently(body: bytes, refusal: str) -> Decoded:
    text, problem = _as_text(body)
    try:
        return Decoded(_without_surrogates(_loads(text)), problem or refusal, _repeated(text))
    except (ValueError, RecursionError) as exc:
        raise UnreadableError(f"not JSON: {refusal}") from exc


def _as_text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return body.decode("utf-8", errors="replace"), "invalid UTF-8 (replaced by U+FFFD)"


def _int_or_text(digits: str) -> int | JsonFloat:
    return int(digits) if len(digits) < _MAX_INT_DIGITS else JsonFloat(digits)


def _without_surrogates(value: Json) -> Json:
    """Lone surrogates cannot be written as UTF-8; they become U+FFFD. Only for bodies already refused."""
    if type(value) is str:
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(inner) for inner in value]
    return value


def dump(value: Json) -> str:
    """JSON text of a decoded value, numbers as the API wrote them."""
    try:
        return msgspec.json.encode(_raw_numbers(value)).decode()
    except RecursionError:
        return _dump_deep(value)


def _dump_deep(value: Json) -> str:
    """The same for what is nested hundreds of levels deep: no recursion, slower."""
    written: list[str] = []
    todo: list[Any] = [value]
    while todo:
        now = todo.pop()
        if type(now) is msgspec.Raw:
            written.append(bytes(now).decode())
        elif type(now) is dict:
            todo.append(msgspec.Raw(b"}"))
            for number, (key, inner) in reversed([*enumerate(now.items())]):
                todo += [inner, msgspec.Raw(b"," * (number > 0) + msgspec.json.encode(key) + b":")]
            written.append("{")
        elif type(now) is list:
            todo.append(msgspec.Raw(b"]"))
            for number, inner in reversed([*enumerate(now)]):
                todo += [inner, msgspec.Raw(b"," * (number > 0))]
            written.append("[")
        else:
            written.append(msgspec.json.encode(_raw_numbers(now)).decode())
    return "".join(written)


def _raw_numbers(value: Json) -> Json:
    kind = type(value)
    if kind is JsonFloat:
        return msgspec.Raw(value.encode())
    if kind is int and not -(2**63) <= value < 2**64:
        return msgspec.Raw(str(value).encode())
    if kind is dict:
        return {key: _raw_numbers(inner) for key, inner in value.items()}
    if kind is list:
        return [_raw_numbers(inner) for inner in value]
    return value


def type_name(value: Json) -> str:
    """The JSON name of a decoded value's type."""
    return _TYPE_NAMES.get(type(value), "unknown")


_TYPE_NAMES = {
    str: "string",
    int: "integer",
    JsonFloat: "number",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
}
