"""What keeps a customer from the next tier, and what it takes to keep this one.

tier_upgrade_gaps: one row per programme and upgrade strategy. Key: customer_id, block, program_ordinal,
ordinal. tier_renewal_gaps: per renewal summary and strategy in it; a summary without strategies has one row.
Key: customer_id, block, program_ordinal, summary_ordinal, ordinal. tier_trackers: per strategy and tracker.
Key: customer_id, block, program_ordinal, summary_ordinal, strategy, strategy_ordinal, list, ordinal.

The contract does not say where the strategies stand. They are read inside each programme, inside
pointsSummary, inside a group programme, and at the top of the answer.
"""

from __future__ import annotations

from pipeline.blocks.base import (
    Block,
    Column,
    Kind,
    Table,
    boolean,
    date,
    decimal,
    integer,
    json_text,
    ordinal,
    ordinal_of,
    text,
)

_PROGRAMS = ("loyaltyProgramDetails[].", "pointsSummary.", "groupLoyaltyProgramDetails[].", "")
_UPGRADES = (*(f"{program}upgradeStrategies[]" for program in _PROGRAMS), "gapToUpgrade[]", "gapDetails[]")
_SUMMARIES = (*(f"{program}gapToRenewSummary[]" for program in _PROGRAMS), "gapToRenew[]")
_SUMMARY = "^gapToRenewSummary|gapToRenew"

_PROGRAM = (
    Column("block", Kind.TEXT, "@block", "Where it stood: loyaltyProgramDetails, pointsSummary, …"),
    ordinal_of(
        "program_ordinal",
        "^loyaltyProgramDetails|groupLoyaltyProgramDetails@ordinal",
        "Position of the programme (loyalty_programs.ordinal); null where it stood in no list of programmes.",
    ),
    integer("program_id", "^loyaltyProgramDetails|pointsSummary.programId", "ID of the loyalty programme."),
    integer(
        "group_program_id",
        "^groupLoyaltyProgramDetails.groupProgramId",
        "ID of the group programme, if in one.",
    ),
)

TIER_UPGRADE_GAPS = Table(
    name="tier_upgrade_gaps",
    meaning="One row per programme and strategy that could bring the customer to the next tier.",
    rows=_UPGRADES,
    key=("customer_id", "block", "program_ordinal", "ordinal"),
    columns=(
        *_PROGRAM,
        ordinal("0-based position of the strategy."),
        text(
            "upgrade_based_on",
            "upgradeBasedOn|upgrade_based_on",
            "What the next tier asks for: CUMULATIVE_PURCHASES, CURRENT_POINTS, LIFETIME_POINTS, …",
        ),
        decimal(
            "upgrade_threshold",
            "upgradeThreshold|upgrade_threshold",
            "How much of it.",
            "as upgrade_based_on",
        ),
        decimal(
            "current_value",
            "customerUpgradeEntityValues.currentValue|current_value",
            "How much the customer has.",
            "as upgrade_based_on",
        ),
        decimal(
            "gap_to_upgrade",
            "customerUpgradeEntityValues.gapToUpgrade|gap_to_upgrade",
            "How much is missing.",
            "as upgrade_based_on",
        ),
        date(
            "value_valid_upto",
            "customerUpgradeEntityValues.valueValidUpto|value_valid_upto",
            "The last day on which the current value counts.",
        ),
        text(
            "custom_expression",
            "customExpression|custom_expression",
            "How several trackers combine, as a formula.",
        ),
        json_text(
            "expression_relation", "expressionRelation|expression_relation", "The same as lists of trackers."
        ),
    ),
)

TIER_RENEWAL_GAPS = Table(
    name="tier_renewal_gaps",
    meaning="One row per programme and strategy that could keep the customer's tier, or one without any.",
    rows=tuple(f"{summary}.renewStrategies[]?" for summary in _SUMMARIES),
    key=("customer_id", "block", "program_ordinal", "summary_ordinal", "ordinal"),
    columns=(
        *_PROGRAM,
        ordinal_of(
            "summary_ordinal", f"{_SUMMARY}@ordinal", "Position of the summary, 0 where it stands alone."
        ),
        date("tier_expiry_date", f"{_SUMMARY}.tierExpiryDate", "The day on which the tier expires."),
        boolean("renew_confirmed", f"{_SUMMARY}.renewConfirmed", "Whether the tier is already renewed."),
        ordinal("0-based position of the strategy; 0 where the summary has none."),
        text(
            "renew_based_on",
            "renewBasedOn|renew_based_on",
            "What is asked for: VISITS, PURCHASE, POINTS, TRACKER.",
        ),
        decimal("renew_threshold", "renewThreshold|renew_threshold", "How much of it.", "as renew_based_on"),
        decimal(
            "customer_renew_entity_value",
            "customerRenewEntityValue",
            "How much the customer has.",
            "as renew_based_on",
        ),
        decimal(
            "customer_gap_to_renew_value",
            "customerGapToRenewValue",
            "How much is missing.",
            "as renew_based_on",
        ),
        text(
            "custom_expression",
            "customExpression|custom_expression",
            "How several trackers combine, as a formula.",
        ),
        json_text(
            "expression_relation", "expressionRelation|expression_relation", "The same as lists of trackers."
        ),
    ),
)

_LISTS = ("trackerEntityIdentifiers[]", "upgradeEntityIdentifiers[]")

TIER_TRACKERS = Table(
    name="tier_trackers",
    meaning="One row per strategy and tracker that it counts with.",
    rows=(
        *(f"{strategy}.{list_}" for strategy in _UPGRADES for list_ in _LISTS),
        *(f"{summary}.renewStrategies[].trackerEntityIdentifiers[]" for summary in _SUMMARIES),
    ),
    key=(
        "customer_id",
        "block",
        "program_ordinal",
        "summary_ordinal",
        "strategy",
        "strategy_ordinal",
        "list",
        "ordinal",
    ),
    columns=(
        *_PROGRAM,
        ordinal_of(
            "summary_ordinal", f"{_SUMMARY}@ordinal", "Position of the renewal summary; null for an upgrade."
        ),
        Column("strategy", Kind.TEXT, "^@place", "What it is for: upgradeStrategies, renewStrategies, …"),
        ordinal_of(
            "strategy_ordinal", "^@ordinal", "Position of the strategy (tier_upgrade_gaps.ordinal, …)."
        ),
        Column(
            "list",
            Kind.TEXT,
            "@place",
            "The list it stands in: trackerEntityIdentifiers or upgradeEntityIdentifiers.",
        ),
        ordinal("0-based position in that list."),
        text("tracker_name", "trackerName|tracker_name", "The tracker's name."),
        text(
            "tracker_type",
            "trackerType|tracker_type",
            "What it counts: BILL_AMOUNT, CUSTOMER_VISITS, POINTS, …",
        ),
        text("tracker_mode", "trackerMode|tracker_mode", "Over which time: MOVING_WINDOW, CYCLIC_WINDOW, …"),
        text("tracker_case_name", "trackerCaseName|tracker_case_name", "Name of the tracker's condition."),
        text("tracker_case_period_type", "trackerCasePeriodType|tracker_case_period_type", "DAYS or MONTHS."),
        integer(
            "tracker_case_period_value",
            "trackerCasePeriodValue|tracker_case_period_value",
            "Length of the time.",
            "as tracker_case_period_type",
        ),
    ),
)

BLOCK = Block(tables=(TIER_UPGRADE_GAPS, TIER_RENEWAL_GAPS, TIER_TRACKERS), embed=("mlp",))
