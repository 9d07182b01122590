"""Every mistake in a config, in words: which key, its value, where that came from, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from pipeline.config.model import Config
from pipeline.config.reading import models_in


def all_mistakes(exc: ValidationError, path: Path, origins: Mapping[str, str]) -> str:
    told: dict[str, list[str]] = {}
    for error in exc.errors():
        start, said = _mistake(error, origins)
        told.setdefault(start, []).append(said)
    noun = "mistake" if len(told) == 1 else "mistakes"
    lines = [f"{start}: {' or '.join(dict.fromkeys(said))}" for start, said in told.items()]
    return f"{len(lines)} {noun} in the config {path}:\n" + "\n".join(f"  {line}" for line in lines)


_BRANCH = re.compile(r"basic|oauth|str|int|(literal|list|constrained|function)\W.*")
"""Steps of a pydantic path that name the branch of a union, not a key."""
_OPEN_KEYS = ("kind", "till", "key")
"""Keys of `api.auth` whose values may be shown. The others may hold a secret by mistake."""
_OPEN_NOTIFY_KEYS = frozenset({"on", "timeout_s", "format", "smtp", "tls", "from", "to"})
"""The same of `notify`: a URL, a password or a command's arguments are never shown."""
_PLAINLY = {
    "union_tag_not_found": "kind is missing: basic or oauth",
    "union_tag_invalid": "kind must be basic or oauth",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "list_type": "must be a list",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "path_type": "must be a path",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "missing": "is missing",
    "invalid_key": "is no key: keys are words",
}


def _mistake(error: ErrorDetails, origins: Mapping[str, str]) -> tuple[str, str]:
    """Which key, with its value and where that came from; and what is wrong with it."""
    kind = error["type"]
    loc = [str(step) for step in error["loc"] if not _BRANCH.fullmatch(str(step))]
    if kind == "one_source":
        loc = loc[:-1]
    key = ".".join(loc)
    if kind == "extra_forbidden":
        return f"{key}{_origin(key, origins)}", f"no such key{_nearest(loc)}"
    return f"{key}{_shown(loc, error)}{_origin(key, origins)}", _said(error)


def _said(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "string_type":
        is_scalar = isinstance(error["input"], int | float)
        return "must be text: put it in quotes" if is_scalar else "must be text"
    said = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _PLAINLY.get(kind, said)


def _shown(loc: Sequence[str], error: ErrorDetails) -> str:
    """The value, where it is short and cannot be a secret."""
    value = error["input"]
    is_hidden = tuple(loc[:2]) == ("api", "auth") and loc[-1] not in _OPEN_KEYS
    is_hidden |= loc[:1] == ["notify"] and not _OPEN_NOTIFY_KEYS & set(loc)
    if is_hidden or error["type"] == "missing" or not isinstance(value, str | int | float):
        return ""
    return " = " + re.sub(r"(://[^?]*)\?[^'\"]*", r"\1?…", re.sub(r"//[^/]*@", "//…@", repr(value)))


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """The variable or flag that set this key, or one that it is in."""
    found = [name for name in origins if key == name or key.startswith(f"{name}.")]
    return f" (from {origins[max(found, key=len)]})" if found else ""


def _nearest(loc: Sequence[str]) -> str:
    *above, last = [step for step in loc if not step.isdigit()] or [""]
    known = _known_keys(Config)
    siblings = [key[-1] for key in known if list(key[:-1]) == above]
    near = difflib.get_close_matches(last, siblings, 1, 0.5)
    near = near or [".".join(key) for key in known if key[-1] == last][:1]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(siblings)}" if siblings else ""


def _known_keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a model and of the models inside it."""
    keys: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        name = field.alias or name
        keys.append((*above, name))
        for inner in models_in(field.annotation):
            keys += _known_keys(inner, (*above, name))
    return list(dict.fromkeys(keys))
