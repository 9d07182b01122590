"""The table of contents: every block of the answer, in the order people read the tables."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.blocks import (
    alternate_currencies,
    associated_images,
    associations,
    cards,
    channels,
    customers,
    expired_points,
    fields,
    identifiers,
    images,
    loyalty,
    points,
    points_expiry,
    profiles,
    programs,
    promotional_points,
    returned_points,
    segments,
    status,
    subscriptions,
    tier_gaps,
    user_groups,
    warnings,
)
from pipeline.blocks.accounts import ACCOUNTS
from pipeline.blocks.base import Block, Table

BLOCKS: tuple[Block, ...] = (
    customers.BLOCK,  # first: its row keeps what is odd at the top of an answer
    profiles.BLOCK,
    identifiers.BLOCK,
    channels.BLOCK,
    fields.BLOCK,
    loyalty.BLOCK,
    segments.BLOCK,
    points.BLOCK,
    programs.BLOCK,
    tier_gaps.BLOCK,
    alternate_currencies.BLOCK,
    promotional_points.BLOCK,
    points_expiry.BLOCK,
    expired_points.BLOCK,
    returned_points.BLOCK,
    subscriptions.BLOCK,
    cards.BLOCK,
    images.BLOCK,
    associated_images.BLOCK,
    user_groups.BLOCK,
    status.BLOCK,
    associations.BLOCK,
    warnings.BLOCK,
)

TABLES: tuple[Table, ...] = tuple(table for block in BLOCKS for table in block.tables)
"""The data tables: their rows come from answers. The accounts' tables (`ACCOUNTS`) stand apart."""


def table(name: str) -> Table:
    """The table of that name, data or accounts. Raises KeyError when there is none."""
    for each in (*TABLES, *ACCOUNTS):
        if each.name == name:
            return each
    raise KeyError(name)


def embeds_for(names: Iterable[str]) -> list[str]:
    """The `embed` values that bring these tables, in the order of BLOCKS, each once."""
    wanted = set(names)
    embeds = [
        embed for block in BLOCKS if wanted & {each.name for each in block.tables} for embed in block.embed
    ]
    return list(dict.fromkeys(embeds))


__all__ = ["ACCOUNTS", "BLOCKS", "TABLES", "embeds_for", "table"]
