"""What a reason code means to the person who reads it in the morning, and the next command to run."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.outcome import Outcome


class Advice(NamedTuple):
    """In plain words; `{config}` and `{night}` stand in the command. An empty command: nothing to run."""

    what: str
    do: str
    command: str = ""


_RUN = "capillary-export run {config}"
_DOCTOR = "capillary-export doctor {config}"
_WHO = "capillary-export csv outcomes --snapshot {export} --header | grep -E '^(customer_id|[^,]*,{word},)'"

_NO_ANSWER = Advice("", "Asks again whoever failed; where it stays so, `doctor` looks at the network.", _RUN)
_BY_CODE: dict[int, Advice] = {
    -1: _NO_ANSWER._replace(what="no connection"),
    -2: _NO_ANSWER._replace(what="no answer in time (api.timeout_s)"),
    -3: _NO_ANSWER._replace(what="the answer broke off"),
    -4: Advice(
        "the answer is larger than api.max_body_mb",
        "Asks again with room for larger answers.",
        f"{_RUN} --set api.max_body_mb=100",
    ),
    -5: Advice(
        "the answer is no JSON", "Asks again; where it stays so, tell Capillary the request IDs.", _RUN
    ),
    -6: Advice(
        "the answer was about another customer",
        "Nothing of it was stored. Asks again; where it stays so, tell Capillary the request IDs.",
        _RUN,
    ),
    -7: Advice("the answer was empty", "Asks again whoever failed.", _RUN),
    -8: Advice("a page of user groups brought nothing new", "Asks again whoever failed.", _RUN),
    -20: Advice(
        "the answer kills the normalizer",
        "It is kept in the journal; a newer version of the program tries it again.",
        "capillary-export rebuild {config} --night {night}",
    ),
    401: Advice("the API does not accept our password or token", "Looks at the credentials.", _DOCTOR),
    403: Advice("refused, by the API or by a firewall before it", "Looks at rights and network.", _DOCTOR),
    4000: Advice("our user may not read customers", "Looks at the rights.", _DOCTOR),
    429: Advice(
        "too many requests",
        "The API's limit is lower than quota.limits says, or others use the same key: lower it, or set "
        "quota.reserved_share.",
        "capillary-export plan {config} --set quota.reserved_share=0.1",
    ),
    461: Advice("the API asks to try again later", "Asks again whoever failed.", _RUN),
    521: Advice("the API is busy with that customer", "Asks again whoever failed.", _RUN),
}
_SERVER = Advice(
    "the API's own error", "Asks again whoever failed; where it stays so, it is the API's trouble.", _RUN
)
_OTHERS: dict[Outcome, Advice] = {
    Outcome.PARTIAL: Advice(
        "a block of the answer is missing",
        "Its last rows stay. Asked once more at the end of the night, and again tonight.",
    ),
    Outcome.ABSENT: Advice(
        "the API does not know the ID", "Lists them, to compare with where the IDs come from.", _WHO
    ),
    Outcome.DELETED: Advice("deleted after a request", "Their rows have left the tables: nothing to do."),
    Outcome.MERGED: Advice("merged into another customer", "`other_id` in `outcomes` is the survivor.", _WHO),
    Outcome.FAILED: Advice("asked, and the retries are spent", "Asks again whoever failed.", _RUN),
    Outcome.RETRIED: Advice("had to be asked again", "Was asked again: nothing to do."),
    Outcome.DEFERRED: Advice("not asked", "The next night asks them first."),
}
_OURS = range(8000, 8200)
"""Codes of the API that say our parameters are wrong, where they end as `failed`."""


def advice_for(outcome: Outcome, code: int) -> Advice:
    """What to tell of IDs that ended so, or of calls that had to be made again, for this reason."""
    found = _by_code(outcome, code)
    if outcome is Outcome.RETRIED and code != 429:
        return found._replace(do="Asked again at once, within the quota: nothing to do.", command="")
    return found


def _by_code(outcome: Outcome, code: int) -> Advice:
    if outcome in (Outcome.FAILED, Outcome.RETRIED):
        if code in _BY_CODE:
            return _BY_CODE[code]
        if 500 <= code < 600:
            return _SERVER
        if code in _OURS:
            return Advice(
                "our parameters do not suit the API", "Looks at source, account and rights.", _DOCTOR
            )
    return _OTHERS.get(outcome, _SERVER)
