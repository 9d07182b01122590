"""Secrets: from the environment, a file or a command, never from the config itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    SecretStr,
)
from pydantic_core import PydanticCustomError

from pipeline.config.values import Section
from pipeline.errors import UsageError


class SecretSource(Section):
    """Where a secret comes from: an environment variable, a file, a command's output. Never the config itself."""

    env: str | None = None
    file: Path | None = None
    command: list[str] | None = None

    def read(self, key: str, environ: Mapping[str, str]) -> SecretStr:
        """The secret. `key` is the config's name for it, for messages. Raises UsageError."""
        if self.env is not None:
            found = environ.get(self.env)
            if not found:
                raise UsageError(
                    f"{key}_env names {self.env}, but that variable is not set.", f"export {self.env}=…"
                )
            return SecretStr(found)
        if self.file is not None:
            return _secret_in_file(key, self.file)
        return _secret_from_command(key, self.command or [])


def _secret_in_file(key: str, path: Path) -> SecretStr:
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "not text"
        raise UsageError(f"{key}_file: cannot read {path}: {cause}.") from None
    if not found:
        raise UsageError(f"{key}_file: {path} is empty.", "Write the secret into it.")
    return SecretStr(found)


def _secret_from_command(key: str, command: list[str]) -> SecretStr:
    """What the command prints. It doesn't share our standard input: the IDs may come from there."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        found = done.stdout.decode().strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as exc:
        cause = (exc.strerror if isinstance(exc, OSError) else None) or _WHY.get(
            type(exc), type(exc).__name__
        )
        raise UsageError(f"{key}_command: {command[0]}: {cause}.", "Run it by hand to see why.") from None
    if done.returncode or not found:
        cause = f"ended with exit code {done.returncode}" if done.returncode else "printed nothing"
        raise UsageError(f"{key}_command: {command[0]} {cause}.", "Run it by hand to see why.")
    return SecretStr(found)


COMMAND_TIMEOUT_S = 60
_WHY = {
    subprocess.TimeoutExpired: f"no answer within {COMMAND_TIMEOUT_S} seconds",
    UnicodeDecodeError: "its output is not text",
}


def one_source(key: str, before: Mapping[str, Any], command: list[str] | None) -> None:
    """Exactly one way to the secret. Checked at the last of the three, also when the first two are not given."""
    given = [kind for kind in ("env", "file") if before.get(f"{key}_{kind}", "mistaken") is not None]
    if len(given) + (command is not None) != 1:
        said = f"needs exactly one of {key}_env, {key}_file and {key}_command"
        raise PydanticCustomError("one_source", "{said}", {"said": said})
