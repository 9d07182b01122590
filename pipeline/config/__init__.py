"""The config: YAML, then environment, then flags; read once, checked once, every mistake told at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.config.api import ApiConfig, ApiParams, BasicAuthConfig, OAuthConfig
from pipeline.config.catalog import CatalogConfig, RestCatalogConfig, SqlCatalogConfig
from pipeline.config.checks import CHECKS, ChecksConfig
from pipeline.config.ids import IdsConfig
from pipeline.config.mistakes import all_mistakes
from pipeline.config.model import Config
from pipeline.config.nightly import PlanConfig, RetryConfig, WindowConfig, WorkConfig
from pipeline.config.notify import EVENTS, EmailConfig, EventName, HookConfig, WebhookConfig
from pipeline.config.output import OutputConfig, SnapshotConfig, allows_http
from pipeline.config.quota import LimitConfig, QuotaConfig
from pipeline.config.reading import ENV_PREFIX, parse_assignment, parse_value, put, read_yaml
from pipeline.config.values import ClockTime
from pipeline.config.watching import LogConfig, MetricsConfig
from pipeline.errors import UsageError

__all__ = [
    "CHECKS",
    "EVENTS",
    "ApiConfig",
    "ApiParams",
    "BasicAuthConfig",
    "CatalogConfig",
    "ChecksConfig",
    "Config",
    "EmailConfig",
    "EventName",
    "HookConfig",
    "IdsConfig",
    "LimitConfig",
    "LogConfig",
    "MetricsConfig",
    "OAuthConfig",
    "OutputConfig",
    "PlanConfig",
    "QuotaConfig",
    "RestCatalogConfig",
    "RetryConfig",
    "SnapshotConfig",
    "SqlCatalogConfig",
    "WebhookConfig",
    "WindowConfig",
    "WorkConfig",
    "allows_http",
    "load_config",
    "parse_assignment",
    "parse_clock_time",
]


def load_config(
    path: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    tables: Iterable[str] = (),
    columns: Iterable[str] = (),
    options: Mapping[str, str] | None = None,
) -> Config:
    """Read, merge and check a config. `flags` are dotted keys from the command line, by `--set` or by the option that
    `options` names; `tables` the known ones, and `columns` theirs, each as table.column.

    Raises UsageError with every mistake found.
    """
    settings = read_yaml(path)
    origins: dict[str, str] = {}
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            put(settings, key, parse_value(key, text), origins, name)
    for key, value in (flags or {}).items():
        put(settings, key, value, origins, (options or {}).get(key, "--set"))
    try:
        config = Config.model_validate(settings, context={"tables": tuple(tables), "columns": tuple(columns)})
    except ValidationError as exc:
        raise UsageError(all_mistakes(exc, path, origins)) from None
    return _with_absolute_paths(config, path.resolve().parent).read_from(path.resolve())


def _with_absolute_paths(config: Config, base: Path) -> Config:
    """Relative paths are relative to the config file."""
    ids = config.ids.model_copy(update={"paths": [_absolute(base, path) for path in config.ids.paths]})
    work = config.work.model_copy(update={"path": Path(_absolute(base, str(config.work.path)))})
    url = config.output.url
    output = config.output.model_copy(
        update={"url": url if "://" in url else _absolute(base, url), "catalog": _catalog(config, base)}
    )
    key = "password_file" if isinstance(config.api.auth, BasicAuthConfig) else "secret_file"
    secret_file: Path | None = getattr(config.api.auth, key)
    auth = config.api.auth.model_copy(update={key: secret_file and base / _expanded(secret_file)})
    api = config.api.model_copy(update={"auth": auth})
    textfile = config.metrics.textfile
    metrics = config.metrics.model_copy(update={"textfile": textfile and base / _expanded(textfile)})
    notify = [_hook_with_absolute_paths(hook, base) for hook in config.notify]
    rooms = {"ids": ids, "work": work, "output": output, "api": api, "metrics": metrics, "notify": notify}
    return config.model_copy(update=rooms)


def _hook_with_absolute_paths(hook: HookConfig, base: Path) -> HookConfig:
    changed: dict[str, object] = {}
    if hook.webhook and hook.webhook.url_file:
        changed["webhook"] = hook.webhook.model_copy(
            update={"url_file": base / _expanded(hook.webhook.url_file)}
        )
    if hook.email and hook.email.password_file:
        changed["email"] = hook.email.model_copy(
            update={"password_file": base / _expanded(hook.email.password_file)}
        )
    return hook.model_copy(update=changed)


def _catalog(config: Config, base: Path) -> CatalogConfig | None:
    catalog = config.output.catalog
    if not isinstance(catalog, RestCatalogConfig):
        return catalog
    files = {name: getattr(catalog, name) for name in ("credential_file", "token_file")}
    return catalog.model_copy(update={name: file and base / _expanded(file) for name, file in files.items()})


def _absolute(base: Path, path: str) -> str:
    return path if path == "-" else os.path.normpath(base / _expanded(Path(path)))


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(
            f"There is no home folder for {path}.", "Give the whole path in the config."
        ) from None


def parse_clock_time(text: str, option: str = "--until") -> time:
    """`HH:MM` from the command line. Raises UsageError."""
    try:
        return TypeAdapter[time](ClockTime).validate_python(text)
    except ValidationError:
        raise UsageError(f"{option} {text}: give a time of day as HH:MM, such as 05:30.") from None
