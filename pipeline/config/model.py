"""A whole config."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr, SecretStr

from pipeline.config.api import ApiConfig, BasicAuthConfig
from pipeline.config.checks import ChecksConfig
from pipeline.config.ids import IdsConfig
from pipeline.config.nightly import PlanConfig, RetryConfig, WindowConfig, WorkConfig
from pipeline.config.notify import HookConfig
from pipeline.config.output import OutputConfig, SnapshotConfig
from pipeline.config.quota import QuotaConfig
from pipeline.config.values import Section
from pipeline.config.watching import LogConfig, MetricsConfig


class Config(Section):
    """A whole config, checked, its paths absolute."""

    api: ApiConfig
    ids: IdsConfig
    quota: QuotaConfig = QuotaConfig()
    plan: PlanConfig = PlanConfig()
    checks: ChecksConfig = ChecksConfig()
    window: WindowConfig = WindowConfig()
    retry: RetryConfig = RetryConfig()
    work: WorkConfig = WorkConfig()
    output: OutputConfig = OutputConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    notify: list[HookConfig] = Field([], max_length=20)
    _file: Path | None = PrivateAttr(None)

    @property
    def name(self) -> str:
        """How a command line names this config: its file, quoted for a shell; CONFIG where it has none."""
        return shlex.quote(str(self._file)) if self._file else "CONFIG"

    def read_from(self, file: Path) -> Config:
        """The same config, which remembers its file."""
        self._file = file
        return self

    def sha256(self) -> str:
        """Names the settings; secrets are no part of a config, so none is in it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def secret(self, environ: Mapping[str, str] | None = None) -> SecretStr:
        """The password or the OAuth secret. Raises UsageError when it cannot be had."""
        key = "api.auth.password" if isinstance(self.api.auth, BasicAuthConfig) else "api.auth.secret"
        return self.api.auth.secret.read(key, os.environ if environ is None else environ)
