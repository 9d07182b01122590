"""Signed image URLs and tokens open a customer's picture to whoever has them: nothing exported holds one.

The columns of the image tables leave them out by declaration (`Table.ignore`). This file guards what is kept
as JSON text whatever it is: raw columns, `extra`, `rejects`.
"""

from __future__ import annotations

import re

from pipeline.jsontext import Json, UnreadableError, decode, dump

REMOVED = "(secret removed)"

_SECRET_KEYS = frozenset({"filepath", "securefilepath", "s3token"})
SIGNED = re.compile(r"x-amz-|awsaccesskeyid=|[?&](?:key-pair-id|signature|sig|x-goog-\w+)=", re.IGNORECASE)
_HINTS = (
    "filepath",
    "file_path",
    "s3token",
    "s3_token",
    "x-amz-",
    "awsaccesskeyid",
    "sig",
    "x-goog-",
    "key-pair",
)


def without_secrets(text: str) -> str:
    """JSON text whose signed URLs and image tokens are removed; the rest as it was."""
    if not has_hint(text):
        return text
    try:
        return dump(_scrubbed(decode(text.encode()).doc))
    except (UnreadableError, RecursionError):
        return dump(REMOVED)


def has_hint(text: str) -> bool:
    """Whether there may be something secret in a text."""
    lower = text.lower()
    for hint in _HINTS:  # noqa: SIM110 - any() takes twice as long, and each text of `extra` comes by here
        if hint in lower:
            return True
    return False


def without_signed_url(value: Json) -> Json:
    """A value; `REMOVED` where it is a text that holds a signed URL."""
    return REMOVED if isinstance(value, str) and SIGNED.search(value) else value


def _scrubbed(value: Json) -> Json:
    if type(value) is dict:
        return {
            without_signed_url(key): REMOVED if _is_secret(key) and inner else _scrubbed(inner)
            for key, inner in value.items()
        }
    if type(value) is list:
        return [_scrubbed(inner) for inner in value]
    return without_signed_url(value)


def _is_secret(key: str) -> bool:
    """`key` may be a path, as in `extra`."""
    return key.lower().replace("_", "").rsplit(".", 1)[-1] in _SECRET_KEYS
