"""One row per user group of a customer. Key: customer_id, block, ordinal.

Nothing public shows this block's name or fields: the likely names are read, the fields are those of the API's
page on user groups, and `raw` keeps the whole element.
"""

from __future__ import annotations

from pipeline.blocks.base import (
    Block,
    Column,
    Kind,
    Privacy,
    Table,
    boolean,
    decimal,
    instant,
    integer,
    json_text,
    ordinal,
    text,
)

GROUP_BLOCKS = ("userGroup", "userGroups", "userGroup2", "userGroups2", "fleetGroups")
"""What the block may be called; its pages are put together before the answer is flattened."""

USER_GROUPS = Table(
    name="user_groups",
    meaning="One row per customer and user group.",
    rows=tuple(f"{name}[]" for name in GROUP_BLOCKS),
    key=("customer_id", "block", "ordinal"),
    columns=(
        Column("block", Kind.TEXT, "@block", "The block's name in the answer: userGroup2, fleetGroups, …"),
        ordinal(),
        integer("id", "id", "The group's ID."),
        integer("group_id", "groupId", "The group's ID, where it is called so."),
        text("external_id", "externalId", "The group's ID outside Capillary.", Privacy.IDENTIFIER),
        text("group_name", "groupName", "The group's name.", Privacy.FREE_TEXT),
        text("name", "name", "The group's name, where it is called so.", Privacy.FREE_TEXT),
        text("group_status", "groupStatus", "ACTIVE, INACTIVE or DELETED."),
        integer("max_group_size", "maxGroupSize", "Members that the group may have.", "members"),
        integer("total_active_members", "totalActiveMembers", "Members now.", "members"),
        integer("total_exited_members", "totalExitedMembers", "Members that have left.", "members"),
        integer("primary_user_id", "primaryUserId", "The group's first member.", privacy=Privacy.IDENTIFIER),
        text("role", "role", "The customer's role in the group, such as PRIMARY."),
        boolean("primary_member", "primaryMember", "Whether the customer is the group's first member."),
        boolean("default_group", "defaultGroup", "Whether it is the customer's default group."),
        boolean("active", "active", "Whether the customer is still a member."),
        instant("joined_on", "joinedOn", "When the customer joined."),
        decimal(
            "life_time_purchases", "lifeTimePurchases", "All purchases of the group.", "currency of the org"
        ),
        integer("created_by", "createdBy", "ID of the till or user that made the group."),
        instant("created_on", "createdOn", "When the group was made."),
        integer("updated_by", "updatedBy", "ID of the till or user that last changed the group."),
        instant("updated_on", "updatedOn", "When the group was last changed."),
        json_text("extended_fields", "extendedFields", "The group's extended fields: name → value."),
        json_text("fleet_group_users", "fleetGroupUsers", "The group's members."),
        json_text("members", "members", "The group's members, where they are called so."),
        json_text("points_summaries", "pointsSummaries", "The group's points and tiers, per programme."),
        json_text("gap_to_upgrade", "gapToUpgrade", "What the group's next tier asks for."),
        json_text("gap_to_renew", "gapToRenew", "What keeping the group's tier asks for."),
        json_text("expiry_schedules", "expirySchedules", "The group's points that will expire."),
        json_text("expired_points", "expiredPoints", "The group's points that have expired."),
        json_text("loyalty_summary", "loyaltySummary", "The customer's points within the group."),
        json_text("warnings", "warnings", "Warnings about the group."),
        json_text("raw", "@row", "The whole element, as it came."),
    ),
)

BLOCK = Block(tables=(USER_GROUPS,), embed=("userGroup",))
