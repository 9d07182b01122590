"""Any command of the user's: the event's JSON on standard input, its words in the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pipeline.notify.event import Event
from pipeline.notify.hook import HookError


class Running:
    """A command under way, with whatever it starts."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def run(self, command: Sequence[str], event: Event, environ: Mapping[str, str], timeout_s: float) -> None:
        """Until its end, or until `timeout_s` is over: then it is killed. Raises HookError.

        What it prints goes nowhere, because it may repeat a secret; at a trial it goes to standard error.
        """
        output = sys.stderr if event.is_test else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**environ, **event.environ()},
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            cause = exc.strerror if isinstance(exc, OSError) else type(exc).__name__
            raise HookError(f"cannot be started: {cause}") from None
        if self._is_ended:
            self.kill()
        try:
            self._process.communicate(json.dumps(event.to_json()).encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            raise HookError(f"did not end within {timeout_s:.0f} s and was killed") from None
        code = self._process.returncode
        if code:
            said = (
                f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            )
            raise HookError(said)

    def kill(self) -> None:
        """End it and what it has started; also before it has begun."""
        self._is_ended = True
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
