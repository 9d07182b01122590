"""An ID on its way through the pool, and a call as the journal holds it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from pipeline.fetch.client import Question, Reply
from pipeline.fetch.outcomes import Judgement
from pipeline.outcome import Outcome
from pipeline.store.journal import pack_record

FAILED_BODY_BYTES = 64 * 1024
_JSON = msgspec.json.Encoder()


class Page(NamedTuple):
    """A further page of an answer, and what is to be journalled of it."""

    reply: Reply
    outcome: Outcome


@dataclass(slots=True, eq=False)
class Item:
    """An ID on its way. `attempts` failed for its own sake; `calls` were made in all."""

    question: Question
    attempts: int = 0
    calls: int = 0
    is_second_look: bool = False  # a partial answer, asked once more at the end
    used_headers: dict[str, str] = field(default_factory=dict)
    reauthenticated: bool = False
    throttles: int = 0  # turned away while others were answered
    answers_at_trouble: int | None = None  # the breaker's count when it last failed for the server's fault
    fails_alone: bool = False  # others were answered between two such failures
    answers_at_throttle: int | None = None  # the same when it was last turned away
    pages: Sequence[Page] = ()  # of an answer in several, beyond the first

    def about(self, reply: Reply, judged: Judgement) -> dict[str, object]:
        """A call that failed, for an event: the request ID is what Capillary's support asks for."""
        return {
            "customer_id": self.question.customer_id,
            "attempts": self.attempts,
            "status": reply.status,
            "code": judged.code,
            "reason": judged.reason,
            "request_id": reply.request_id,
        }


def no_reply(latency_us: int) -> Reply:
    """Where none came."""
    return Reply(0, b"", "", "", latency_us, time.time_ns() // 1000)


def packed_with_pages(item: Item, reply: Reply, judged: Judgement) -> tuple[bytes, int]:
    """An answer's pages before it, in one piece, and how many calls that is.

    Pages without an answer are calls that were spent.
    """
    if not item.pages:
        return packed(item, reply, judged), 1
    pages, item.pages = item.pages, ()
    is_answered = judged.outcome.has_data
    pieces = [
        packed(item, page.reply, judged._replace(outcome=page.outcome if is_answered else Outcome.RETRIED))
        for page in pages
    ]
    return b"".join([*pieces, packed(item, reply, judged)]), len(pieces) + 1


def packed(item: Item, reply: Reply, judged: Judgement) -> bytes:
    """A call as the journal holds it; a body that brings no rows is cut, that of a spent call left out."""
    body, outcome = reply.body, judged.outcome
    if not outcome.has_data and outcome is not Outcome.PAGE:
        body = b"" if outcome is Outcome.RETRIED else body[:FAILED_BODY_BYTES]
    fields = (
        item.question.customer_id,
        reply.fetched_at,
        judged.other_id,
        judged.code,
        reply.latency_us,
        item.attempts,
        item.calls,
        reply.status,
        outcome,
        _meta(judged.reason, reply.request_id, item.question.asked_as),
        body,
    )
    return pack_record(fields)


def _meta(reason: str, request_id: str, asked_as: str) -> bytes:
    about = {}
    if reason:
        about["reason"] = reason
    if request_id:
        about["request_id"] = request_id
    if asked_as:
        about["asked_as"] = asked_as
    return _JSON.encode(about)
