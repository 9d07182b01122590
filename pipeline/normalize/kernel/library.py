"""Loads the kernel, where it was built."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from pipeline import native
from pipeline.native import Signatures

VERSION = 5
"""Of what plan.py and kernel.c tell each other; `kernel_version` has the other half."""
_SOURCE = Path(__file__).with_name("kernel.c")
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int32
_SIGNATURES: Signatures = {
    "kernel_new": (_POINTER, [_POINTER, _NUMBER, ctypes.c_char_p, _NUMBER]),
    "kernel_free": (None, [_POINTER]),
    "kernel_add": (_NUMBER, [_POINTER, ctypes.c_char_p, _NUMBER, _NUMBER, ctypes.c_char_p]),
    "kernel_add_many": (_NUMBER, [_POINTER, ctypes.c_char_p, *[_POINTER] * 4, _NUMBER, _NUMBER]),
    "kernel_rows": (ctypes.c_int64, [_POINTER, _NUMBER]),
    "kernel_buffers": (None, [_POINTER, _NUMBER, _POINTER]),
    "kernel_odds": (None, [_POINTER, _POINTER]),
    "kernel_clear": (None, [_POINTER]),
}


@lru_cache(1)
def kernel() -> ctypes.CDLL | None:
    """The library; None where it was not built, is of another version, or is switched off."""
    built = _built()
    return None if built is None or why_not() else native.loaded(built, _SIGNATURES)


@lru_cache(1)
def why_not() -> str:
    """Why there is no kernel, for people; nothing where there is one."""
    return native.why_not(_built(), "kernel_version", VERSION)


def _built() -> Path | None:
    return native.built_from(_SOURCE)
