"""The libraries' errors, in words that are safe to show."""

from __future__ import annotations

import re

_LONGEST = 300
_QUERY = re.compile(r"\?[^\s\"')]+")
_USER = re.compile(r"://[^/@\s]+@")


def told(exc: BaseException) -> str:
    """An error's first line, without what may be a signature or a password."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    text = _USER.sub("://…@", _QUERY.sub("", lines[0] if lines else ""))
    found = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    return found[:_LONGEST].rstrip(" .")
