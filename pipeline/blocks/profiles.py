"""One row per profile: what one source (and account) knows about a customer. Key: customer_id, ordinal.

Source and account should be unique per customer, but nobody promises it.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Privacy, Table, instant, integer, json_text, ordinal, person, text

PROFILES = Table(
    name="profiles",
    meaning="One row per customer, source and account.",
    rows=("profiles[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        text("source", "source", "The profile's source: INSTORE, WECHAT, WEB_ENGAGE, …"),
        text("account_id", "accountId", 'Account within the source; "" for INSTORE.'),
        integer(
            "user_id",
            "userId",
            "The customer ID that the profile carries; another one after a merge.",
            privacy=Privacy.IDENTIFIER,
        ),
        text("first_name", "firstName", "First name.", Privacy.NAME),
        text("last_name", "lastName", "Last name.", Privacy.NAME),
        instant("create_date", "attribution.createDate", "When the profile was made."),
        instant(
            "modified_date",
            "attribution.modifiedDate",
            "When the profile was last changed by a till or user.",
        ),
        *person("created_by", "attribution.createdBy", "made the profile"),
        *person("modified_by", "attribution.modifiedBy", "last changed the profile"),
        instant("auto_update_time", "autoUpdateTime", "When the profile's record last changed."),
        json_text(
            "conflicting_profile_list", "conflictingProfileList", "Profiles in conflict with this one."
        ),
    ),
)

BLOCK = Block(tables=(PROFILES,))
