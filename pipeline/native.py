"""Loading the C libraries that setup built beside their sources. No header of Python's is needed to build one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

SWITCH = "CAPILLARY_KERNEL"
"""In the environment: `off` does without all of them."""
Signatures = Mapping[str, tuple[Any, Sequence[Any]]]
"""By function: what it gives, and what it takes."""


def built_from(source: Path) -> Path | None:
    """The library beside its source `x.c`: `_x`, with this Python's suffix; None where it was not built."""
    candidates = (source.with_name(f"_{source.stem}{suffix}") for suffix in EXTENSION_SUFFIXES)
    return next((path for path in candidates if path.exists()), None)


def why_not(built: Path | None, version_function: str, version: int) -> str:
    """Why it cannot be had, for people; nothing where it can. `version` is the one that its function must tell."""
    if os.environ.get(SWITCH, "").lower() == "off":
        return f"{SWITCH}=off"
    if sys.byteorder != "little":
        return "the processor is big-endian"
    if built is None:
        return "that was not built, as no C compiler was there when the package was installed"
    try:
        found = getattr(ctypes.CDLL(str(built)), version_function)()
    except (OSError, AttributeError) as exc:
        return f"that cannot be loaded ({exc})"
    return "" if found == version else "that was built from another version of its source"


def loaded(built: Path, signatures: Signatures) -> ctypes.CDLL:
    """The library, its functions typed. They work without the interpreter's lock."""
    library = ctypes.CDLL(str(built))
    for name, (gives, takes) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    return library
