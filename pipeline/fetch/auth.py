"""Who we are to the API: Basic, or an OAuth token kept fresh (API.md, sections 3.1 and 3.2)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from typing import Protocol

import aiohttp
from pydantic import BaseModel, SecretStr, ValidationError

from pipeline.errors import RefusedError, RetriableError
from pipeline.fetch.wire import LargerThanAllowedError, read_body

TOKEN_HEADER = "X-CAP-API-OAUTH-TOKEN"  # noqa: S105 - the header's name, not a token
TOKEN_PATH = "/v3/oauth/token/generate"  # noqa: S105
MAX_TOKEN_REPLY_BYTES = 1 << 20
RENEW_EARLY_S = 30.0
"""A token is renewed this long before it ends, or after 80 % of a shorter life."""


class Auth(Protocol):
    """Gives the headers of the next call; may renew what has run out."""

    def at_hand(self) -> dict[str, str] | None:
        """The headers, where nothing has to be asked for first. As long as nothing changes they are the same object."""

    async def headers(self) -> dict[str, str]:
        """The headers that say who we are. Raises RefusedError, RetriableError."""

    async def renew(self, refused: dict[str, str]) -> bool:
        """After a 401 to `refused`: whether other headers are now worth a try."""


class BasicAuth:
    """`Authorization: Basic base64(till:md5hex(password))`; the API wants the password's MD5."""

    def __init__(self, till: str, password: SecretStr) -> None:
        digest = hashlib.md5(password.get_secret_value().encode(), usedforsecurity=False).hexdigest()
        token = base64.b64encode(f"{till}:{digest}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def at_hand(self) -> dict[str, str] | None:
        """The same for every call."""
        return self._headers

    async def headers(self) -> dict[str, str]:
        """The same for every call."""
        return self._headers

    async def renew(self, refused: dict[str, str]) -> bool:
        """A password that was refused stays refused."""
        return False


class _TokenData(BaseModel, defer_build=True):
    accessToken: SecretStr  # noqa: N815 - the API's name
    ttlSeconds: float  # noqa: N815


class _TokenReply(BaseModel, defer_build=True):
    data: _TokenData | None = None


class OAuth:
    """A token from the API's own endpoint, renewed before it ends, by one call at a time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        host: str,
        key: str,
        secret: SecretStr,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = 30.0,
    ) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._url = host.rstrip("/") + TOKEN_PATH
        self._key = key
        self._secret = secret
        self._clock = clock
        self._headers = {TOKEN_HEADER: ""}
        self._renew_at = float("-inf")
        self._renewing = asyncio.Lock()

    def at_hand(self) -> dict[str, str] | None:
        """The token's header, while it is fresh."""
        return self._headers if self._clock() < self._renew_at else None

    async def headers(self) -> dict[str, str]:
        """The token's header, fresh."""
        if self._clock() >= self._renew_at:
            async with self._renewing:
                if self._clock() >= self._renew_at:
                    await self._generate()
        return self._headers

    async def renew(self, refused: dict[str, str]) -> bool:
        """One new token for all whose call was refused with the old one."""
        async with self._renewing:
            if refused.get(TOKEN_HEADER) == self._headers[TOKEN_HEADER]:
                self._renew_at = float("-inf")  # it is dead, whether or not another is to be had now
                await self._generate()
        return True

    async def _generate(self) -> None:
        asked_at = self._clock()
        status, body = await self._post()
        if status >= 500 or status == 429:
            raise RetriableError(f"The token endpoint answers HTTP {status}.")
        try:
            data = _TokenReply.model_validate_json(body).data
        except ValidationError:
            data = None
        token = "" if data is None else data.accessToken.get_secret_value()
        if not 200 <= status < 300 or data is None or not _fits_a_header(token):
            raise RefusedError(
                f"The API gives no OAuth token (HTTP {status}).",
                "Check api.auth.key and its secret, and that the API client's access group may read "
                "customers.",
            )
        self._headers = {TOKEN_HEADER: token}
        self._renew_at = asked_at + max(data.ttlSeconds * 0.8, data.ttlSeconds - RENEW_EARLY_S)

    async def _post(self) -> tuple[int, bytes]:
        credentials = {"key": self._key, "secret": self._secret.get_secret_value()}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(self._url, json=credentials, allow_redirects=False) as response,
            ):
                return response.status, await read_body(
                    response.content, response.headers, MAX_TOKEN_REPLY_BYTES
                )
        except (aiohttp.ClientError, TimeoutError, OSError, LargerThanAllowedError) as exc:
            raise RetriableError(f"The token endpoint does not answer: {type(exc).__name__}.") from exc


def _fits_a_header(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable()
