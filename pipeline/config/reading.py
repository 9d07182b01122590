"""YAML, environment and flags into one mapping of keys."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
)

from pipeline.config.api import ApiParams
from pipeline.config.model import Config
from pipeline.errors import UsageError

ENV_PREFIX = "CAPILLARY_EXPORT__"


_PLAIN_INT = re.compile(r"[-+]?(0|[1-9]\d*)\Z", re.ASCII)
"""What is a number without quotes: YAML 1.1 takes 22:30 and 0123 for numbers, too."""


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is a mistake, not a silent winner, and 22:30 and 2026-11-22 are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            said = f"the key {twice!r} is given twice"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, _PLAIN_INT if tag.endswith(":int") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    like = "configs/nightly.example.yaml shows what a config looks like."
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        hint = "configs/nightly.example.yaml is one to copy."
        raise UsageError(f"There is no config at {path}.", hint) from None
    except OSError as exc:
        raise UsageError(
            f"Cannot read the config {path}: {exc.strerror}.", "Name a file that this user may read."
        ) from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"The config {path} is not UTF-8 text.", like) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise UsageError(f"The config {path} is not YAML: {_yaml_problem(exc)}.", like) from None
    if not isinstance(found, dict):
        raise UsageError(f"The config {path} is empty, or not a mapping of keys.", like)
    return found


def _yaml_problem(exc: Exception) -> str:
    """What is wrong and where, without the line itself: a secret may stand there that should not."""
    if not isinstance(exc, yaml.MarkedYAMLError):
        return type(exc).__name__
    mark = exc.problem_mark or exc.context_mark
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{exc.problem or exc.context}{where}"


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key.path=value` from the command line. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: give it as key.path=value, such as quota.max_in_flight=32.")
    return key.strip(), parse_value(key.strip(), value)


def parse_value(key: str, text: str) -> Any:
    """The value as YAML has it; as it stands where the key takes text, so that till 001 is not the number 1."""
    try:
        value = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if isinstance(value, str) or not _takes_text_only(key):
        return value
    return None if text.strip() in ("", "~", "null") else text


def _takes_text_only(key: str) -> bool:
    models: list[type[BaseModel]] = [Config]
    *outer, last = key.split(".")
    for name in outer:
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [inner for field in fields for inner in models_in(field.annotation)]
    wanted = [
        field
        for model in models
        for name, field in model.model_fields.items()
        if name.lower() == last.lower()
    ]
    return any(_plain_types(field.annotation) in ({str}, {Path}) for field in wanted)


def _plain_types(annotation: object) -> set[object]:
    """The types that a value may have; None aside. A list is a list, whatever is in it."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {one for inner in get_args(annotation) for one in _plain_types(inner)} - {NoneType}
    return {get_origin(annotation) or annotation}


def put(settings: dict[str, Any], key: str, value: object, origins: dict[str, str], origin: str) -> None:
    """Set a dotted key. The API's parameter names are matched without regard to case, as environments want."""
    *outer, last = key.split(".")
    holder = settings
    for name in outer:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        holder = inner
    if outer[-1:] == ["params"]:
        last = next((name for name in ApiParams.model_fields if name.lower() == last.lower()), last)
    holder[last] = value
    origins[".".join([*outer, last])] = origin


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in models_in(inner)]
