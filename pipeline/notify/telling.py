"""The hooks, side by side, each within its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import SecretStr

from pipeline.config import HookConfig
from pipeline.errors import ExportError
from pipeline.notify.command import Running
from pipeline.notify.event import Event
from pipeline.notify.hook import HookError
from pipeline.notify.mail import send_mail
from pipeline.notify.webhook import send_webhook

WAITS_S = (1.0, 3.0)
"""Before the second and the third try of a webhook or a mail that failed in a way that may pass."""
GRACE_S = 0.5
"""A thread that is late by more is left alone: it ends with the process."""

Found = TypeVar("Found")


@dataclass
class Told:
    """What became of one hook. `detail` says what went wrong; it is empty where it did its part."""

    name: str
    event: str
    detail: str = ""

    @property
    def notice(self) -> str:
        """The same with the hook's name; empty where all is well."""
        return f"{self.name}: {self.detail}" if self.detail else ""


def tell(
    hooks: Mapping[int, HookConfig], event: Event, page: bytes | None, environ: Mapping[str, str]
) -> list[Told]:
    """Run these hooks, by their numbers in the config; whatever they do, it takes no longer than their `timeout_s`."""
    attempts = [_Attempt(number, hook, event, page, environ) for number, hook in hooks.items()]
    try:
        for one in attempts:
            one.thread.start()
        for one in attempts:
            one.wait()
    finally:
        for one in attempts:
            one.running.kill()
    return [one.told for one in attempts]


def within(seconds: float, look: Callable[[], Found]) -> Found | None:
    """What `look` gives; None where it fails or takes longer."""
    found: list[Found] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception:  # whatever it is, there is nothing to show
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


class _Attempt:
    """One hook in a thread of its own: name servers, sockets and commands may hang."""

    def __init__(
        self, number: int, hook: HookConfig, event: Event, page: bytes | None, environ: Mapping[str, str]
    ) -> None:
        self._hook, self._event, self._page, self._environ = hook, event, page, environ
        self._key = f"notify.{number}"
        self._deadline = time.monotonic() + hook.timeout_s
        self._failure: str | None = f"no answer within {hook.timeout_s:g} s"  # until it is known better
        self.name = f"{self._key} ({hook.kind})"
        self.running = Running()
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def wait(self) -> None:
        """Until it has ended, or its time is over."""
        self.thread.join(max(0.0, self._deadline + GRACE_S - time.monotonic()))

    @property
    def told(self) -> Told:
        """What became of it."""
        return Told(self.name, self._event.event, self._failure or "")

    def _run(self) -> None:
        try:
            self._until_told()
            self._failure = None
        except HookError as exc:
            self._failure = exc.message
        except ExportError as exc:  # the secret cannot be had
            self._failure = exc.message.rstrip(".")
        except Exception as exc:  # its text may repeat a secret
            self._failure = f"a bug ({type(exc).__name__}); please report it"

    def _until_told(self) -> None:
        """Once, and again where the failure may pass and there is time."""
        secret = self._secret()
        for wait_s in WAITS_S:
            try:
                return self._once(secret)
            except HookError as exc:
                if not exc.again or self._left() <= wait_s + 1.0:
                    raise
            time.sleep(wait_s)
        return self._once(secret)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _once(self, secret: SecretStr | None) -> None:
        hook, left = self._hook, max(0.1, self._left())
        if hook.webhook is not None:
            assert secret is not None
            send_webhook(hook.webhook, secret, self._event, left)
        elif hook.email is not None:
            send_mail(hook.email, secret, self._event, self._page if hook.email.attach_page else None, left)
        else:
            self.running.run(hook.command or [], self._event, self._environ, left)

    def _secret(self) -> SecretStr | None:
        """The URL or the password. Raises UsageError."""
        if self._hook.webhook is not None:
            return self._hook.webhook.secret.read(f"{self._key}.webhook.url", self._environ)
        if self._hook.email is not None and self._hook.email.user:
            return self._hook.email.secret.read(f"{self._key}.email.password", self._environ)
        return None
