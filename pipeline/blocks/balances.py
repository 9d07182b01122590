"""What `pointsSummary` and each element of `loyaltyProgramDetails` have in common: one programme's points and
tier.
"""

from __future__ import annotations

from pipeline.blocks.base import Column, Privacy, decimal, instant, integer, text

_POINTS = (
    decimal("loyalty_points", "loyaltyPoints", "Points that can be redeemed now.", "points"),
    decimal("lifetime_points", "lifetimePoints", "Points earned since enrolment.", "points"),
    decimal("redeemed", "redeemed", "Points redeemed so far.", "points"),
    decimal("expired", "expired", "Points expired so far.", "points"),
    decimal("returned", "returned", "Points taken back with returned purchases.", "points"),
    decimal("adjusted", "adjusted", "Points changed by hand or by correction; can be negative.", "points"),
    decimal("delayed_points", "delayedPoints", "Points promised, not yet to be redeemed.", "points"),
    decimal(
        "delayed_returned_points",
        "delayedReturnedPoints",
        "Promised points taken back with returns.",
        "points",
    ),
    decimal("delayed_expired_points", "delayedExpiredPoints", "Promised points that expired.", "points"),
    decimal(
        "total_available_points",
        "totalAvailablePoints",
        "Points available, promised ones included.",
        "points",
    ),
    decimal(
        "total_returned_points", "totalReturnedPoints", "Points taken back, promised ones included.", "points"
    ),
    decimal(
        "cumulative_purchases",
        "cumulativePurchases",
        "Purchases that count for the tier.",
        "currency of the org",
    ),
)

_TIER = (
    text("current_slab", "currentSlab", "Name of the customer's tier (Capillary says slab)."),
    text("current_slab_description", "currentSlabDescription", "Description of the tier."),
    integer("slab_s_no", "slabSNo", "Serial number of the tier, the lowest first."),
    instant("slab_expiry_date", "slabExpiryDate", "When the tier expires; a century ahead means never."),
    text("next_slab", "nextSlab", 'Name of the next tier; "" at the top.'),
    text("next_slab_description", "nextSlabDescription", "Description of the next tier."),
    integer(
        "next_slab_serial_number", "nextSlabSerialNumber", "Serial number of the next tier; -1: none given."
    ),
)

_PROGRAM = (
    text("program_title", "programTitle", "The programme's name."),
    text("program_description", "programDescription", "The programme's description."),
    decimal(
        "program_points_to_currency_ratio",
        "programPointsToCurrencyRatio",
        "What one point is worth.",
        "currency of the org per point",
    ),
)

_GROUP = (
    integer(
        "user_group2_id", "userGroup2Id", "The user group whose points these are.", privacy=Privacy.QUASI
    ),
    decimal(
        "points_contribution_to_group",
        "pointsContributionToGroup",
        "Points given to the user group.",
        "points",
    ),
)

BALANCE_COLUMNS: tuple[Column, ...] = (
    integer("program_id", "programId", "ID of the loyalty programme."),
    integer("loyalty_id", "loyaltyId", "ID of the customer's enrolment.", privacy=Privacy.IDENTIFIER),
    *_TIER,
    *_POINTS,
    *_PROGRAM,
    *_GROUP,
)
