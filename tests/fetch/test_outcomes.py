"""Every documented answer of the API (API.md, section 7) and the verdict on it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.fetch.outcomes import ABSENT, OUR_MISTAKE, RETRY_STATUSES, Action, Trouble, judge
from pipeline.outcome import Outcome
from pipeline.store.journal import Record, pack_record

ID = 300_000_007
SURVIVOR = 300_000_700
DELETED = "Customer is DELETED after PII delete request"
HTML = b"<!DOCTYPE html><html><body><h1>Error</h1></body></html>"
XML_401 = (
    b"<response><success>false</success><code>401</code><message>Authentication failed.</message></response>"
)


def note(code: Any, message: str = "") -> dict[str, Any]:
    return {"status": False, "code": code, "message": message}


def body(**fields: Any) -> bytes:
    return json.dumps({"id": ID, "profiles": [], "segments": {}} | fields).encode()


def errors(*codes: Any, message: str = "") -> bytes:
    return json.dumps({"warnings": [], "errors": [note(code, message) for code in codes]}).encode()


class Case(NamedTuple):
    """What the API answers, and what is to be made of it."""

    name: str
    status: int
    body: bytes
    action: Action
    outcome: Outcome
    code: int
    other_id: int = 0
    is_outage: bool = False


def accepted(name: str, status: int, answer: bytes, outcome: Outcome, code: int, other_id: int = 0) -> Case:
    return Case(name, status, answer, Action.ACCEPT, outcome, code, other_id)


def again(
    name: str, status: int, answer: bytes, code: int, *, other_id: int = 0, is_outage: bool = False
) -> Case:
    return Case(name, status, answer, Action.RETRY, Outcome.RETRIED, code, other_id, is_outage)


def given_up(name: str, status: int, answer: bytes, code: int) -> Case:
    return Case(name, status, answer, Action.GIVE_UP, Outcome.FAILED, code)


CASES = [
    # Answers
    accepted("a customer", 200, body(), Outcome.EXPORTED, 0),
    accepted("a numeric string as id", 200, body(id=str(ID)), Outcome.EXPORTED, 0),
    accepted("empty lists of errors and warnings", 200, body(errors=[], warnings=[]), Outcome.EXPORTED, 0),
    accepted("null errors", 200, body(errors=None, warnings=None), Outcome.EXPORTED, 0),
    accepted("errors as an empty object", 200, body(errors={}), Outcome.EXPORTED, 0),
    accepted("201 with a customer", 201, body(), Outcome.EXPORTED, 0),
    accepted("harmless: account id not passed", 200, body(warnings=[note(8054)]), Outcome.EXPORTED, 0),
    accepted("harmless: group without hierarchy", 200, body(warnings=[note(1656)]), Outcome.EXPORTED, 0),
    accepted("a warning without a code", 200, body(warnings=[{"message": "x"}]), Outcome.EXPORTED, 0),
    accepted("a customer who types the PII text", 200, body(x=DELETED), Outcome.EXPORTED, 0),
    accepted(
        "invalid UTF-8 in a name", 200, body(x="MARK").replace(b"MARK", b"\xff\xfe\xc3("), Outcome.EXPORTED, 0
    ),
    accepted("NaN and huge ints", 200, body(x=float("nan"), y=10**400), Outcome.EXPORTED, 0),
    accepted(
        "an int too long for Python", 200, body(x="X").replace(b'"X"', b"7" * 9000), Outcome.EXPORTED, 0
    ),
    *(
        accepted(f"partial {code}", 200, body(warnings=[note(8054), note(code)]), Outcome.PARTIAL, code)
        for code in (8062, 8063, 8076, 8088, 91001, 91002, 91004, 91013, 91014, 91016, 91017)
    ),
    accepted("partial, code as text", 200, body(warnings=[note("8062")]), Outcome.PARTIAL, 8062),
    accepted("partial, one warning alone", 200, body(warnings=note(8063)), Outcome.PARTIAL, 8063),
    # Absent
    *(accepted(f"absent {code}", 200, errors(code), Outcome.ABSENT, code) for code in ABSENT),
    accepted("absent, code as text", 200, errors("8015"), Outcome.ABSENT, 8015),
    accepted("absent, behind a code nobody knows", 200, errors(7777, 8015), Outcome.ABSENT, 8015),
    accepted("absent as HTTP 404", 404, errors(8015), Outcome.ABSENT, 8015),
    # Merged
    accepted(
        "merged, with the survivor's body",
        200,
        body(id=SURVIVOR, warnings=[note(8069)]),
        Outcome.MERGED,
        8069,
        SURVIVOR,
    ),
    accepted("merged, no body", 200, b'{"warnings":[{"code":8069}]}', Outcome.MERGED, 8069),
    accepted("merged, with its own body", 200, body(warnings=[note(8069)]), Outcome.MERGED, 8069),
    accepted("merged among errors", 200, errors(8015, 91009), Outcome.MERGED, 91009),
    # Deleted
    accepted("deleted by code", 200, errors(8026), Outcome.DELETED, 8026),
    accepted("deleted in errors", 200, errors(8015, message=DELETED), Outcome.DELETED, 8015),
    accepted("deleted in a 404", 404, errors(8015, message=DELETED), Outcome.DELETED, 8015),
    accepted("deleted in a 500", 500, errors(500, message=DELETED), Outcome.DELETED, 500),
    accepted("deleted in warnings", 200, body(warnings=[note(8026, DELETED)]), Outcome.DELETED, 8026),
    accepted("deleted at the top", 200, json.dumps({"message": DELETED}).encode(), Outcome.DELETED, 200),
    accepted(
        "deleted in a wrapper", 400, b'{"status":{"message":"%b"}}' % DELETED.encode(), Outcome.DELETED, 400
    ),
    accepted("deleted as bare text", 200, DELETED.encode(), Outcome.DELETED, 200),
    accepted("deleted as XML", 410, b"<message>%b</message>" % DELETED.encode(), Outcome.DELETED, 410),
    accepted("deleted as a list", 200, json.dumps([DELETED]).encode(), Outcome.DELETED, 200),
    # Our mistakes and rights
    *(
        Case(f"our mistake {code}", 200, errors(code), Action.MISCONFIGURED, Outcome.FAILED, code)
        for code in OUR_MISTAKE
    ),
    Case("401 as XML", 401, XML_401, Action.REAUTHENTICATE, Outcome.RETRIED, 401),
    Case("401, empty", 401, b"", Action.REAUTHENTICATE, Outcome.RETRIED, 401),
    Case("403 with code 4000", 403, errors(4000), Action.REFUSED, Outcome.RETRIED, 4000),
    Case("403 as JSON", 403, b'{"success":false}', Action.REFUSED, Outcome.RETRIED, 403),
    Case("403 of a firewall", 403, HTML, Action.THROTTLE, Outcome.RETRIED, 403),
    # Too fast
    Case("429", 429, b"", Action.THROTTLE, Outcome.RETRIED, 429),
    Case("429 as HTML", 429, HTML, Action.THROTTLE, Outcome.RETRIED, 429),
    Case("429 as a code", 200, errors(429), Action.THROTTLE, Outcome.RETRIED, 429),
    # Failed, and asking again would not help
    given_up("400 blank", 400, b"", 400),
    given_up("400 {}", 400, b"{}", 400),
    given_up("400 with a code nobody knows", 400, errors(7777), 7777),
    given_up("404", 404, HTML, 404),
    given_up("405", 405, b"{}", 405),
    given_up("a redirect", 302, b"", 302),
    given_up("a code nobody knows", 200, errors(618), 618),
    given_up("an error without a code", 200, b'{"errors":["no"]}', 0),
    given_up("an error whose code no journal holds", 200, errors(10**12), 0),
    # Asked again
    *(again(f"HTML {code}", code, HTML, code, is_outage=True) for code in sorted(RETRY_STATUSES)),
    again("a status nobody knows", 599, b"", 599, is_outage=True),
    again("500 as JSON", 500, errors(500), 500, is_outage=True),
    again("500 with a code nobody knows", 500, errors(7777), 500, is_outage=True),
    again("500 as a code", 200, errors(500), 500, is_outage=True),
    again("503, authorization unavailable", 503, errors(4001), 4001, is_outage=True),
    again("search engine busy, as a code", 200, errors(461), 461, is_outage=True),
    again("several actions for one customer, as a code", 200, errors(521), 521),
    again("several actions for one customer, as a status too", 521, errors(521), 521),
    again("empty 200", 200, b"", Trouble.EMPTY),
    again("blank 200", 200, b" \r\n", Trouble.EMPTY),
    again("an object without an id", 200, b"{}", Trouble.EMPTY),
    again("an id that is none", 200, body(id=True), Trouble.EMPTY),
    again("an id no journal holds", 200, body(id=2**64), Trouble.EMPTY),
    again("a list", 200, b"[" + body() + b"]", Trouble.UNREADABLE),
    again("null", 200, b"null", Trouble.UNREADABLE),
    again("HTML in a 200", 200, HTML, Trouble.UNREADABLE),
    again("half a body", 200, body()[:-20], Trouble.UNREADABLE),
    again(
        "10,000 levels deep",
        200,
        body(x="X").replace(b'"X"', b"[" * 10_000 + b"]" * 10_000),
        Trouble.UNREADABLE,
    ),
    again("another customer's body", 200, body(id=SURVIVOR), Trouble.OTHER_ID, other_id=SURVIVOR),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_documented_answer_has_its_verdict(case: Case) -> None:
    """Each answer of API.md, section 7, gets the action, the outcome and the reason code that it calls for."""
    judged = judge(ID, case.status, case.body)
    assert (judged.action, judged.outcome, judged.code) == (case.action, case.outcome, case.code)
    assert (judged.other_id, judged.is_outage) == (case.other_id, case.is_outage)
    assert judged.reason or judged.outcome is Outcome.EXPORTED


KEYS = st.sampled_from(["id", "errors", "warnings", "code", "message", "x"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([ID, SURVIVOR, str(ID), 8069, "8062", DELETED, 2**31, 2**63, -(2**70)])
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=15,
)
BODIES = (
    st.binary()
    | JSON.map(lambda doc: json.dumps(doc).encode())
    | st.dictionaries(KEYS, JSON).map(lambda doc: json.dumps(doc).encode())
)


@given(status=st.integers(100, 999) | st.sampled_from([200, 400, 403, 500]), answer=BODIES)
@example(status=200, answer=b'{"id": ' + b"9" * 5000 + b"}")
@example(status=200, answer=b"\xef\xbb\xbf{}")
@example(status=200, answer=b"{" * 100_000)
@settings(max_examples=300, deadline=None)
def test_any_answer_at_all_is_judged_and_can_be_journalled(status: int, answer: bytes) -> None:
    """Whatever bytes come with whatever status, there is a verdict, and its numbers fit a journal record."""
    judged = judge(ID, status, answer)
    assert judged.outcome is Outcome.EXPORTED or judged.code or judged.action is Action.GIVE_UP
    if judged.action is Action.ACCEPT:
        assert judged.outcome.is_final
    record = Record(ID, 0, judged.other_id, judged.code, 0, 1, 1, status, judged.outcome, b"", answer)
    assert pack_record(record).endswith(answer)


def test_an_odd_envelope_is_told_even_where_all_else_is_usual() -> None:
    """A whole answer whose message is no text counts, and the journal says what was odd."""
    judged = judge(5, 200, b'{"id":5,"message":7,"warnings":[]}')
    assert judged.outcome is Outcome.EXPORTED
    assert judged.reason.startswith("an odd envelope: message")
