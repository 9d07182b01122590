"""One request, one reply. The only place that knows aiohttp's errors: above it, only ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from pipeline.errors import RetriableError
from pipeline.fetch.outcomes import Trouble

UNIX_TIMES_FROM = 1e9
"""A reset above this is a time of day, not a number of seconds."""
MAX_RESET_DIGITS = 12
CONNECT_TIMEOUT_S = 10.0
"""A host that does not even take a connection for so long is not there."""
REQUEST_ID_HEADER = "X-Cap-Requestid"
REQUEST_ID_CHARS = 200


class Question(NamedTuple):
    """Whom to ask for: a customer's ID, or a negative key and the identifier that it stands for."""

    customer_id: int
    asked_as: str = ""


class Reply(NamedTuple):
    """What the API answered for one ID."""

    status: int
    body: bytes
    request_id: str
    retry_after: str
    latency_us: int
    fetched_at: int  # µs since 1970, when the answer was complete
    date: str = ""  # the server's clock, as it writes it
    used_up_s: float | None = None  # the server says that no call is left, for so many seconds

    @property
    def server_time(self) -> datetime | None:
        """The server's clock when it answered; None where it doesn't say."""
        return _moment(self.date)


class CallError(RetriableError):
    """No answer came, or not a whole one. `code` is one of `Trouble`."""

    def __init__(self, code: int, message: str, latency_us: int) -> None:
        super().__init__(message)
        self.code = code
        self.latency_us = latency_us


class LargerThanAllowedError(Exception):
    """A body is larger than its reader allows."""


class BodyTooLargeError(CallError):
    """The answer is larger than `api.max_body_mb`; asking again would not help."""


@dataclass(frozen=True)
class ClientOptions:
    """Where and how to ask. `query` is the ready-made query string, without the question mark."""

    host: str
    query: str
    timeout_s: float = 30.0
    max_body_bytes: int = 20 * 1024 * 1024
    identifier: str = ""  # what customers are asked for by, where not by their ID: mobile, email, …
    first_offset: int | None = None  # where the first page of user groups begins


class Client:
    """Asks for one customer at a time over a session that is handed in."""

    def __init__(self, session: aiohttp.ClientSession, options: ClientOptions) -> None:
        self._session = session
        self._options = options
        self._prefix = options.host.rstrip("/") + "/v2/customers/"
        self._suffix = f"?{options.query}" if options.query else "?"
        self._lookup = (
            f"{self._prefix}lookup/customerDetails{self._suffix}&identifierName={options.identifier}"
        )

    def _url(self, question: Question, offset: int | None) -> URL:
        """The ready-made text of a question; `offset` asks for a further page of user groups."""
        text = f"{self._prefix}{question.customer_id}{self._suffix}"
        if question.asked_as:
            text = f"{self._lookup}&identifierValue={quote(question.asked_as, safe='')}"
        offset = self._options.first_offset if offset is None else offset
        return URL(text if offset is None else f"{text}&ug2Offset={offset}", encoded=True)

    async def get(
        self,
        question: Question,
        headers: dict[str, str],
        on_sent: Callable[[], None] | None = None,
        offset: int | None = None,
        on_heard: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Ask for one customer. The deadline covers the whole act: connect, headers, body.

        `on_sent` is called when the request is on its way, `on_heard` when the answer begins. Raises CallError when no
        whole answer came.
        """
        url = self._url(question, offset)
        began = time.perf_counter_ns()
        _ON_SENT.set(on_sent)
        try:
            async with (
                asyncio.timeout(self._options.timeout_s),
                self._session.get(url, headers=headers, allow_redirects=False) as response,
            ):
                on_heard()
                body = await read_body(response, self._options.max_body_bytes)
        except aiohttp.ConnectionTimeoutError as exc:
            raise CallError(Trouble.CONNECT, "cannot connect: no answer in time", _since(began)) from exc
        except TimeoutError as exc:
            raise CallError(Trouble.TIMEOUT, "no whole answer in time", _since(began)) from exc
        except LargerThanAllowedError as exc:
            raise _too_large(self._options.max_body_bytes, began) from exc
        except aiohttp.ClientPayloadError as exc:
            raise CallError(Trouble.CUT, "the answer was cut", _since(began)) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise _call_error(exc, began) from exc
        found = response.headers
        return Reply(
            response.status,
            body,
            _clean(found.get(REQUEST_ID_HEADER, "")),
            found.get("Retry-After", ""),
            _since(began),
            time.time_ns() // 1000,
            found.get("Date", ""),
            used_up_s(found, time.time()),
        )


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, unpacked. Raises LargerThanAllowedError once it is known to be larger than `limit`."""
    if response.content_length is not None and "Content-Encoding" not in response.headers:
        if response.content_length > limit:
            raise LargerThanAllowedError
        return await response.read()
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit:
            raise LargerThanAllowedError
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(limit: int, began: int) -> BodyTooLargeError:
    return BodyTooLargeError(Trouble.TOO_LARGE, f"the answer is larger than {limit >> 20} MB", _since(began))


def _call_error(exc: Exception, began: int) -> CallError:
    """An error of the network's, without its addresses: they may hold secrets of a proxy."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        cause = exc.os_error.strerror or type(exc.os_error).__name__
        return CallError(Trouble.CONNECT, f"cannot connect: {cause}", _since(began))
    return CallError(Trouble.CUT, f"the connection broke ({type(exc).__name__})", _since(began))


def _since(began: int) -> int:
    return (time.perf_counter_ns() - began) // 1000


def used_up_s(headers: Mapping[str, str], now: float) -> float | None:
    """What `RateLimit-*` or `X-RateLimit-*` headers say: seconds until calls are left again; None while some are.

    The reset is given in seconds by some servers (IETF draft ratelimit-headers) and as Unix time by others.
    """
    remaining = headers.get("RateLimit-Remaining") or headers.get("X-RateLimit-Remaining")
    if remaining is None or remaining.strip() != "0":
        return None
    reset = (headers.get("RateLimit-Reset") or headers.get("X-RateLimit-Reset") or "").strip()
    if not (reset.isascii() and reset.isdigit()) or len(reset) > MAX_RESET_DIGITS:
        return None
    seconds = float(reset)
    return max(0.0, seconds - now) if seconds > UNIX_TIMES_FROM else seconds


def retry_after_s(header: str, now: float) -> float | None:
    """What a Retry-After header asks for, in seconds from `now` (Unix time); None where it is of no use."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, moment.timestamp() - now)


def _moment(text: str) -> datetime | None:
    """An HTTP date; UTC where it names no zone. None where it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _clean(header: str) -> str:
    """A header that can be written as UTF-8: aiohttp keeps bytes that are none as lone surrogates."""
    return header[:REQUEST_ID_CHARS].encode("utf-8", "replace").decode()


def open_session(
    max_in_flight: int, *, tells_when_sent: bool = True, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> aiohttp.ClientSession:
    """The night's one session: as many connections as calls in flight, no cookies kept between customers.

    `tells_when_sent`: whether `Client.get` calls its `on_sent`; without limits nobody needs it, and it costs.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_in_flight, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        request_class=_TellingRequest if tells_when_sent else aiohttp.ClientRequest,
    )
    # aiohttp would send a dropped GET once more by itself: a call that no quota saw and no journal has.
    session._retry_connection = False
    return session


_ON_SENT: ContextVar[Callable[[], None] | None] = ContextVar("on_sent", default=None)
"""What the task that makes a request wants to be called once it is on its way."""


class _TellingRequest(aiohttp.ClientRequest):
    """Tells when it is on its way: it has a connection, and its bytes are written. A tenth of what a trace costs."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Send it. Its answer has not begun yet."""
        response = await super().send(conn)
        on_sent = _ON_SENT.get()
        if on_sent is not None:
            on_sent()
        return response
