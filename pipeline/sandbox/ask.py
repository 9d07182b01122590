"""What a call asks for: its query, checked as the API checks it. A night asks the same of every ID, so a
query is checked once and remembered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

from pipeline.sandbox.answers import BLANK_400, Answer, bare_errors, errors
from pipeline.sandbox.catalogue import ACCOUNTS, SOURCES

EMBEDS = frozenset({
    "points", "subscriptions", "mlp", "promotionalpoints", "expiryschedules", "expiredpoints",
    "returnedpoints", "usergroup", "gapdetails", "customerimage", "associatedimages", "segments",
    "cardloyaltydetails", "fleetparentdetails", "ignorecarddetails", "customerstatus", "alternatecurrencies",
})  # fmt: skip

FLAGS = (
    "includedAllUserGroup2", "includedUserGroup2LoyaltyDetails", "includedFraudDetails",
    "includedOnlyCurrentProfile", "ug2PaginationDetails", "ndncStatus", "optinStatus", "slabHistory",
    "tierUpgradeCriteria", "membershipRetentionCriteria",
)  # fmt: skip

DEFAULT_GROUPS, MOST_GROUPS = 10, 100

_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d\S*)?")


@dataclass(frozen=True)
class Ask:
    """A call's wishes. Two calls with equal wishes get equal bytes for the same customer and day."""

    source: str
    account: str | None
    embeds: frozenset[str]  # lower case
    flags: frozenset[str]
    gap_to_upgrade: int | None
    gap_to_renew: int | None
    group_id: int | None
    joined_from: str
    joined_to: str
    offset: int
    limit: int
    oldest_first: bool
    account_warning: bool  # answer, and warn that the account is missing
    groups_stuck: bool = False  # by a fault: paging through groups makes no progress

    def wants(self, embed: str) -> bool:
        """Whether a block was asked for, by its embed name in lower case."""
        return embed in self.embeds


class RefusedError(Exception):
    """The query can't be answered; `answer` is what the API says instead."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@lru_cache(maxsize=512)
def parse_ask(query: str, is_lookup: bool, missing_account_warns: bool) -> Ask | Answer:
    """The wishes in a query string, or the answer that refuses them."""
    # The last of repeated keys counts; how the API treats them isn't known.
    fields = dict(parse_qsl(query, keep_blank_values=True))
    try:
        return _ask(fields, is_lookup, missing_account_warns)
    except RefusedError as refused:
        return refused.answer


def _ask(fields: Mapping[str, str], is_lookup: bool, missing_account_warns: bool) -> Ask:
    source = _source(fields, is_lookup)
    account = fields.get("accountId") or None
    offset, limit = _page(fields)
    return Ask(
        source=source,
        account=account,
        account_warning=_lacks_account(source, account, missing_account_warns),
        embeds=_embeds(fields.get("embed", "")),
        flags=frozenset(flag for flag in FLAGS if _is_true(fields, flag)),
        gap_to_upgrade=_whole(fields, "gapToUpgrade", least=0),
        gap_to_renew=_whole(fields, "gapToRenew", least=0),
        group_id=_whole(fields, "userGroup2Id"),
        joined_from=_date(fields, "ug2JoinedStartDate"),
        joined_to=_date(fields, "ug2JoinedEndDate"),
        offset=offset,
        limit=limit,
        oldest_first=_sort_order(fields) == "ASC",
    )


def _source(fields: Mapping[str, str], is_lookup: bool) -> str:
    source = fields.get("source", "").upper()
    if not source:
        raise RefusedError(errors(8016, "Source is not passed"))
    if source not in SOURCES:
        raise RefusedError(
            bare_errors(8003, "Invalid source") if is_lookup else errors(8012, "Invalid source")
        )
    return source


def _lacks_account(source: str, account: str | None, missing_account_warns: bool) -> bool:
    """Whether an account is missing and may be. Refuses a source without its account, and a pair that isn't
    one."""
    if source in ("INSTORE", "ALL"):
        return False
    if account is None and not missing_account_warns:
        raise RefusedError(errors(8091, "Account id is not passed"))
    if account is not None and account not in ACCOUNTS.get(source, (account,)):
        raise RefusedError(errors(8127, "Invalid source or accountId"))
    return account is None


def _embeds(text: str) -> frozenset[str]:
    embeds = frozenset(name.strip().lower() for name in text.split(",")) - {""}
    if not embeds <= EMBEDS:
        raise RefusedError(BLANK_400)
    return embeds


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    text = fields.get(name, "false").lower()
    if text not in ("true", "false", ""):
        raise RefusedError(BLANK_400)
    return text == "true"


def _whole(fields: Mapping[str, str], name: str, least: int | None = None) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or (least is not None and int(text) < least):
        raise RefusedError(BLANK_400)
    return int(text)


def _page(fields: Mapping[str, str]) -> tuple[int, int]:
    offset, limit = _whole(fields, "ug2Offset"), _whole(fields, "ug2Limit")
    if offset is not None and offset < 0:
        raise RefusedError(errors(8100, "Offset can't be less than 0"))
    if limit is not None and limit <= 0:
        raise RefusedError(errors(8101, "Limit must be greater than 0"))
    if limit is not None and limit > MOST_GROUPS:
        raise RefusedError(errors(8102, f"Limit can't exceed {MOST_GROUPS}"))
    return offset or 0, limit or DEFAULT_GROUPS


def _date(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(name, "")
    if text and not _DATE.fullmatch(text):
        raise RefusedError(errors(8112, "Date must be in yyyy-MM-dd HH:mm:ss format"))
    return text.replace("T", " ")[:19]


def _sort_order(fields: Mapping[str, str]) -> str:
    order = fields.get("ug2SortOrder", "DESC").upper()
    if order not in ("ASC", "DESC") or fields.get("ug2SortBy", "JoinedDate").lower() != "joineddate":
        raise RefusedError(BLANK_400)
    return order
