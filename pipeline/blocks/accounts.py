"""Tables of the export's own accounts: what became of every ID, and what did not fit.

Their rows come from the journal and the run, not from an answer, so they have exactly the columns declared
here (`schema.accounts_schema`).
"""

from __future__ import annotations

from pipeline.blocks.base import Column, Kind, Privacy, Table
from pipeline.blocks.schema import CUSTOMER_ID, EXTRA, FETCHED_AT, NIGHT


def _own(name: str, kind: Kind, meaning: str, unit: str = "", privacy: Privacy = Privacy.NONE) -> Column:
    return Column(name, kind, "", meaning, unit, privacy)


_RAW = _own("raw", Kind.TEXT, "The value as it came, as JSON text.", privacy=Privacy.FREE_TEXT)
_REASON = _own("reason", Kind.TEXT, "Why it does not fit.")

OUTCOMES = Table(
    name="outcomes",
    meaning="One row per ID ever asked for: its latest verdict. Tonight's have tonight's `_night`.",
    rows=(),
    key=("customer_id",),
    columns=(
        CUSTOMER_ID,
        _own("outcome", Kind.TEXT, "exported, partial, absent, deleted, merged, failed or deferred."),
        _own(
            "reason_code",
            Kind.INT,
            "The API's code behind it, such as 8015; else the HTTP status; below 0: no whole answer.",
        ),
        _own("reason", Kind.TEXT, "Why, in words.", privacy=Privacy.FREE_TEXT),
        _own("http_status", Kind.INT, "HTTP status of the last reply; null where none came."),
        _own("attempts", Kind.INT, "How often the ID was asked for tonight.", "attempts"),
        _own("calls", Kind.INT, "Calls that it took, pages of user groups included.", "calls"),
        _own("latency_ms", Kind.INT, "How long the last reply took.", "ms"),
        _own("body_bytes", Kind.INT, "Size of the last reply's body.", "bytes"),
        _own("other_id", Kind.INT, "The customer that this one was merged into.", privacy=Privacy.IDENTIFIER),
        _own(
            "asked_as",
            Kind.TEXT,
            "The identifier asked for, where the list holds other identifiers than IDs.",
            privacy=Privacy.IDENTIFIER,
        ),
        _own("request_id", Kind.TEXT, "The API's own ID of the last call, for questions to Capillary."),
        FETCHED_AT,
        NIGHT,
        EXTRA,
    ),
)

REJECTS = Table(
    name="rejects",
    meaning="One row per value of tonight's answers that fits no column.",
    rows=(),
    key=(),
    columns=(
        CUSTOMER_ID,
        _own("table_name", Kind.TEXT, "The table that it was meant for."),
        _own(
            "column_name",
            Kind.TEXT,
            'The column that it was meant for; "" where a whole block is of another form.',
        ),
        _REASON,
        _RAW,
        FETCHED_AT,
        NIGHT,
    ),
)

REJECTED_IDS = Table(
    name="rejected_ids",
    meaning="One row per line of tonight's ID lists that holds no valid ID.",
    rows=(),
    key=("file", "line"),
    columns=(
        _own("file", Kind.TEXT, "The list's path."),
        _own("line", Kind.INT, "The line's number, from 1, the header included."),
        _own("reason", Kind.TEXT, "What is wrong with it."),
        _own("raw", Kind.TEXT, "What stands there.", privacy=Privacy.IDENTIFIER),
        NIGHT,
    ),
)

UNKNOWN_FIELDS = Table(
    name="unknown_fields",
    meaning="One row per JSON path in tonight's answers that the contract does not know, and type.",
    rows=(),
    key=("path", "json_type"),
    columns=(
        _own("path", Kind.TEXT, "The path, such as profiles[].nickName; its values are kept in `extra`."),
        _own("json_type", Kind.TEXT, "JSON type of the value."),
        _own("occurrences", Kind.INT, "How often it came.", "times"),
        _own(
            "first_customer_id", Kind.INT, "The smallest customer ID that had it.", privacy=Privacy.IDENTIFIER
        ),
        _own(
            "last_customer_id", Kind.INT, "The largest customer ID that had it.", privacy=Privacy.IDENTIFIER
        ),
        NIGHT,
    ),
)

ACCOUNTS = (OUTCOMES, REJECTS, REJECTED_IDS, UNKNOWN_FIELDS)
