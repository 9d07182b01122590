"""`notify`: who is told how a night ended, and by which way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.config.secrets import SecretSource, one_source
from pipeline.config.values import Number, Section, Variable, Word, is_loopback

EventName = Literal["published", "held", "stopped", "failed"]
EVENTS: tuple[EventName, ...] = get_args(EventName)

_ADDRESS = re.compile(r"[!-~]+@[!-~]+", re.ASCII)
_NAMED_ADDRESS = re.compile(r"(?P<name>[^<>\x00-\x1f\x7f]*)<(?P<address>[^<>]*)>")
_NOT_IN_ADDRESSES = frozenset(' ,;:"()<>[]\\')
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def _address(value: str) -> str:
    """`export@example.com`, or `Night export <export@example.com>`."""
    named = _NAMED_ADDRESS.fullmatch(value)
    address = named["address"] if named else value
    if not _ADDRESS.fullmatch(address) or address.count("@") != 1 or _NOT_IN_ADDRESSES & set(address):
        raise ValueError("must be an e-mail address, such as export@example.com")
    return value


Address = Annotated[Word, AfterValidator(_address)]


class WebhookConfig(Section):
    """A URL that takes JSON by POST. The URL is the secret: whoever has it may write there."""

    url_env: Variable | None = None
    url_file: Path | None = None
    url_command: Annotated[list[Word], Field(min_length=1)] | None = Field(None, validate_default=True)
    format: Literal["slack", "json"] = "slack"
    proxy_from_env: bool = False

    @field_validator("url_command")
    @classmethod
    def _has_one_source(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        one_source("url", info.data, value)
        return value

    @property
    def secret(self) -> SecretSource:
        """Where the URL comes from."""
        return SecretSource(env=self.url_env, file=self.url_file, command=self.url_command)


class EmailConfig(Section):
    """A mail by SMTP. Rules between keys stand at the later one."""

    smtp: Word
    tls: Literal["starttls", "tls", "none"] = "starttls"
    from_: Address = Field(alias="from")
    to: list[Address] = Field(min_length=1, max_length=50)
    user: Word | None = None
    attach_page: bool = True
    password_env: Variable | None = None
    password_file: Path | None = None
    password_command: Annotated[list[Word], Field(min_length=1)] | None = Field(None, validate_default=True)

    @field_validator("smtp")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        parts = _host_and_port(value)
        if not parts.hostname or parts.path or "@" in value or any(mark in value for mark in " ?#"):
            raise ValueError("must be host:port, such as mail.example.com:587")
        return value

    @field_validator("user")
    @classmethod
    def _is_not_in_clear(cls, value: str | None, info: ValidationInfo) -> str | None:
        host = _host_and_port(info.data.get("smtp", "localhost")).hostname or ""
        if value and info.data.get("tls") == "none" and not is_loopback(host):
            raise PydanticCustomError(
                "in_clear", "needs tls: starttls or tls, or the password would be sent in the clear"
            )
        return value

    @field_validator("password_command")
    @classmethod
    def _has_one_source(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        given = [kind for kind in ("env", "file") if info.data.get(f"password_{kind}") is not None]
        if info.data.get("user") or given or value is not None:
            one_source("password", info.data, value)
        if (given or value is not None) and "user" in info.data and not info.data["user"]:
            raise PydanticCustomError("one_source", "has a password but no user")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; without a port the usual one of `tls`."""
        parts = _host_and_port(self.smtp)
        return parts.hostname or "", parts.port or _PORTS[self.tls]

    @property
    def secret(self) -> SecretSource:
        """Where the password comes from."""
        return SecretSource(env=self.password_env, file=self.password_file, command=self.password_command)


def _host_and_port(text: str) -> SplitResult:
    """Raises ValueError."""
    try:
        parts = urlsplit(f"//{text}")
        parts.port  # noqa: B018 - it is read when it is asked for
    except ValueError:
        raise ValueError("must be host:port, such as mail.example.com:587") from None
    return parts


KINDS = ("webhook", "email", "command")


class HookConfig(Section):
    """One way of telling, and of which ends of a night it tells."""

    on: list[EventName] = Field(min_length=1)
    timeout_s: Number = Field(15.0, gt=0, le=120)
    webhook: WebhookConfig | None = None
    email: EmailConfig | None = None
    command: Annotated[list[Word], Field(min_length=1)] | None = Field(None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, value: Any) -> Any:
        """YAML 1.1 takes a bare on for true, also where it is a key."""
        if isinstance(value, dict) and True in value and "on" not in value:
            return {("on" if key is True else key): one for key, one in value.items()}
        return value

    @field_validator("command")
    @classmethod
    def _is_one_way(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        given = [kind for kind in KINDS[:2] if info.data.get(kind, "mistaken") is not None]
        if len(given) + (value is not None) != 1:
            raise PydanticCustomError("one_source", "needs exactly one of webhook, email and command")
        return value

    @property
    def kind(self) -> str:
        """webhook, email or command."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)
