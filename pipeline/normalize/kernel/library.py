"""Loads the kernel, where it was built. No header of Python's is needed to build it: it is a plain C library."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

VERSION = 4
"""Of what plan.py and kernel.c tell each other; `kernel_version` has the other half."""
SWITCH = "CAPILLARY_KERNEL"
"""In the environment: `off` does without the kernel."""
_SOURCE = Path(__file__).with_name("kernel.c")


@lru_cache(1)
def kernel() -> ctypes.CDLL | None:
    """The library; None where it was not built, is of another version, or is switched off."""
    return None if why_not() else _typed(ctypes.CDLL(str(_built())))


@lru_cache(1)
def why_not() -> str:
    """Why there is no kernel, for people; nothing where there is one."""
    built = _built()
    if os.environ.get(SWITCH, "").lower() == "off":
        return f"{SWITCH}=off"
    if sys.byteorder != "little":
        return "the processor is big-endian"
    if built is None:
        return "that was not built, as no C compiler was there when the package was installed"
    try:
        version = ctypes.CDLL(str(built)).kernel_version()
    except (OSError, AttributeError) as exc:
        return f"that cannot be loaded ({exc})"
    return "" if version == VERSION else "that was built from another version of its source"


def _built() -> Path | None:
    candidates = (_SOURCE.with_name(f"_kernel{suffix}") for suffix in EXTENSION_SUFFIXES)
    return next((path for path in candidates if path.exists()), None)


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    signatures = {
        "kernel_new": (pointer, [pointer, number, ctypes.c_char_p, number]),
        "kernel_free": (None, [pointer]),
        "kernel_add": (number, [pointer, ctypes.c_char_p, number, number, ctypes.c_char_p]),
        "kernel_add_many": (number, [pointer, ctypes.c_char_p, *[pointer] * 4, number, number]),
        "kernel_rows": (ctypes.c_int64, [pointer, number]),
        "kernel_buffers": (None, [pointer, number, pointer]),
        "kernel_odds": (None, [pointer, pointer]),
        "kernel_clear": (None, [pointer]),
    }
    for name, (gives, takes) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    return library
