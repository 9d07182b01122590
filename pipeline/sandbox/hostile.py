"""Bodies that a parser has to survive. Each function takes a good body and its argument, and gives the bad
one.

They work on bytes, because most of what they write is not what a JSON library would."""

import re
from collections.abc import Callable

MEGABYTE = 1_000_000

_NUMBER = re.compile(rb'"lifetimePurchases":[^,}]+')
_USER = re.compile(rb'"userId":\d+')

Spoil = Callable[[bytes, float], bytes]


def _insert(body: bytes, member: bytes) -> bytes:
    """A new first member at top level."""
    return b"{" + member + b"," + body[1:] if body[:1] == b"{" and body != b"{}" else b"{" + member + b"}"


def _replace(body: bytes, pattern: re.Pattern[bytes], member: bytes) -> bytes:
    """A member in the place of the first that matches; a new one if none does."""
    spoiled, count = pattern.subn(member, body, count=1)
    return spoiled if count else _insert(body, member)


def _huge(body: bytes, megabytes: float) -> bytes:
    return _insert(body, b'"padding":"' + b"x" * int(megabytes * MEGABYTE) + b'"')


def _deep(body: bytes, depth: float) -> bytes:
    return _insert(body, b'"deep":' + b"[" * int(depth) + b"]" * int(depth))


def _twice(body: bytes, _: float) -> bytes:
    return _insert(body, b'"loyaltyInfo":{"loyaltyType":"first"},"segments":{"first":"1"},"profiles":[]')


HOSTILE: dict[str, Spoil] = {
    "invalid-utf8": lambda body, _: _insert(body, b'"associatedWith":"till \xff\xfe\xc3("'),
    "lone-surrogate": lambda body, _: _insert(body, rb'"associatedWith":"till \ud800 here"'),
    "nan": lambda body, _: _replace(body, _NUMBER, b'"lifetimePurchases":NaN'),
    "huge-number": lambda body, _: _replace(body, _NUMBER, b'"lifetimePurchases":' + b"7" * 400),
    "tiny-number": lambda body, _: _replace(body, _NUMBER, b'"lifetimePurchases":1E-999999999'),
    "int-beyond-int64": lambda body, _: _replace(body, _USER, b'"userId":18446744073709551617'),
    "deep-nesting": _deep,
    "huge-body": _huge,
    "duplicate-keys": _twice,
    "list-body": lambda body, _: b"[" + body + b"]",
    "null-body": lambda body, _: b"null",
    "invalid-json": lambda body, _: body[: len(body) // 2],
    "empty-200": lambda body, _: b"",
}
