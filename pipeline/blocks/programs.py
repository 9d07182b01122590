"""Loyalty programmes and what hangs on them.

loyalty_programs: one row per customer and programme. Key: customer_id, ordinal. partner_programs: per
programme and linked partner programme. Key: customer_id, block, program_ordinal, ordinal. group_programs: per
group programme. Key: customer_id, ordinal. group_program_members: per group programme and programme in it.
Key: customer_id, group_ordinal, ordinal.

Programme IDs should be unique per customer, but nobody promises it.
"""

from __future__ import annotations

from pipeline.blocks.balances import BALANCE_COLUMNS
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
    ordinal,
    ordinal_of,
    text,
)

LOYALTY_PROGRAMS = Table(
    name="loyalty_programs",
    meaning="One row per customer and loyalty programme: points and tier.",
    rows=("loyaltyProgramDetails[]",),
    key=("customer_id", "ordinal"),
    columns=(ordinal(), *BALANCE_COLUMNS),
)

PARTNER_PROGRAMS = Table(
    name="partner_programs",
    meaning="One row per programme and partner programme linked to it.",
    rows=("loyaltyProgramDetails[].linkedPartnerPrograms[]", "pointsSummary.linkedPartnerPrograms[]"),
    key=("customer_id", "block", "program_ordinal", "ordinal"),
    columns=(
        Column("block", Kind.TEXT, "@block", "Where it stood: loyaltyProgramDetails or pointsSummary."),
        ordinal_of(
            "program_ordinal",
            "^@ordinal",
            "Position of the programme (loyalty_programs.ordinal); null in pointsSummary.",
        ),
        integer("program_id", "^.programId", "ID of the loyalty programme."),
        ordinal(),
        integer("partner_program_id", "partnerProgramId", "ID of the partner programme."),
        text("partner_program_name", "partnerProgramName", "Name of the partner programme."),
        text(
            "partner_program_description",
            "partnerProgramDescription",
            "Description of the partner programme.",
        ),
        text("partner_program_type", "partnerProgramType", "EXTERNAL or SUPPLEMENTARY."),
        text(
            "partner_membership_id", "partnerMembershipId", "The customer's number there.", Privacy.IDENTIFIER
        ),
        boolean("tier_based", "tierBased", "Whether the partner programme has tiers."),
        integer("partner_tier_number", "partnerTierNumber", "Serial number of the customer's tier there."),
        text("partner_tier_name", "partnerTierName", "Name of the customer's tier there."),
        instant("partner_tier_expiry_date", "partnerTierExpiryDate", "When that tier expires."),
        instant(
            "partner_program_membership_start_date",
            "partnerProgramMembershipStartDate",
            "When the membership began.",
        ),
        instant(
            "partner_program_membership_end_date",
            "partnerProgramMembershipEndDate",
            "When the membership ends.",
        ),
        instant(
            "partner_program_membership_last_updated_date",
            "partnerProgramMembershipLastUpdatedDate",
            "When the membership last changed.",
        ),
        text(
            "partner_program_membership_last_updated_activity",
            "partnerProgramMembershipLastUpdatedActivity",
            "What last changed the membership.",
        ),
    ),
)

GROUP_PROGRAMS = Table(
    name="group_programs",
    meaning="One row per customer and group programme: points over several programmes.",
    rows=("groupLoyaltyProgramDetails[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("group_program_id", "groupProgramId", "ID of the group programme."),
        text("title", "title", "The group programme's name."),
        text("description", "description", "The group programme's description."),
        decimal("lifetime_points", "lifetimePoints", "Points earned since enrolment.", "points"),
        decimal("loyalty_points", "loyaltyPoints", "Points that can be redeemed now.", "points"),
        decimal("promised_points", "promisedPoints", "Points promised, not yet to be redeemed.", "points"),
        decimal(
            "points_to_currency_ratio",
            "pointsToCurrencyRatio",
            "What one point is worth.",
            "currency of the org per point",
        ),
        integer("program_count", "#programsList", "Programmes in the group.", "programmes"),
    ),
)

GROUP_PROGRAM_MEMBERS = Table(
    name="group_program_members",
    meaning="One row per group programme and programme in it.",
    rows=("groupLoyaltyProgramDetails[].programsList[]",),
    key=("customer_id", "group_ordinal", "ordinal"),
    columns=(
        ordinal_of("group_ordinal", "^@ordinal", "Position of the group programme (group_programs.ordinal)."),
        integer("group_program_id", "^.groupProgramId", "ID of the group programme."),
        ordinal(),
        integer("program_id", "id", "ID of the programme in the group."),
        text("name", "name", "The programme's name."),
        text("description", "description", "The programme's description."),
    ),
)

BLOCK = Block(
    tables=(LOYALTY_PROGRAMS, PARTNER_PROGRAMS, GROUP_PROGRAMS, GROUP_PROGRAM_MEMBERS),
    embed=("mlp",),
)
