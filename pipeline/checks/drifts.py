"""The same customers, before and tonight: by how much their numbers moved, and in how many of their rows.

This is what sees a currency times 100 or a zone applied twice at once: whom a night asks does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checks.levels import (
    Floats,
    Levels,
    columns_with_answers,
    days_after,
    how_many,
    is_amount,
    is_moment,
    is_short_list,
    is_word,
    key_of_table,
    levels_of,
    share,
    sizes,
)
from pipeline.checks.sample import Ints, ids_of
from pipeline.checks.whole import repeated_keys

_QUARTER_HOUR_US = 15 * 60 * 10**6
_MOST_ZONE_QUARTERS = 14 * 4
"""No zone is further than 14 hours from UTC."""
SWING = "swing"
"""No check, but what chance does to `amounts` and `dates`: see `judge`."""
_UNITS = tuple(sign * power for power in (2.0, 3.0) for sign in (1, -1))
"""Powers of ten by which a unit that is mistaken moves an amount: cents, thousandths."""
_ZERO_WHERE_MISSING = frozenset({"values"})
_OF_A_NIGHT = frozenset({"latest"})
"""What is no customer's, but the night's."""


def drifts_of(
    table: str, before: pa.Table, after: pa.Table, customers: int, night: date, levels: Levels | None = None
) -> Levels:
    """A table's moves, of the same `customers` before and after. `levels` are those of `after`, where known."""
    old = levels_of(table, before, customers, night)
    new = levels_of(table, after, customers, night) if levels is None else levels
    checks = {*old, *new} - _OF_A_NIGHT
    found = {check: _moved(old.get(check, {}), new.get(check, {}), check) for check in checks}
    for check, about, value, behind in _row_by_row(before, after, night):
        found.setdefault(check, {})[f"{table}.{about}"] = (value, behind)
    return found


def _moved(
    old: dict[str, tuple[float, int]], new: dict[str, tuple[float, int]], check: str
) -> dict[str, tuple[float, int]]:
    nothing = (0.0, 0) if check in _ZERO_WHERE_MISSING else None
    found = {}
    for subject in {*old, *new}:
        was, now = old.get(subject, nothing), new.get(subject, nothing)
        if was is not None and now is not None:
            found[subject] = (now[0] - was[0], max(was[1], now[1]))
    return found


def _row_by_row(before: pa.Table, after: pa.Table, night: date) -> Iterator[tuple[str, str, float, int]]:
    """(check, column, value, customers behind it)."""
    names = [name for name in columns_with_answers(after) if name in before.column_names]
    for name in names:
        yield from _new_values(before, after, name)
    key = key_of_table(after)
    if not key or not before.num_rows or not after.num_rows:
        return
    was, now = _paired(before, after, key)
    ids = ids_of(now)
    for name in names:
        if len(ids) and name not in key and was[name].type == now[name].type:
            both = was[name].combine_chunks(), now[name].combine_chunks()
            for check, value, behind in _column_moves(*both, ids, night):
                yield check, name, value, behind


def _paired(before: pa.Table, after: pa.Table, key: list[str]) -> tuple[pa.Table, pa.Table]:
    """The rows that both have, side by side."""
    if _has_same_keys(before, after, key):
        return before, after
    left = before.select(key).append_column("was", pa.array(np.arange(before.num_rows)))
    right = after.select(key).append_column("now", pa.array(np.arange(after.num_rows)))
    both = left.join(right, key, join_type="inner", use_threads=False).sort_by("now")
    return _taken(before, both["was"]), _taken(after, both["now"])


def _has_same_keys(before: pa.Table, after: pa.Table, key: list[str]) -> bool:
    """Whether row for row has the same key, each once; a key with a null in it is nobody's."""
    keys = after.select(key)
    has_nulls = any(column.null_count for column in keys.columns)
    return not has_nulls and bool(before.select(key).equals(keys)) and not repeated_keys(after)


def _taken(rows: pa.Table, at: pa.ChunkedArray[Any]) -> pa.Table:
    """The rows at these places; where that are all in order, the same table."""
    is_all = len(at) == rows.num_rows and np.array_equal(at.to_numpy(), np.arange(rows.num_rows))
    return rows if is_all else rows.take(at)


def _new_values(before: pa.Table, after: pa.Table, name: str) -> Iterator[tuple[str, str, float, int]]:
    """Which share of the rows has a value that nobody had before, where there is a list of words."""
    if not is_word(after.schema.field(name)):
        return
    old, new = before[name].drop_null(), after[name].drop_null().combine_chunks()
    known = old.unique()
    if len(new) and len(old) and is_short_list(len(known), len(old)):
        is_new = pc.invert(pc.is_in(new, value_set=known))
        yield "new_values", name, share(is_new), how_many(ids_of(after), after[name].is_valid())


def _column_moves(was: Any, now: Any, ids: Ints, night: date) -> Iterator[tuple[str, float, int]]:
    """(check, value, customers behind it) of a column's rows, side by side."""
    differs: Any = pc.fill_null(pc.not_equal(was, now), False)
    came_or_went = pc.not_equal(was.is_null(), now.is_null())
    yield "changed", share(pc.or_(differs, came_or_went)), how_many(ids)
    if was.null_count or now.null_count:
        both = pc.and_(was.is_valid(), now.is_valid())
        was, now, ids = was.filter(both), now.filter(both), ids[np.asarray(both)]
    if not len(was):
        return
    if pa.types.is_decimal(was.type) or is_moment(was.type):
        yield "backwards", share(pc.less(now, was)), how_many(ids)
    if is_amount(was.type):
        old, new = (one.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for one in (was, now))
        yield SWING, _swing(old, new), how_many(ids)
        yield from _amount_moves(was, now, old, new, ids)
    elif pa.types.is_temporal(was.type):
        yield SWING, _swing(days_after(was, night), days_after(now, night)), how_many(ids)
    if is_moment(was.type):
        yield "zones", _same_move(was, now), how_many(ids)


def _swing(old: Floats, new: Floats) -> float:
    """How differently the rows' sizes moved: the standard deviation of their moves."""
    return float(np.std(sizes(new) - sizes(old)))


def _amount_moves(
    was: Any, now: Any, old: Floats, new: Floats, ids: Ints
) -> Iterator[tuple[str, float, int]]:
    """By what factor the usual amount and the sum of all grew, as logarithms; how many rows another unit moved.

    Sums are exact. `old` and `new` are the same amounts as `was` and `now`.
    """
    told = (old != 0) & (np.sign(old) == np.sign(new))
    if not told.any():
        return
    behind = how_many(ids, told)  # a column of noughts with a few numbers in it is moved by one of them
    moves = np.log10(new[told] / old[told])
    yield "shift", float(np.median(moves)), behind
    yield "units", float(np.isin(np.round(moves, 9), _UNITS).mean()), behind
    totals = [float(pc.sum(pc.abs(one)).as_py()) for one in (was, now)]
    yield "sums", float(np.log10(totals[1] / totals[0])), behind


def _same_move(was: pa.Array[Any], now: pa.Array[Any]) -> float:
    """Which share of the moments moved by one and the same number of quarter hours, as a zone would move them."""
    micros = [
        one.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False) for one in (was, now)
    ]
    quarters, rest = np.divmod(micros[1] - micros[0], _QUARTER_HOUR_US)
    is_zone = (rest == 0) & (quarters != 0) & (np.abs(quarters) <= _MOST_ZONE_QUARTERS)
    if not is_zone.any():
        return 0.0
    return float(np.unique(quarters[is_zone], return_counts=True)[1].max() / len(quarters))
