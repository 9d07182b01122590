"""What a table's rows look like, in numbers: how many, how full, which values, how large, how late.

Every number is such that two of them can be subtracted: shares as they are, sizes and amounts as logarithms (base 10).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checks.sample import ids_of

OWN_COLUMNS = frozenset({"customer_id", "_fetched_at", "_night"})
"""Columns of the export itself; nothing in them came from an answer."""
MOST_VALUES = 64
"""A text column of more distinct values than these, or of hardly fewer than it has rows, is no list of words."""
TOLD_SHARE = 0.01
"""A value that fewer rows have is not followed by itself."""
_SOON_DAYS = 2
_LATELY_DAYS = 2
_ENOUGH_NEW = 30
"""Customers with a moment of the last days, without which a column tells nothing of how late it is."""
_WRONG_CLOCKS = 10
"""So many of the newest moments may come from clocks that are wrong."""
_DAY_US = 86_400 * 10**6

Floats = npt.NDArray[np.float64]
Levels = dict[str, dict[str, tuple[float, int]]]


def key_of_table(rows: pa.Table) -> list[str]:
    """The columns that name a row, as its schema tells; none where it has no key."""
    found: list[str] = json.loads((rows.schema.metadata or {}).get(b"key", b"[]"))
    return found if all(name in rows.column_names for name in found) else []


def columns_with_answers(rows: pa.Table) -> list[str]:
    """The columns that hold what the API said."""
    own = OWN_COLUMNS | {name for name in key_of_table(rows) if name.endswith("ordinal")}
    return [name for name in rows.column_names if name not in own]


def is_word(field: pa.Field[Any]) -> bool:
    """Whether a column's values may be told: text, and nothing about a person."""
    privacy = (field.metadata or {}).get(b"privacy", b"none")
    return pa.types.is_string(field.type) and privacy == b"none"


def is_amount(kind: pa.DataType) -> bool:
    """Whether a column can be added up."""
    return pa.types.is_decimal(kind) or pa.types.is_integer(kind)


def is_moment(kind: pa.DataType) -> bool:
    """Whether a column is a point in time, to the second."""
    return pa.types.is_timestamp(kind)


def levels_of(table: str, rows: pa.Table, customers: int, night: date) -> Levels:
    """A table's numbers. `customers` answered, whether they have rows here or not."""
    found: Levels = {"rows": {table: (float(np.log10((rows.num_rows + 1) / customers)), rows.num_rows)}}
    if not rows.num_rows:
        return found
    ids = ids_of(rows)
    all_of_them = how_many(ids)
    for name in columns_with_answers(rows):
        if (newest := _latest(rows, name, night)) is not None:
            found.setdefault("latest", {})[f"{table}.{name}"] = newest
        filled = how_many(ids, rows[name].is_valid()) if rows[name].null_count else all_of_them
        for check, about, value in _column_levels(rows, name, night):
            behind = all_of_them if check == "nulls" else filled
            found.setdefault(check, {})[f"{table}.{name}{about}"] = (value, behind)
    return found


def how_many(ids: npt.NDArray[np.int64], of: Any = None) -> int:
    """How many customers rows belong to; only the rows `of` which this holds, where given. IDs are sorted."""
    some = ids if of is None else ids[np.asarray(of)]
    return int(np.count_nonzero(np.diff(some))) + 1 if len(some) else 0


def _column_levels(rows: pa.Table, name: str, night: date) -> Iterator[tuple[str, str, float]]:
    """(check, what follows the column's name, value)."""
    column, field = rows[name].combine_chunks(), rows.schema.field(name)
    yield "nulls", "", column.null_count / len(column)
    filled = column.drop_null()
    if not len(filled):
        return
    if pa.types.is_string(field.type):
        yield from _text_levels(filled, is_word(field))
    elif pa.types.is_boolean(field.type):
        yield "values", "=true", share(filled)
    elif is_amount(field.type):
        yield from _amount_levels(filled.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        yield from _date_levels(days_after(filled, night))


def _text_levels(filled: pa.Array[Any], is_public: bool) -> Iterator[tuple[str, str, float]]:
    counts: Any = pc.value_counts(filled)
    is_blank = equals(pc.utf8_trim_whitespace(counts.field("values")), "")
    yield "blanks", "", int(pc.sum(counts.field("counts").filter(is_blank)).as_py() or 0) / len(filled)
    yield "distinct", "", float(np.log10(len(counts) / len(filled)))
    if is_public and is_short_list(len(counts), len(filled)):
        for one in counts.to_pylist():
            having = one["counts"] / len(filled)
            if having >= TOLD_SHARE:
                yield "values", f"={one['values']}", having


def share(flags: Any) -> float:
    """How much of a boolean column, without nulls, is true."""
    return float(np.mean(flags.to_numpy(zero_copy_only=False)))


def equals(column: Any, value: str) -> Any:
    """Which values of a text column are this one."""
    return pc.equal(column, pa.scalar(value))


def is_short_list(distinct: int, rows: int) -> bool:
    """Whether so few distinct values in so many rows are a list of words."""
    return distinct <= min(MOST_VALUES, max(1, rows // 10))


def _amount_levels(numbers: Floats) -> Iterator[tuple[str, str, float]]:
    yield "amounts", "", mean_size(numbers)
    yield "signs", "=0", float(np.mean(numbers == 0))
    yield "signs", "<0", float(np.mean(numbers < 0))


def mean_size(numbers: Floats) -> float:
    """The mean of the numbers' sizes: a few giants do not count more."""
    return float(np.mean(sizes(numbers)))


def sizes(numbers: Floats) -> Floats:
    """log10 of 1 + amount, with the number's sign."""
    found: Floats = np.sign(numbers) * np.log10(1 + np.abs(numbers))
    return found


def _date_levels(days: Floats) -> Iterator[tuple[str, str, float]]:
    yield "dates", "", mean_size(days)
    yield "future", "", float(np.mean(days > _SOON_DAYS))


def _latest(rows: pa.Table, name: str, night: date) -> tuple[float, int] | None:
    """How many days after the night's date the newest moments are, of a column that new ones come into every day;
    and the customers that have one. A few clocks that are wrong do not count.
    """
    if not is_moment(rows.schema.field(name).type):
        return None
    is_told = rows[name].is_valid()
    days, ids = days_after(rows[name].drop_null().combine_chunks(), night), ids_of(rows)[np.asarray(is_told)]
    recent = (days > -_LATELY_DAYS) & (days < _LATELY_DAYS)
    if how_many(ids, recent) < _ENOUGH_NEW or np.count_nonzero(days >= _LATELY_DAYS) > _WRONG_CLOCKS:
        return None
    return float(np.sort(days[recent])[-_WRONG_CLOCKS]), how_many(ids, recent)


def days_after(dates: pa.Array[Any], night: date) -> Floats:
    """How many days after the night's date each is; below 0 before it."""
    if pa.types.is_date(dates.type):
        days: Floats = dates.cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.float64)
    else:
        days = dates.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False) / _DAY_US
    return days - (night - date(1970, 1, 1)).days
