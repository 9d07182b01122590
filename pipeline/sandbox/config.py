"""The sandbox's settings."""

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from pipeline.sandbox.customers import FIRST_DAY
from pipeline.sandbox.quota import Window

GroupBlock = Literal["userGroup", "userGroups", "userGroup2", "userGroups2", "fleetGroups"]


@dataclass(frozen=True)
class SandboxConfig:
    """All that makes one sandbox differ from another; checked when made."""

    customers: int = 5000
    calls_per_minute: int = 0  # per window_s, to be exact; 0 is no limit
    window_s: float = 60.0
    window: Window = "sliding"
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    seed: int = 1
    day: date | None = None  # None: today in UTC, when the sandbox starts
    first_day: date = FIRST_DAY  # newcomers, mergers and deletions happen in the 60 days from here
    faults: str = ""
    till: str = "till.01"
    password: str = "sandbox"  # noqa: S105, it guards made-up people
    forbidden_till: str = "till.forbidden"  # right password, no access: 403
    oauth_key: str = "key"
    oauth_secret: str = "secret"  # noqa: S105
    token_ttl_s: float = 300
    group_block: GroupBlock = "userGroup"  # its name in the answer: no document tells it
    missing_account_warns: bool = False  # 8054 and an answer, instead of error 8091
    gzip: bool = False  # compress for those who accept it
    cached_bodies: int = 2048
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one

    def __post_init__(self) -> None:
        if self.customers < 1:
            raise ValueError(f"customers = {self.customers}: must be 1 or more")
        if self.calls_per_minute < 0:
            raise ValueError(f"calls_per_minute = {self.calls_per_minute}: must be 0 (no limit) or more")
        if self.window_s <= 0:
            raise ValueError(f"window_s = {self.window_s}: must be above 0")
        if self.window not in ("sliding", "fixed"):
            raise ValueError(f"window = {self.window!r}: must be sliding or fixed")
        if self.retry_after not in ("seconds", "date", "none"):
            raise ValueError(f"retry_after = {self.retry_after!r}: must be seconds, date or none")
        if self.group_block not in get_args(GroupBlock):
            allowed = ", ".join(get_args(GroupBlock))
            raise ValueError(f"group_block = {self.group_block!r}: must be one of {allowed}")
