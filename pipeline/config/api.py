"""`api`: whom to ask, as whom, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from pipeline.config.secrets import SecretSource, one_source
from pipeline.config.values import Number, Section, Variable, Whole, Word, Zone, is_loopback

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
        one_source("password", info.data, value)
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
        one_source("secret", info.data, value)
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
        if parts.scheme == "http" and not is_loopback(parts.hostname):
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
