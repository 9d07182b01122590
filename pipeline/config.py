"""The config: YAML, then environment, then flags; read once, checked once, every mistake told at once."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import math
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from pipeline.errors import UsageError

ENV_PREFIX = "CAPILLARY_EXPORT__"

EMBEDS = (
    "points",
    "subscriptions",
    "mlp",
    "promotionalPoints",
    "expirySchedules",
    "expiredPoints",
    "returnedPoints",
    "userGroup",
    "gapDetails",
    "customerImage",
    "associatedImages",
    "segments",
    "cardLoyaltyDetails",
    "fleetParentDetails",
    "ignoreCardDetails",
    "customerStatus",
    "alternateCurrencies",
)
"""The documented values of `embed`, the lookup-only ones last (API.md, section 5)."""

IDENTIFIERS = (
    "mobile",
    "email",
    "externalId",
    "cardnumber",
    "cardExternalId",
    "wechat",
    "line",
    "cuid",
    "unionId",
    "martjackId",
    "fbId",
)
"""What the lookup form may ask by (API.md, sections 4 and 6.2)."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}
_CLOCK_TIME = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9]\d*)\Z", re.ASCII)
"""What is a number without quotes: YAML 1.1 takes 22:30 and 0123 for numbers, too."""
_A_WEEK_S = 7 * 86_400
_A_MONTH_S = 31 * 86_400


def _seconds(value: object) -> object:
    """`12h`, `90m`, `30s`, `2d`, or a bare number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a number of seconds, or a duration such as 30s, 15m, 12h or 2d")
    return float(match[1]) * _UNIT_S[match[2]]


def _clock_time(value: object) -> object:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _CLOCK_TIME.fullmatch(value.strip()):
        raise ValueError("must be a time of day as HH:MM, such as 05:30")
    return value.strip().rjust(5, "0") if value.count(":") == 1 else value.strip().rjust(8, "0")


def _variable(value: str) -> str:
    """The message doesn't repeat the value: it may be the secret itself."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable, not the secret itself")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError) as exc:
        raise ValueError("must be a time zone's name, such as Asia/Kolkata") from exc
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
ClockTime = Annotated[time, BeforeValidator(_clock_time)]
Zone = Annotated[str, AfterValidator(_zone)]
Variable = Annotated[str, AfterValidator(_variable)]
Word = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
"""Strict, because true is no 1."""


class Section(BaseModel):
    """Every part of the config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class SecretSource(Section):
    """Where a secret comes from: an environment variable, a file, a command's output. Never the config itself."""

    env: str | None = None
    file: Path | None = None
    command: list[str] | None = None

    def read(self, key: str, environ: Mapping[str, str]) -> SecretStr:
        """The secret. `key` is the config's name for it, for messages. Raises UsageError."""
        if self.env is not None:
            found = environ.get(self.env)
            if not found:
                raise UsageError(
                    f"{key}_env names {self.env}, but that variable is not set.", f"export {self.env}=…"
                )
            return SecretStr(found)
        if self.file is not None:
            return _secret_in_file(key, self.file)
        return _secret_from_command(key, self.command or [])


def _secret_in_file(key: str, path: Path) -> SecretStr:
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "not text"
        raise UsageError(f"{key}_file: cannot read {path}: {cause}.") from None
    if not found:
        raise UsageError(f"{key}_file: {path} is empty.", "Write the secret into it.")
    return SecretStr(found)


def _secret_from_command(key: str, command: list[str]) -> SecretStr:
    """What the command prints. It doesn't share our standard input: the IDs may come from there."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        found = done.stdout.decode().strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as exc:
        cause = (exc.strerror if isinstance(exc, OSError) else None) or _WHY.get(
            type(exc), type(exc).__name__
        )
        raise UsageError(f"{key}_command: {command[0]}: {cause}.", "Run it by hand to see why.") from None
    if done.returncode or not found:
        cause = f"ended with exit code {done.returncode}" if done.returncode else "printed nothing"
        raise UsageError(f"{key}_command: {command[0]} {cause}.", "Run it by hand to see why.")
    return SecretStr(found)


COMMAND_TIMEOUT_S = 60
_WHY = {
    subprocess.TimeoutExpired: f"no answer within {COMMAND_TIMEOUT_S} seconds",
    UnicodeDecodeError: "its output is not text",
}


def _one_source(key: str, before: Mapping[str, Any], command: list[str] | None) -> None:
    """Exactly one way to the secret. Checked at the last of the three, also when the first two are not given."""
    given = [kind for kind in ("env", "file") if before.get(f"{key}_{kind}", "mistaken") is not None]
    if len(given) + (command is not None) != 1:
        said = f"needs exactly one of {key}_env, {key}_file and {key}_command"
        raise PydanticCustomError("one_source", "{said}", {"said": said})


class BasicAuthConfig(Section):
    """A till and its password."""

    kind: Literal["basic"]
    till: Word
    password_env: Variable | None = None
    password_file: Path | None = None
    password_command: Annotated[list[Word], Field(min_length=1)] | None = Field(None, validate_default=True)

    @field_validator("till")
    @classmethod
    def _till_fits_basic(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("must be without a colon: Basic authentication cannot carry one in a name")
        return value

    @field_validator("password_command")
    @classmethod
    def _has_one_source(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        _one_source("password", info.data, value)
        return value

    @property
    def secret(self) -> SecretSource:
        """Where the password comes from."""
        return SecretSource(env=self.password_env, file=self.password_file, command=self.password_command)


class OAuthConfig(Section):
    """An API client's key and secret."""

    kind: Literal["oauth"]
    key: Word
    secret_env: Variable | None = None
    secret_file: Path | None = None
    secret_command: Annotated[list[Word], Field(min_length=1)] | None = Field(None, validate_default=True)

    @field_validator("secret_command")
    @classmethod
    def _has_one_source(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        _one_source("secret", info.data, value)
        return value

    @property
    def secret(self) -> SecretSource:
        """Where the secret comes from."""
        return SecretSource(env=self.secret_env, file=self.secret_file, command=self.secret_command)


class ApiParams(Section):
    """The query parameters of Get Customer Details beside source, accountId and embed (API.md, section 4)."""

    gapToUpgrade: Whole | None = Field(None, ge=0)  # noqa: N815 - the API's names
    gapToRenew: Whole | None = Field(None, ge=0)  # noqa: N815
    includedFraudDetails: bool | None = None  # noqa: N815
    includedAllUserGroup2: bool | None = None  # noqa: N815
    userGroup2Id: Whole | None = Field(None, ge=1)  # noqa: N815
    includedUserGroup2LoyaltyDetails: bool | None = None  # noqa: N815
    includedOnlyCurrentProfile: bool | None = None  # noqa: N815
    ug2JoinedStartDate: str | None = None  # noqa: N815
    ug2JoinedEndDate: str | None = None  # noqa: N815
    ug2Offset: Whole | None = Field(None, ge=0)  # noqa: N815
    ug2Limit: Whole | None = Field(None, ge=1, le=100)  # noqa: N815
    ug2SortBy: Literal["JoinedDate"] | None = None  # noqa: N815
    ug2SortOrder: Literal["ASC", "DESC"] | None = None  # noqa: N815
    ug2PaginationDetails: bool | None = None  # noqa: N815
    ndncStatus: bool | None = None  # noqa: N815
    optinStatus: bool | None = None  # noqa: N815
    slabHistory: bool | None = None  # noqa: N815
    tierUpgradeCriteria: bool | None = None  # noqa: N815
    membershipRetentionCriteria: bool | None = None  # noqa: N815
    format: Literal["json"] | None = None


class ApiConfig(Section):
    """Whom to ask, as whom, and for what. Rules between keys stand at the later one: then all can be told at once."""

    host: str
    auth: BasicAuthConfig | OAuthConfig = Field(discriminator="kind")
    source: Word = "INSTORE"
    account_id: str | None = Field(None, validate_default=True)
    allow_unknown_embed: bool = False
    embed: list[Word] | None = None
    params: ApiParams = ApiParams()
    timeout_s: Number = Field(30.0, gt=0, le=600)
    max_body_mb: Whole = Field(20, ge=1, le=1024)
    cluster_timezone: Zone | None = None

    @field_validator("host")
    @classmethod
    def _host_is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
            raise ValueError("must be a URL, such as https://eu.api.capillarytech.com")
        if "@" in parts.netloc or parts.query or parts.fragment or parts.port == 0:
            raise ValueError("must be a plain URL, without user, query or fragment")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("must be https; http is allowed to loopback only")
        return value.rstrip("/")

    @field_validator("source")
    @classmethod
    def _source_is_upper_case(cls, value: str) -> str:
        return value.upper()

    @field_validator("account_id")
    @classmethod
    def _account_fits_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("source", "INSTORE")
        if source not in ("INSTORE", "ALL") and not value:
            raise ValueError(f"is missing: the source {source} needs one")
        return value

    @field_validator("embed")
    @classmethod
    def _embed_is_known(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        known = {name.lower() for name in EMBEDS}
        unknown = [name for name in value or () if name.lower() not in known]
        if unknown and not info.data.get("allow_unknown_embed"):
            raise ValueError(
                f"{', '.join(unknown)} is not documented; known are {', '.join(EMBEDS)} "
                "(allow_unknown_embed: true lets it through)"
            )
        return value

    @field_validator("params")
    @classmethod
    def _gaps_have_programmes(cls, value: ApiParams, info: ValidationInfo) -> ApiParams:
        embed = info.data.get("embed")
        gaps = value.gapToUpgrade is not None or value.gapToRenew is not None
        if gaps and embed is not None and "mlp" not in {name.lower() for name in embed}:
            raise ValueError("gapToUpgrade and gapToRenew need mlp in api.embed")
        return value


OBJECT_STORES = ("s3", "gs", "az", "abfs", "abfss")
"""Schemes of `output.url` that name an object store."""
_ENDPOINTS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "GOOGLE_BASE_URL",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
)


def allows_http(environ: Mapping[str, str] | None = None) -> bool:
    """Whether an object store may be talked to without TLS: it is on this machine, or somebody said so."""
    found = os.environ if environ is None else environ
    if any(
        found.get(f"{cloud}_ALLOW_HTTP", "").lower() in ("1", "true") for cloud in ("AWS", "GOOGLE", "AZURE")
    ):
        return True
    plain = [found[name] for name in _ENDPOINTS if found.get(name, "").startswith("http://")]
    return bool(plain) and all(_is_loopback(urlsplit(url).hostname or "") for url in plain)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class IdsConfig(Section):
    """Where the customer IDs are."""

    paths: list[Word] = Field(min_length=1)
    column: Word | Whole = "customer_id"
    identifier: Literal[IDENTIFIERS] | None = None  # type: ignore[valid-type]
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    header: bool | None = None
    encoding: str | None = None
    max_rejected_share: Number = Field(0.01, ge=0, le=1)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - midnight by any zone's clocks


class LimitConfig(Section):
    """So many calls in any so many seconds; in a `fixed` window, from one multiple of them to the next.

    Fixed windows begin at midnight of `window.timezone`: a day's budget that starts anew each night is one.
    """

    calls: Whole = Field(ge=1, le=10_000_000)
    per_s: Seconds = Field(60.0, gt=0, le=_A_MONTH_S)
    window: Literal["sliding", "fixed"] = "sliding"

    def window_began(self, moment: datetime, zone: ZoneInfo | None) -> datetime:
        """When the fixed window that holds at a moment began, in UTC; by the zone's clocks, whatever they jump."""
        local = moment.astimezone(zone).replace(tzinfo=None)
        seconds = (local - _EPOCH).total_seconds() // self.per_s * self.per_s
        began = _EPOCH + timedelta(seconds=seconds)
        return (began.replace(tzinfo=zone) if zone else began.astimezone()).astimezone(UTC)


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class HoursConfig(Section):
    """Other limits from one time of day to another, on some days; `to` may be on the next morning."""

    from_: ClockTime = Field(alias="from")
    to: ClockTime
    days: list[Weekday] = Field(list(WEEKDAYS), min_length=1)  # on which it begins
    limits: list[LimitConfig] = Field(min_length=1)

    def holds_at(self, local: datetime) -> bool:
        """Whether these hours are now, by the clock and the day of the window's zone."""
        clock, day = local.time(), local.weekday()
        if self.from_ < self.to:
            return self.from_ <= clock < self.to and WEEKDAYS[day] in self.days
        began = day if clock >= self.from_ else (day - 1) % 7
        return (clock >= self.from_ or clock < self.to) and WEEKDAYS[began] in self.days


class QuotaConfig(Section):
    """What the API allows. Without limits given: 60 calls a minute, which every brand has."""

    limits: list[LimitConfig] = [LimitConfig(calls=60, per_s=60)]
    calendar: list[HoursConfig] = []  # the first whose hours are now counts, else `limits`
    reserved_share: Number = Field(0.0, ge=0, lt=1)  # of every limit, left to others who use the same key
    max_in_flight: Whole = Field(64, ge=1, le=2048)

    def limits_at(self, moment: datetime, zone: ZoneInfo | None) -> list[LimitConfig]:
        """What this night may use of each limit at a moment, the reserved share taken off."""
        local = moment.astimezone(zone)
        hours = next((hours.limits for hours in self.calendar if hours.holds_at(local)), self.limits)
        return [_less(limit, self.reserved_share) for limit in hours]

    def spans(
        self, start: datetime, end: datetime, zone: ZoneInfo | None
    ) -> Iterator[tuple[datetime, datetime, list[LimitConfig]]]:
        """The stretches of `start` … `end` (UTC) with the limits of each, in order."""
        began, limits = start, self.limits_at(start, zone)
        for moment in _clock_changes(self.calendar, start, end, zone):
            now = self.limits_at(moment, zone)
            if now != limits:
                yield began, moment, limits
                began, limits = moment, now
        yield began, end, limits


def _less(limit: LimitConfig, share: float) -> LimitConfig:
    """What is left of a limit; one call at the least."""
    if not share:
        return limit
    return limit.model_copy(update={"calls": max(1, math.floor(limit.calls * (1 - share) + 1e-9))})


def _clock_changes(
    calendar: Sequence[HoursConfig], start: datetime, end: datetime, zone: ZoneInfo | None
) -> list[datetime]:
    """The moments between `start` and `end` at which some hours begin or end, in order."""
    clocks = {clock for hours in calendar for clock in (hours.from_, hours.to)}
    first = start.astimezone(zone).date() - timedelta(days=1)
    days = (first + timedelta(days=later) for later in range((end - start).days + 4))
    moments = {
        datetime.combine(day, clock, zone).astimezone(UTC)
        if zone
        else datetime.combine(day, clock).astimezone(UTC)
        for day in days
        for clock in clocks
    }
    return sorted(moment for moment in moments if start < moment < end)


class PlanConfig(Section):
    """Who is asked first where not all fit: always new customers before known ones."""

    order: Literal["oldest", "input", "likely_changed"] = "oldest"
    max_age: Seconds = (
        30 * 86_400.0
    )  # likely_changed: whoever is unseen for longer comes before all other known ones


CHECKS = (
    "outcomes",
    "failed",
    "gone",
    "asked",
    "coverage",
    "age",
    "bytes",
    "rejects",
    "unknown",
    "rows",
    "nulls",
    "blanks",
    "values",
    "new_values",
    "distinct",
    "amounts",
    "signs",
    "sums",
    "shift",
    "dates",
    "future",
    "zones",
    "changed",
    "frozen",
    "backwards",
    "keys",
    "parents",
)
"""The checks that compare a night with others, or look at its rows; docs/operations.md tells what each means."""
CheckMode = Literal["hold", "warn", "off"]
_ONLY_WARN = frozenset({"failed", "asked", "coverage", "age", "bytes", "unknown"})
"""What may be unusual although every row is right."""


def _check_mode(value: object) -> object:
    """YAML takes a bare off for false."""
    return "off" if value is False else value


class ChecksConfig(Section):
    """What holds a night back. The sums always do; these are the checks that look at the rows."""

    sensitivity: Number = Field(1.0, gt=0, le=10)  # 2: bands half as wide
    min_customers: Whole = Field(100, ge=10)  # a night that asked fewer is judged by its sums alone
    mode: dict[Word, Annotated[CheckMode, BeforeValidator(_check_mode)]] = {}
    threshold: dict[Word, Annotated[Number, Field(gt=0)]] = {}  # how far out a number may be at the least
    ignore: list[Word] = []  # tables, or table.column
    keep_nights: Whole = Field(400, ge=1)

    def mode_of(self, check: str) -> CheckMode:
        """What a failure of this check does."""
        return self.mode.get(check, self.mode.get("all", "warn" if check in _ONLY_WARN else "hold"))

    @field_validator("mode", "threshold")
    @classmethod
    def _checks_are_known(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        known = (*CHECKS, "all") if info.field_name == "mode" else CHECKS
        if unknown := [name for name in value if name not in known]:
            raise ValueError(
                f"there is no check {_with_nearest(unknown, known)}; known are {', '.join(known)}"
            )
        return value

    @field_validator("ignore")
    @classmethod
    def _ignored_are_known(cls, value: list[str], info: ValidationInfo) -> list[str]:
        tables: Iterable[str] = (info.context or {}).get("tables", ())
        columns: Iterable[str] = (info.context or {}).get("columns", ())
        known = [*tables, *columns]
        unknown = [
            one for one in value if one not in known and (columns or one.partition(".")[0] not in tables)
        ]
        if unknown and known:
            told = _with_nearest(unknown, known)
            raise ValueError(
                f"there is no table or table.column {told}; `capillary-export tables` lists them"
            )
        return value


def _with_nearest(names: Iterable[str], known: Iterable[str]) -> str:
    """Names that are unknown, each with the known one it may have been meant for."""
    near = {name: difflib.get_close_matches(name, list(known), 1) for name in names}
    return ", ".join(
        f"{name}{f' (did you mean {found[0]}?)' if found else ''}" for name, found in near.items()
    )


class WindowConfig(Section):
    """The hours in which the night may call the API."""

    until: ClockTime | None = None
    timezone: Zone | None = None


class RetryConfig(Section):
    """How patient the night is."""

    max_attempts: Whole = Field(5, ge=1, le=100)
    max_wait_s: Seconds = 120.0
    outage_s: Seconds = 900.0
    fresh_for: Seconds = 12 * 3600.0


class WorkConfig(Section):
    """Where the journal lies: raw answers, private."""

    path: Path = Path("work")
    keep_nights: Whole = Field(7, ge=1)


class OutputConfig(Section):
    """Where the tables go."""

    url: Word = "export"
    tables: Literal["all"] | list[str] = "all"
    keep_snapshots: Whole = Field(7, ge=1)
    keep_days: Number = Field(0, ge=0)
    grace: Seconds = Field(3600.0, ge=0, le=_A_WEEK_S)
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    keep_offsets: bool = False
    drift: dict[Word, Literal["keep", "fail"]] = {}

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        scheme, slashes, rest = value.partition("://")
        if not slashes:
            return value
        if scheme == "file" and rest.startswith("/"):
            return rest
        parts = urlsplit(value)
        if scheme not in OBJECT_STORES or not parts.hostname:
            schemes = ", ".join(f"{one}://" for one in OBJECT_STORES)
            raise ValueError(f"must be a folder, file:///folder, or a bucket and prefix by {schemes}")
        if parts.query or parts.fragment or parts.password or ("@" in rest and "abfs" not in scheme):
            raise ValueError("must hold no key, user or query: credentials come from the environment")
        return value.rstrip("/")

    @field_validator("tables", "drift")
    @classmethod
    def _tables_are_known(cls, value: Iterable[str], info: ValidationInfo) -> Iterable[str]:
        known: Iterable[str] = (info.context or {}).get("tables", ())
        unknown = [name for name in value if name not in known] if known and value != "all" else []
        if unknown:
            told = _with_nearest(unknown, known)
            raise ValueError(f"there is no table {told}; `capillary-export tables` lists them")
        return value


class SnapshotConfig(Section):
    """What stands in a snapshot: the last one's rows and tonight's, or tonight's alone; who stays without an answer."""

    mode: Literal["merge", "full"] = "merge"
    absent: Literal["keep", "drop"] = "keep"
    failed: Literal["keep", "drop"] = "keep"
    changes: bool = False


class Config(Section):
    """A whole config, checked, its paths absolute."""

    api: ApiConfig
    ids: IdsConfig
    quota: QuotaConfig = QuotaConfig()
    plan: PlanConfig = PlanConfig()
    checks: ChecksConfig = ChecksConfig()
    window: WindowConfig = WindowConfig()
    retry: RetryConfig = RetryConfig()
    work: WorkConfig = WorkConfig()
    output: OutputConfig = OutputConfig()
    snapshot: SnapshotConfig = SnapshotConfig()

    def sha256(self) -> str:
        """Names the settings; secrets are no part of a config, so none is in it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def secret(self, environ: Mapping[str, str] | None = None) -> SecretStr:
        """The password or the OAuth secret. Raises UsageError when it cannot be had."""
        key = "api.auth.password" if isinstance(self.api.auth, BasicAuthConfig) else "api.auth.secret"
        return self.api.auth.secret.read(key, os.environ if environ is None else environ)


def load_config(
    path: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    tables: Iterable[str] = (),
    columns: Iterable[str] = (),
) -> Config:
    """Read, merge and check a config. `flags` are dotted keys from the command line; `tables` the known ones, and
    `columns` theirs, each as table.column.

    Raises UsageError with every mistake found.
    """
    settings = _read_yaml(path)
    origins: dict[str, str] = {}
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            _put(settings, key, _parse_value(key, text), origins, name)
    for key, value in (flags or {}).items():
        _put(settings, key, value, origins, "--set")
    try:
        config = Config.model_validate(settings, context={"tables": tuple(tables), "columns": tuple(columns)})
    except ValidationError as exc:
        raise UsageError(_all_mistakes(exc, path, origins)) from None
    return _with_absolute_paths(config, path.resolve().parent)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is a mistake, not a silent winner, and 22:30 and 2026-11-22 are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            said = f"the key {twice!r} is given twice"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, _PLAIN_INT if tag.endswith(":int") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        hint = "configs/nightly.example.yaml is one to copy."
        raise UsageError(f"There is no config at {path}.", hint) from None
    except OSError as exc:
        raise UsageError(f"Cannot read the config {path}: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"The config {path} is not UTF-8 text.") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise UsageError(f"The config {path} is not YAML: {_yaml_problem(exc)}.") from None
    if not isinstance(found, dict):
        raise UsageError(f"The config {path} is empty, or not a mapping of keys.")
    return found


def _yaml_problem(exc: Exception) -> str:
    """What is wrong and where, without the line itself: a secret may stand there that should not."""
    if not isinstance(exc, yaml.MarkedYAMLError):
        return type(exc).__name__
    mark = exc.problem_mark or exc.context_mark
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{exc.problem or exc.context}{where}"


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key.path=value` from the command line. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: give it as key.path=value, such as quota.max_in_flight=32.")
    return key.strip(), _parse_value(key.strip(), value)


def _parse_value(key: str, text: str) -> Any:
    """The value as YAML has it; as it stands where the key takes text, so that till 001 is not the number 1."""
    try:
        value = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if isinstance(value, str) or not _takes_text_only(key):
        return value
    return None if text.strip() in ("", "~", "null") else text


def _takes_text_only(key: str) -> bool:
    models: list[type[BaseModel]] = [Config]
    *outer, last = key.split(".")
    for name in outer:
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)]
    wanted = [
        field
        for model in models
        for name, field in model.model_fields.items()
        if name.lower() == last.lower()
    ]
    return any(_plain_types(field.annotation) in ({str}, {Path}) for field in wanted)


def _plain_types(annotation: object) -> set[object]:
    """The types that a value may have; None aside. A list is a list, whatever is in it."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {one for inner in get_args(annotation) for one in _plain_types(inner)} - {NoneType}
    return {get_origin(annotation) or annotation}


def _put(settings: dict[str, Any], key: str, value: object, origins: dict[str, str], origin: str) -> None:
    """Set a dotted key. The API's parameter names are matched without regard to case, as environments want."""
    *outer, last = key.split(".")
    holder = settings
    for name in outer:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        holder = inner
    if outer[-1:] == ["params"]:
        last = next((name for name in ApiParams.model_fields if name.lower() == last.lower()), last)
    holder[last] = value
    origins[".".join([*outer, last])] = origin


def _all_mistakes(exc: ValidationError, path: Path, origins: Mapping[str, str]) -> str:
    told: dict[str, list[str]] = {}
    for error in exc.errors():
        start, said = _mistake(error, origins)
        told.setdefault(start, []).append(said)
    noun = "mistake" if len(told) == 1 else "mistakes"
    lines = [f"{start}: {' or '.join(dict.fromkeys(said))}" for start, said in told.items()]
    return f"{len(lines)} {noun} in the config {path}:\n" + "\n".join(f"  {line}" for line in lines)


_BRANCH = re.compile(r"basic|oauth|str|int|(literal|list|constrained|function)\W.*")
"""Steps of a pydantic path that name the branch of a union, not a key."""
_OPEN_KEYS = ("kind", "till", "key")
"""Keys of `api.auth` whose values may be shown. The others may hold a secret by mistake."""
_PLAINLY = {
    "union_tag_not_found": "kind is missing: basic or oauth",
    "union_tag_invalid": "kind must be basic or oauth",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "list_type": "must be a list",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "path_type": "must be a path",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "missing": "is missing",
    "invalid_key": "is no key: keys are words",
}


def _mistake(error: ErrorDetails, origins: Mapping[str, str]) -> tuple[str, str]:
    """Which key, with its value and where that came from; and what is wrong with it."""
    kind = error["type"]
    loc = [str(step) for step in error["loc"] if not _BRANCH.fullmatch(str(step))]
    if kind == "one_source":
        loc = loc[:-1]
    key = ".".join(loc)
    if kind == "extra_forbidden":
        return f"{key}{_origin(key, origins)}", f"no such key{_nearest(loc)}"
    return f"{key}{_shown(loc, error)}{_origin(key, origins)}", _said(error)


def _said(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "string_type":
        is_scalar = isinstance(error["input"], int | float)
        return "must be text: put it in quotes" if is_scalar else "must be text"
    said = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _PLAINLY.get(kind, said)


def _shown(loc: Sequence[str], error: ErrorDetails) -> str:
    """The value, where it is short and cannot be a secret."""
    value = error["input"]
    is_hidden = tuple(loc[:2]) == ("api", "auth") and loc[-1] not in _OPEN_KEYS
    if is_hidden or error["type"] == "missing" or not isinstance(value, str | int | float):
        return ""
    return " = " + re.sub(r"(://[^?]*)\?[^'\"]*", r"\1?…", re.sub(r"//[^/]*@", "//…@", repr(value)))


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """The variable or flag that set this key, or one that it is in."""
    found = [name for name in origins if key == name or key.startswith(f"{name}.")]
    return f" (from {origins[max(found, key=len)]})" if found else ""


def _nearest(loc: Sequence[str]) -> str:
    *above, last = [step for step in loc if not step.isdigit()] or [""]
    known = _known_keys(Config)
    siblings = [key[-1] for key in known if list(key[:-1]) == above]
    near = difflib.get_close_matches(last, siblings, 1, 0.5)
    near = near or [".".join(key) for key in known if key[-1] == last][:1]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(siblings)}" if siblings else ""


def _known_keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a model and of the models inside it."""
    keys: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        name = field.alias or name
        keys.append((*above, name))
        for inner in _models_in(field.annotation):
            keys += _known_keys(inner, (*above, name))
    return list(dict.fromkeys(keys))


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]


def _with_absolute_paths(config: Config, base: Path) -> Config:
    """Relative paths are relative to the config file."""
    ids = config.ids.model_copy(update={"paths": [_absolute(base, path) for path in config.ids.paths]})
    work = config.work.model_copy(update={"path": Path(_absolute(base, str(config.work.path)))})
    url = config.output.url
    output = config.output.model_copy(update={"url": url if "://" in url else _absolute(base, url)})
    key = "password_file" if isinstance(config.api.auth, BasicAuthConfig) else "secret_file"
    secret_file: Path | None = getattr(config.api.auth, key)
    auth = config.api.auth.model_copy(update={key: secret_file and base / _expanded(secret_file)})
    api = config.api.model_copy(update={"auth": auth})
    return config.model_copy(update={"ids": ids, "work": work, "output": output, "api": api})


def _absolute(base: Path, path: str) -> str:
    return path if path == "-" else os.path.normpath(base / _expanded(Path(path)))


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(
            f"There is no home folder for {path}.", "Give the whole path in the config."
        ) from None


def parse_clock_time(text: str) -> time:
    """`HH:MM` from the command line. Raises UsageError."""
    try:
        return TypeAdapter[time](ClockTime).validate_python(text)
    except ValidationError:
        raise UsageError(f"--until {text}: give a time of day as HH:MM, such as 05:30.") from None
