"""JSON whose numbers can be written letter by letter: `-1.1996371E9`, `0.000`. json.dumps can't do that, and
an encoder in Python is too slow, so such a number travels through json.dumps as a marked string and loses its
quotes after."""

import json
import struct
from collections.abc import Mapping
from decimal import Decimal

Document = dict[str, object]

# Two characters of Unicode's private area: no name in the base has them.
_OPEN, _CLOSE = "\ue000", "\ue001"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_JAVA_SWITCHES_TO_EXPONENT = 10_000_000


def raw(text: str) -> str:
    """A value that is written into the JSON as it stands."""
    return f"{_OPEN}{text}{_CLOSE}"


def raw_text(value: object) -> str | None:
    """The text of a raw value; None for any other value."""
    if isinstance(value, str) and value.startswith(_OPEN):
        return value[1:-1]
    return None


def dumps(document: Mapping[str, object] | list[object]) -> bytes:
    """The JSON text, compact, as UTF-8."""
    text = _encode(document)
    return text.replace(f'"{_OPEN}', "").replace(f'{_CLOSE}"', "").encode()


def java_double(value: float) -> float | str:
    """As Java writes a double: `24000.0`, but `-1.1996371E9` from ten million on."""
    return value if abs(value) < _JAVA_SWITCHES_TO_EXPONENT else scientific(value)


def scientific(value: float) -> str:
    """With an exponent, whatever the size: `1.2E4`, `0.0E0`."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} isn't a finite number")
    rest = "".join(map(str, digits[1:])) or "0"
    return raw(f"{'-' if sign else ''}{digits[0]}.{rest}E{exponent + len(digits) - 1}")


def float32_noise(value: float) -> float:
    """As a float widened to a double is written: 1100.214 becomes 1100.2139892578125."""
    widened: float = struct.unpack("f", struct.pack("f", value))[0]
    return widened
