"""Points that have expired.

expired_points: one row per programme and day. Key: customer_id, ordinal.
expired_points_details: per award that was in it. Key: customer_id, expired_ordinal, ordinal.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, date, decimal, integer, local_time, ordinal, ordinal_of, text

EXPIRED_POINTS = Table(
    name="expired_points",
    meaning="One row per programme and day on which points expired.",
    rows=("expiredPoints[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("program_id", "programId", "ID of the loyalty programme."),
        date("expired_on", "expiredOn", "The day on which they expired."),
        decimal("points", "points", "Points that expired.", "points"),
        integer("award_count", "#expiredPointsSummary", "Awards that they came from.", "awards"),
    ),
)

EXPIRED_POINTS_DETAILS = Table(
    name="expired_points_details",
    meaning="One row per award of which points expired.",
    rows=("expiredPoints[].expiredPointsSummary[]",),
    key=("customer_id", "expired_ordinal", "ordinal"),
    columns=(
        ordinal_of("expired_ordinal", "^@ordinal", "Position in expired_points (its ordinal)."),
        integer("program_id", "^.programId", "ID of the loyalty programme."),
        date("expired_on", "^.expiredOn", "The day on which they expired."),
        ordinal(),
        text(
            "pa_type", "paType", "What the points were awarded for: POINT_AWARDED or POINT_AWARDED_LINEITEM."
        ),
        integer("pa_id", "paId", "ID of the award."),
        decimal("points", "points", "Points of this award that expired.", "points"),
        text("strategy_name", "strategyName", "The expiry strategy that ended them."),
        text("expiry_update_reason_type", "expiryUpdateReasonType", "Why the expiry was changed."),
        text(
            "expiry_update_reason_note", "expiryUpdateReasonNote", "A note on that; NA where there is none."
        ),
        local_time("new_expiry_date", "newExpiryDate", "When they expired, after that change."),
        local_time("event_date", "eventDate", "When the expiry was booked."),
    ),
)

BLOCK = Block(tables=(EXPIRED_POINTS, EXPIRED_POINTS_DETAILS), embed=("expiredPoints",))
