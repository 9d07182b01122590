"""One row per customer and segment. Key: customer_id, segment, ordinal.

A segment has one partition; should a list of them come, each gets its row.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Column, Kind, Privacy, Table, ordinal

SEGMENTS = Table(
    name="segments",
    meaning="One row per customer and segment.",
    rows=("segments{}[]",),
    key=("customer_id", "segment", "ordinal"),
    columns=(
        Column("segment", Kind.TEXT, "@key", "The segment's name, as the brand wrote it."),
        ordinal("0-based position where a segment has a list of partitions, else 0."),
        Column(
            "partition",
            Kind.TEXT,
            "@value",
            "The part of the segment that the customer is in.",
            privacy=Privacy.QUASI,
        ),
        Column("partition_type", Kind.TEXT, "@type", "The partition's JSON type, usually string."),
    ),
)

BLOCK = Block(tables=(SEGMENTS,), embed=("segments",))
