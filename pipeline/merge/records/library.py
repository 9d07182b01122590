"""Loads the library, where it was built."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from pipeline import native
from pipeline.native import Signatures

VERSION = 1
"""Of what coder.py and records.c tell each other; `records_version` has the other half."""
_SOURCE = Path(__file__).with_name("records.c")
_POINTER, _NUMBER, _LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_SIGNATURES: Signatures = {
    "records_new": (_POINTER, [_POINTER, _NUMBER, _NUMBER]),
    "records_free": (None, [_POINTER]),
    "records_code": (_NUMBER, [_POINTER] * 5),
    "records_split": (None, [_POINTER, _POINTER, _LONG, _POINTER]),
    "records_words": (None, [_POINTER, _NUMBER, _POINTER]),
    "records_forget": (None, [_POINTER, _NUMBER]),
    "records_limit": (None, [_POINTER, _NUMBER, _LONG, _LONG]),
    "records_distinct": (_NUMBER, [_POINTER, _NUMBER, _LONG, _LONG, _NUMBER, _POINTER, _POINTER]),
    "records_interleave": (_NUMBER, [_POINTER, _POINTER, _NUMBER, _NUMBER, _NUMBER, _POINTER, _POINTER]),
}


@lru_cache(1)
def records_library() -> ctypes.CDLL | None:
    """The library; None where it was not built, is of another version, or is switched off."""
    built = native.built_from(_SOURCE)
    return None if built is None or why_not() else native.loaded(built, _SIGNATURES)


@lru_cache(1)
def why_not() -> str:
    """Why there is no such library, for people; nothing where there is one."""
    return native.why_not(native.built_from(_SOURCE), "records_version", VERSION)
