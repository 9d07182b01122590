"""JSON by POST to a URL that is a secret: no message here repeats it, nor any part of it."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline import __version__
from pipeline.config import WebhookConfig
from pipeline.config.values import is_loopback
from pipeline.notify.event import Event
from pipeline.notify.hook import HookError, cause_of

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere would come as a GET, or bring the event to a stranger."""

    def redirect_request(self, *_args: Any) -> None:
        return None


def send_webhook(config: WebhookConfig, url: SecretStr, event: Event, timeout_s: float) -> None:
    """Post it once. `timeout_s` is for each wait on the network. Raises HookError."""
    _check(url.get_secret_value())
    request = urllib.request.Request(  # noqa: S310 - its scheme was checked
        url.get_secret_value(),
        data=json.dumps(payload(config, event), ensure_ascii=False).encode(),
        headers={
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"capillary-export/{__version__}",
        },
        method="POST",
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(None if config.proxy_from_env else {}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _NoRedirect,
    )
    try:
        with opener.open(request, timeout=timeout_s):
            pass  # 2xx; what it says does not matter, and may be endless
    except urllib.error.HTTPError as exc:
        with exc:
            raise HookError(f"answered HTTP {exc.code}", again=exc.code in AGAIN) from None
    except urllib.error.URLError as exc:
        cause = exc.reason if isinstance(exc.reason, BaseException) else exc
        raise HookError(cause_of(cause), again=isinstance(cause, OSError)) from None
    except (OSError, http.client.HTTPException) as exc:
        raise HookError(cause_of(exc), again=True) from None


def _check(url: str) -> None:
    """Raises HookError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise HookError("its URL is no URL") from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        raise HookError("its URL is no URL")
    if parts.username is not None or " " in url:
        raise HookError("its URL must be a plain one, without a user")
    if parts.scheme == "http" and not is_loopback(host):
        raise HookError("its URL must be https; http is allowed to loopback only")


def payload(config: WebhookConfig, event: Event) -> dict[str, Any]:
    """What is posted: the text that Slack and its like take, or everything."""
    return event.to_json() if config.format == "json" else {"text": slack_text(event)}


def slack_text(event: Event) -> str:
    """The event in Slack's own marks."""
    lines = [f"*{_escaped(event.title)}*", *map(_escaped, event.lines())]
    if event.next_command:
        lines.append(f"Next: `{_escaped(event.next_command)}`")
    if event.page:
        lines.append(f"Page: {_escaped(event.page)}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Slack reads these three as marks: an unescaped <!channel> would wake everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
