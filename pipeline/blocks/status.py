"""One row per customer that has a status label or a fraud mark. Key: customer_id."""

from __future__ import annotations

from pipeline.blocks.base import Block, Privacy, Table, instant, person, text

CUSTOMER_STATUS = Table(
    name="customer_status",
    meaning="One row per customer with a status label or a fraud mark.",
    rows=("",),
    when=("statusLabel", "statusLabelReason", "fraudDetails"),
    key=("customer_id",),
    columns=(
        text("status_label", "statusLabel", "The brand's label for the customer's status."),
        text("status_label_reason", "statusLabelReason", "Why it was given.", Privacy.FREE_TEXT),
        text("fraud_status", "fraudDetails.status", "Fraud mark, such as NOT_FRAUD.", Privacy.QUASI),
        instant("fraud_modified_on", "fraudDetails.modifiedOn", "When the fraud mark was last changed."),
        *person("fraud_marked_by", "fraudDetails.markedBy", "gave the fraud mark"),
    ),
)

BLOCK = Block(tables=(CUSTOMER_STATUS,))
