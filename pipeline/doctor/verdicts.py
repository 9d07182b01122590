"""What an answer of the API says about the config: in plain words, with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import BasicAuthConfig, Config
from pipeline.doctor.finding import Finding, failed, fine, harmless, warned
from pipeline.errors import ExportError, RefusedError, StoppedError, UsageError
from pipeline.fetch import Probe
from pipeline.fetch.client import Question, Reply
from pipeline.fetch.outcomes import Action, Trouble
from pipeline.jsontext import UnreadableError, decode
from pipeline.outcome import Outcome

ACCOUNT_MISSING_WARNING = 8054
OTHER_SOURCE = 8065

_SOURCE = "Check api.source: INSTORE, MOBILE_APP, WECHAT, … as your organization is set up."
_ACCOUNT = "Set api.account_id to the account of this api.source; ask Capillary for it."
_PAGES = "Check api.params: ug2Offset from 0, ug2Limit from 1 to 100."
_OUR_MISTAKES = {
    1044: "The till or API client has no permission to view customers: have its access group changed.",
    1064: "Check api.host and api.auth: the till belongs to another organization, or to another cluster.",
    8001: _SOURCE,
    8003: _SOURCE,
    8011: _SOURCE,
    8012: _SOURCE,
    8016: _SOURCE,
    8045: _ACCOUNT,
    8091: _ACCOUNT,
    8127: "api.source and api.account_id do not belong together: check both.",
    8092: "Check ids.identifier.",
    8093: "Check ids.column: the identifiers in it seem to be empty.",
    8100: _PAGES,
    8101: _PAGES,
    8102: _PAGES,
    8126: "The till or API client is of a parent organization; use one of the organization that has the customers.",
}
_NO_ANSWER = {
    Trouble.CONNECT: "The way was open a moment ago: try again. Where it stays so, a firewall cuts it.",
    Trouble.TIMEOUT: "Try again in some minutes; where the API is always so slow, raise api.timeout_s.",
    Trouble.CUT: "Try again in some minutes; where it stays so, something in between cuts the answers.",
    Trouble.TOO_LARGE: "Raise api.max_body_mb.",
}


def read_verdict(config: Config, asked: Question, probe: Probe, calls: int) -> Finding:
    """The finding that follows from one answer. `calls`: how many it took until then."""
    try:
        told = list(_remarks(config, asked, probe)) if probe.judged.action is Action.ACCEPT else []
        if told:
            return warned("API", told[0][0], told[0][1], calls=calls)
        if probe.judged.action is Action.THROTTLE and probe.judged.code != 403:
            return _too_many(probe, calls)
        return _well(config, asked, probe, calls)
    except ExportError as exc:
        return failed("API", exc, calls=calls)


def _well(config: Config, asked: Question, probe: Probe, calls: int) -> Finding:
    if probe.judged.action is not Action.ACCEPT:
        raise _refusal(config, probe)
    assert probe.reply is not None
    number = "1 call" if calls == 1 else f"{calls} calls"
    told = f"{number} made: {_who(asked)} is {probe.judged.outcome.word}, after {probe.reply.latency_us / 1000:.0f} ms"
    return fine("API", told, calls=calls)


def _who(asked: Question) -> str:
    """Identifiers are customers' data, IDs are not."""
    return "the list's first customer" if asked.asked_as else f"customer {asked.customer_id}"


def _remarks(config: Config, asked: Question, probe: Probe) -> Iterator[tuple[str, str]]:
    """What a good answer says all the same."""
    judged = probe.judged
    if judged.code == OTHER_SOURCE:
        yield (
            f"The API knows {_who(asked)} not in the source {harmless(config.api.source)} ({OTHER_SOURCE}).",
            "Check api.source and api.account_id; for one customer it means nothing.",
        )
    if judged.outcome is Outcome.PARTIAL:
        yield (
            f"The answer for {_who(asked)} lacks a block ({judged.code}: {judged.reason}).",
            "Nights ask once more for such answers. Where `outcomes` has many of them, ask Capillary.",
        )
    if judged.outcome is Outcome.ABSENT and asked.customer_id != 1 and judged.code != OTHER_SOURCE:
        yield (
            f"The way is open, but the API does not know {_who(asked)}, the list's first ({judged.code}).",
            "Where that is so for many, the list is another brand's or another cluster's: check api.host and the list.",
        )
    if probe.reply is not None and ACCOUNT_MISSING_WARNING in _warning_codes(probe.reply):
        yield (
            f"The API misses the account ({ACCOUNT_MISSING_WARNING}); it may answer for another one.",
            _ACCOUNT,
        )


def _warning_codes(reply: Reply) -> set[object]:
    try:
        doc = decode(reply.body).doc
    except UnreadableError:
        return set()
    warnings = doc.get("warnings") if isinstance(doc, dict) else None
    return {
        one["code"]
        for one in (warnings if isinstance(warnings, list) else [])
        if isinstance(one, dict) and isinstance(one.get("code"), int)
    }


def _too_many(probe: Probe, calls: int) -> Finding:
    wait = harmless(probe.reply.retry_after) if probe.reply else ""
    return warned(
        "API",
        f"The key is good, but the quota is used up at the moment (429{wait and f', retry after {wait}'}).",
        "Somebody else is using the same key: set quota.reserved_share, or run at another hour.",
        calls=calls,
    )


def _refusal(config: Config, probe: Probe) -> ExportError:
    judged, reply = probe.judged, probe.reply
    code = judged.code
    if reply is None:
        return StoppedError(
            f"No answer came: {judged.reason}.", _NO_ANSWER.get(code, "Try again in some minutes.")
        )
    if judged.action is Action.REAUTHENTICATE:
        return _not_authenticated(config, reply)
    if judged.action is Action.REFUSED:
        return RefusedError(
            f"The API knows us, but does not let us read customers ({code}: {judged.reason}){_request(reply)}.",
            "Have the till's or API client's access group changed so that it may read customers.",
        )
    if judged.action is Action.THROTTLE:
        return RefusedError(
            f"A firewall before the API blocks this machine (HTTP 403 with a page of its own){_request(reply)}.",
            "Ask Capillary to let this machine's public address through.",
        )
    if judged.action is Action.MISCONFIGURED:
        remedy = _OUR_MISTAKES.get(code, "Check api.source, api.account_id, api.embed and api.params.")
        return UsageError(f"The API refuses the request ({code}: {judged.reason}).", remedy)
    if judged.action is Action.GIVE_UP:
        return _given_up(reply, code)
    return _of_no_use(reply, code, judged.reason)


def _not_authenticated(config: Config, reply: Reply) -> RefusedError:
    auth = config.api.auth
    if isinstance(auth, BasicAuthConfig):
        return RefusedError(
            f"The API does not accept the till {harmless(auth.till)} with this password (401){_request(reply)}.",
            "Check api.auth.till and the password: the plain one, the program makes its MD5. A till works on "
            "its own cluster only, so check api.host, too.",
        )
    return RefusedError(
        f"The API gave a token and does not accept it (401){_request(reply)}.",
        "Try again. Where it stays so, api.host and the API client may be of different clusters.",
    )


def _given_up(reply: Reply, code: int) -> UsageError:
    if 300 <= reply.status < 400:
        return UsageError(
            f"The host sends us elsewhere (HTTP {reply.status}).", "Name in api.host where it sends to."
        )
    if reply.status in (404, 405, 410):
        return UsageError(
            f"There is no such API at this host (HTTP {reply.status}).",
            "Check api.host: scheme and host of your cluster, without a path.",
        )
    said = f"HTTP {reply.status}" + (f", code {code}" if code != reply.status else "")
    return UsageError(
        f"The API refuses the request ({said}){_request(reply)}.",
        "Check api.embed and api.params: it answers so to values that it does not know.",
    )


def _of_no_use(reply: Reply, code: int, reason: str) -> StoppedError:
    if code in (Trouble.UNREADABLE, Trouble.EMPTY):
        return StoppedError(
            f"The answer is not the API's: {harmless(reason)} (HTTP {reply.status}){_request(reply)}.",
            "Check api.host; a proxy or a login page may answer in its place. Else try again in some minutes.",
        )
    if code == 4001:
        return StoppedError(
            f"The API cannot check credentials at the moment (4001){_request(reply)}.",
            "Try again in some minutes.",
        )
    return StoppedError(
        f"The API is in trouble ({code}: {harmless(reason)}){_request(reply)}.",
        "Try again in some minutes; a night waits so long by itself (retry.outage_s).",
    )


def _request(reply: Reply) -> str:
    """The API's name for this call: its support asks for it."""
    return f"; request {harmless(reply.request_id)}" if reply.request_id else ""
