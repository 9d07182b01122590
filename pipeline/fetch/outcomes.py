"""From a reply to its verdict: one plain function, `judge` (API.md, sections 7.1–7.5)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.jsontext import UnreadableError, decode
from pipeline.outcome import Outcome


class Action(Enum):
    """What happens next."""

    ACCEPT = "accept"  # the verdict stands
    GIVE_UP = "give up"  # failed, and asking again would not help
    RETRY = "retry"  # this call failed; the next may not
    THROTTLE = "throttle"  # we are too fast: all wait
    REAUTHENTICATE = "reauthenticate"  # 401
    REFUSED = "refused"  # 403: our rights, not this ID
    MISCONFIGURED = "misconfigured"  # our parameters, not this ID


class Judgement(NamedTuple):
    """A verdict and its reason. `code` is the API's code, else the HTTP status, else one of `Trouble`."""

    action: Action
    outcome: Outcome
    code: int
    reason: str
    other_id: int = 0
    is_outage: bool = False  # the server's trouble, not this ID's
    next_offset: int | None = None  # the answer goes on: where its next page of user groups begins


class Trouble:
    """Reason codes of what no server said."""

    CONNECT = -1
    TIMEOUT = -2
    CUT = -3
    TOO_LARGE = -4
    UNREADABLE = -5
    OTHER_ID = -6
    EMPTY = -7
    NO_PROGRESS = -8


PARTIAL = {
    8062: "points details fetch failed",
    8063: "segmentation details fetch failed",
    8076: "gap details missing",
    8088: "customer status get failed",
}
MERGED_CODES = frozenset({8069, 91009})
DELETED_CODES = frozenset({8026})
DELETED_TEXT = "deleted after pii"
DELETED_WITHIN_BYTES = 4096
ABSENT = {
    816: "customer not found for organization",
    8013: "invalid identifier",
    8015: "customer not found",
    8065: "user not found for the given source",
    8089: "not in the loyalty programme",
    8121: "non-loyalty customer",
}
OUR_MISTAKE = {
    1044: "no permission to view",
    1064: "invalid org id",
    8001: "no source",
    8002: "no identifiers",
    8003: "invalid source",
    8011: "invalid source",
    8012: "invalid source",
    8016: "no source",
    8045: "account id not passed",
    8091: "account id not passed",
    8092: "no identifier type",
    8093: "no identifier value",
    8100: "ug2Offset below 0",
    8101: "ug2Limit not above 0",
    8102: "ug2Limit above 100",
    8126: "no child org context",
    8127: "invalid source or accountId",
}
BUSY_CODE = 521
"""As a code: other actions run for this customer. As a bare HTTP status: Cloudflare finds the API down."""
AUTH_UNAVAILABLE_CODE = 4001
RETRY_STATUSES = frozenset({408, 425, 461, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530})
THROTTLE_STATUSES = frozenset({429})
OK = Judgement(Action.ACCEPT, Outcome.EXPORTED, 0, "")


def is_partial_code(code: int) -> bool:
    """Whether a warning means that a block is missing (8062, 8063, 8076, 8088, 9100x, 9101x)."""
    return code in PARTIAL or (91000 <= code <= 91019 and code not in MERGED_CODES)


# What the journal's columns hold; numbers beyond them are no code and no ID of the API's.
_MAX_CODE, _MAX_ID = 2**31 - 1, 2**63 - 1
_Code = Annotated[int, msgspec.Meta(ge=-_MAX_CODE, le=_MAX_CODE)]
_Id = Annotated[int, msgspec.Meta(ge=-_MAX_ID, le=_MAX_ID)]


class _Message(msgspec.Struct):
    code: _Code | None = None
    message: str | None = None


class Pagination(msgspec.Struct):
    """Where the user groups in a body stand among all of the customer's (UNKNOWNS.md, 9)."""

    limit: int | None = None
    offset: int | None = None
    total: int | None = None

    def next_offset(self) -> int | None:
        """Where the next page begins; None when this is the last, or when it doesn't say."""
        if not self.limit or self.limit < 0 or self.total is None:
            return None
        following = max(0, self.offset or 0) + self.limit
        return following if following < self.total else None


class _Envelope(msgspec.Struct):
    """What a body says of itself; the blocks are skipped over, but their JSON is checked."""

    id: _Id | None = None
    errors: list[_Message] | None = None
    warnings: list[_Message] | None = None
    message: str | None = None
    ug2Pagination: Pagination | None = None  # noqa: N815 - the API's name


_ENVELOPE = msgspec.json.Decoder(_Envelope)


class _ToldMessage(BaseModel, defer_build=True):
    code: int | None = None
    message: str | None = None


class _ToldEnvelope(BaseModel, defer_build=True):
    """The envelope's contract once more, for people: pydantic says where a body departs from it."""

    model_config = ConfigDict(strict=True)
    id: int | None = None
    errors: list[_ToldMessage] | None = None
    warnings: list[_ToldMessage] | None = None
    message: str | None = None


def _misfit(doc: object) -> str:
    """Where a body's envelope departs from the contract, without its values; empty where it doesn't."""
    try:
        _ToldEnvelope.model_validate(doc)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""


def judge(customer_id: int, status: int, body: bytes) -> Judgement:
    """The verdict on one reply to the question for `customer_id`.

    A negative ID stands for another identifier: then any customer's body is an answer, told by `other_id`.
    """
    if status == 401:
        return _refusal(Action.REAUTHENTICATE, status, "authentication failed")
    if status in THROTTLE_STATUSES:
        return Judgement(Action.THROTTLE, Outcome.RETRIED, status, "too many requests")
    try:
        envelope, misfit = _open(body)
    except UnreadableError as exc:
        return _judge_unreadable(status, body, str(exc))
    if not misfit and _is_usual(customer_id, status, envelope):
        return OK
    judged = _judge_envelope(customer_id, status, body, envelope)
    if misfit and judged.outcome.has_data and not judged.reason:
        return judged._replace(reason=f"an odd envelope: {misfit}")
    return judged


def _is_usual(customer_id: int, status: int, envelope: _Envelope) -> bool:
    """Whether a body is all that was asked for, and says nothing else: most are. What follows would find the same."""
    return (
        status == 200
        and envelope.id == customer_id > 0
        and not envelope.errors
        and not envelope.warnings
        and envelope.message is None
        and envelope.ug2Pagination is None
    )


def brings_nothing_new(page: bytes, last: bytes) -> bool:
    """Whether a page says the same as the one before, but for where it says to stand."""
    here, before = decode(page).doc, decode(last).doc
    return {**here, "ug2Pagination": None} == {**before, "ug2Pagination": None}


def _judge_envelope(customer_id: int, status: int, body: bytes, envelope: _Envelope) -> Judgement:
    if envelope.id is None and _says_deleted(body):
        return _deleted(_first_code(envelope.errors or (), envelope.warnings or ()) or status)
    said = _judge_messages(customer_id, envelope)
    if said is not None:
        return said if said.code else said._replace(code=status)
    is_success = 200 <= status < 300
    judged = _judge_body(customer_id, envelope) if is_success else _judge_status(status, is_json=True)
    code = _first_code(envelope.errors or ())
    return judged._replace(code=code) if code and judged.action is Action.GIVE_UP else judged


def _open(body: bytes) -> tuple[_Envelope, str]:
    """The envelope, strictly; where a type is odd or the JSON is, once more with patience, and what was odd."""
    try:
        return _ENVELOPE.decode(body), ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        doc = decode(body).doc
        return _open_patiently(doc), _misfit(doc)


def _open_patiently(doc: object) -> _Envelope:
    if not isinstance(doc, dict):
        raise UnreadableError("not a JSON object")
    message = doc.get("message")
    return _Envelope(
        id=_whole_number(doc.get("id"), _MAX_ID),
        errors=_messages(doc.get("errors")),
        warnings=_messages(doc.get("warnings")),
        message=message if isinstance(message, str) else None,
    )


def _messages(found: object) -> list[_Message]:
    """Errors or warnings in whatever form: a list, one alone, bare texts."""
    many = found if isinstance(found, list) else [found] if found else []
    return [
        _Message(_whole_number(one.get("code"), _MAX_CODE), str(one.get("message") or ""))
        if isinstance(one, dict)
        else _Message(None, str(one))
        for one in many
    ]


def _whole_number(found: object, most: int) -> int | None:
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 20:
        found = int(found)
    return found if type(found) is int and -most <= found <= most else None


def _says_deleted(body: bytes) -> bool:
    """For bodies without a customer: in which wrapper the API says it isn't known."""
    return DELETED_TEXT.encode() in body[:DELETED_WITHIN_BYTES].lower()


def _deleted(code: int) -> Judgement:
    return Judgement(Action.ACCEPT, Outcome.DELETED, code, "deleted after a PII request")


def _judge_messages(customer_id: int, envelope: _Envelope) -> Judgement | None:
    """What errors and warnings decide; None when they decide nothing."""
    errors, warnings = envelope.errors or (), envelope.warnings or ()
    texts = [envelope.message, *(one.message for one in errors), *(one.message for one in warnings)]
    if any(text is not None and DELETED_TEXT in text.lower() for text in texts):
        return _deleted(_first_code(errors, warnings))
    merged = next((one.code for one in (*warnings, *errors) if one.code in MERGED_CODES), None)
    if merged is not None:
        other = envelope.id if envelope.id not in (None, customer_id) else 0
        return Judgement(Action.ACCEPT, Outcome.MERGED, merged, "merged into another customer", other or 0)
    return _judge_errors([one.code or 0 for one in errors])


def _first_code(*groups: Iterable[_Message]) -> int:
    return next((one.code for group in groups for one in group if one.code), 0)


def _judge_errors(codes: list[int]) -> Judgement | None:
    """The first code that the documentation names; None when none is."""
    for code in codes:
        if code in DELETED_CODES:
            return _deleted(code)
        if code in ABSENT:
            return Judgement(Action.ACCEPT, Outcome.ABSENT, code, ABSENT[code])
        if code in OUR_MISTAKE:
            return Judgement(Action.MISCONFIGURED, Outcome.FAILED, code, OUR_MISTAKE[code])
        if code == 4000:
            return _refusal(Action.REFUSED, code, "access is denied")
        if code in THROTTLE_STATUSES:
            return Judgement(Action.THROTTLE, Outcome.RETRIED, code, "too many requests")
        if code in RETRY_STATUSES or code == AUTH_UNAVAILABLE_CODE:
            reason = "the API asks to try again"
            return Judgement(Action.RETRY, Outcome.RETRIED, code, reason, is_outage=code != BUSY_CODE)
    return None


def _judge_body(customer_id: int, envelope: _Envelope) -> Judgement:
    if envelope.errors:
        code = _first_code(envelope.errors)
        return Judgement(Action.GIVE_UP, Outcome.FAILED, code, "an error that is not documented")
    if envelope.id is None:
        return Judgement(Action.RETRY, Outcome.RETRIED, Trouble.EMPTY, "a body without an id")
    if envelope.id != customer_id and customer_id > 0:
        return Judgement(
            Action.RETRY, Outcome.RETRIED, Trouble.OTHER_ID, "a body for another ID", envelope.id
        )
    judged = next(map(_partial, filter(is_partial_code, _codes(envelope.warnings))), OK)
    if customer_id > 0 and envelope.ug2Pagination is None:
        return judged
    next_offset = envelope.ug2Pagination.next_offset() if envelope.ug2Pagination else None
    return judged._replace(other_id=envelope.id if customer_id < 0 else 0, next_offset=next_offset)


def _codes(messages: Iterable[_Message] | None) -> Iterable[int]:
    return (one.code for one in messages or () if one.code is not None)


def _partial(code: int) -> Judgement:
    return Judgement(Action.ACCEPT, Outcome.PARTIAL, code, PARTIAL.get(code, "a block is missing"))


def _judge_unreadable(status: int, body: bytes, why: str) -> Judgement:
    """No JSON: an empty body, a gateway's HTML, a cut or hostile one."""
    if _says_deleted(body):
        return _deleted(status)
    if not 200 <= status < 300:
        return _judge_status(status, is_json=False)
    if not body.strip():
        return Judgement(Action.RETRY, Outcome.RETRIED, Trouble.EMPTY, "an empty body")
    return Judgement(Action.RETRY, Outcome.RETRIED, Trouble.UNREADABLE, why[:120])


def _judge_status(status: int, *, is_json: bool) -> Judgement:
    """An HTTP status whose body decided nothing."""
    if status == 403 and is_json:
        return _refusal(Action.REFUSED, status, "access is denied")
    if status == 403:
        return Judgement(Action.THROTTLE, Outcome.RETRIED, status, "blocked by a firewall before the API")
    if status in RETRY_STATUSES or status >= 500:
        return Judgement(Action.RETRY, Outcome.RETRIED, status, f"HTTP {status}", is_outage=True)
    return Judgement(Action.GIVE_UP, Outcome.FAILED, status, f"HTTP {status}")


def _refusal(action: Action, code: int, reason: str) -> Judgement:
    return Judgement(action, Outcome.RETRIED, code, reason)
