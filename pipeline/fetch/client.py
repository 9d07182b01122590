"""One request, one reply. The only place that knows aiohttp's errors: above it, only ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from pipeline.errors import RetriableError
from pipeline.fetch.deadline import Deadlines
from pipeline.fetch.outcomes import Trouble
from pipeline.fetch.wire import Answer, Connector, LargerThanAllowedError, Wire

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
    """Asks for one customer at a time over a session that is handed in. To be made within the running loop."""

    def __init__(self, session: aiohttp.ClientSession, options: ClientOptions) -> None:
        self._options = options
        self._wire = Wire(session, options.host)
        self._deadlines = Deadlines(options.timeout_s)
        path = URL(options.host.rstrip("/") + "/v2/customers/", encoded=True).raw_path
        self._before, self._after = path, f"?{options.query}"
        self._lookup = f"{path}lookup/customerDetails?{options.query}&identifierName={options.identifier}"

    def _target(self, question: Question, offset: int | None) -> str:
        """The ready-made path and query of a question; `offset` asks for a further page of user groups."""
        if question.asked_as:
            target = f"{self._lookup}&identifierValue={quote(question.asked_as, safe='')}"
        else:
            target = f"{self._before}{question.customer_id}{self._after}"
        offset = self._options.first_offset if offset is None else offset
        return target if offset is None else f"{target}&ug2Offset={offset}"

    async def get(
        self,
        question: Question,
        headers: dict[str, str],
        on_sent: Callable[[bool], None] | None = None,
        offset: int | None = None,
        on_heard: Callable[[], None] | None = None,
    ) -> Reply:
        """Ask for one customer. The deadline covers the whole act: connect, headers, body.

        `on_sent` is called when the request is on its way, `on_heard` when the answer begins. Raises CallError when no
        whole answer came.
        """
        target, limit = self._target(question, offset), self._options.max_body_bytes
        began = time.perf_counter_ns()
        try:
            with self._deadlines.begin():
                answer = await self._wire.get(target, headers, limit, on_sent, on_heard)
        except aiohttp.ConnectionTimeoutError as exc:
            raise CallError(Trouble.CONNECT, "cannot connect: no answer in time", _since(began)) from exc
        except TimeoutError as exc:
            raise CallError(Trouble.TIMEOUT, "no whole answer in time", _since(began)) from exc
        except LargerThanAllowedError as exc:
            raise _too_large(limit, began) from exc
        except aiohttp.ClientPayloadError as exc:
            raise CallError(Trouble.CUT, "the answer was cut", _since(began)) from exc
        except (aiohttp.ClientError, HttpProcessingError, OSError) as exc:
            raise _call_error(exc, began) from exc
        return _reply(answer, _since(began))


def _reply(answer: Answer, latency_us: int) -> Reply:
    found, now = answer.headers, time.time()
    return Reply(
        answer.status,
        answer.body,
        _clean(found.get(REQUEST_ID_HEADER, "")),
        found.get("Retry-After", ""),
        latency_us,
        int(now * 1e6),
        found.get("Date", ""),
        used_up_s(found, now),
    )


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
    short = header[:REQUEST_ID_CHARS]
    return short if short.isascii() else short.encode("utf-8", "replace").decode()


def open_session(
    max_in_flight: int, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> aiohttp.ClientSession:
    """The night's one session: as many connections as calls in flight, no cookies kept between customers."""
    return aiohttp.ClientSession(
        connector=Connector(max_in_flight),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
    )
