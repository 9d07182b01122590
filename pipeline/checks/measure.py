"""What a night measures: a bounded sample of its customers, looked at table by table, before and tonight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checks.drifts import drifts_of
from pipeline.checks.levels import equals, levels_of, share
from pipeline.checks.sample import Ints, Sample, choose, first_rows, ids_of, of_night, only, sampled_rows
from pipeline.checks.whole import ages, orphans, repeated_keys, usual_age
from pipeline.processes import usable_cores
from pipeline.store.history import Found, Measurements
from pipeline.store.parquet import read_batches

Rows = tuple[str, pa.Table | None, pa.Table]
"""A table's rows: its name, before (None where there were none, or they are not wanted), tonight."""
FilesOf = Callable[[str], Iterable[Path]]
"""A table's files in a snapshot, in order; none where it has no such table."""

CUSTOMERS, OUTCOMES = "customers", "outcomes"
_ACCOUNTS = frozenset({OUTCOMES, "rejects", "rejected_ids", "unknown_fields"})
_GONE = ("absent", "deleted", "merged")
RELEASED_BYTES = 16 << 20
"""After a table of so many bytes its memory goes back to the system; of smaller ones the next table takes it over."""
MOST_READERS = 2
"""So many tables are read ahead, on as many cores."""
RELEASED_ROWS = 1_000_000
"""And before a table of so many rows is read: what stays of the one before would add up. It costs the kernel's clearing
of the same pages again, so not before each.
"""


@dataclass(frozen=True)
class Tonight:
    """What there is to measure: tonight's tables, those of the last snapshot, and whom the night asked.

    `asked` (with a verdict tonight) and `listed` are sorted IDs. `rows` are each table's rows in the new snapshot.
    """

    night: date
    snapshot: str
    asked: Ints
    listed: Ints
    outcomes: Mapping[str, int]
    rows: Mapping[str, int]
    files: FilesOf
    files_before: FilesOf

    @property
    def tables(self) -> list[str]:
        """The tables that hold answers, `customers` first."""
        return [CUSTOMERS, *(name for name in self.rows if name not in _ACCOUNTS | {CUSTOMERS})]


@dataclass
class Measured:
    """All numbers of a night; by table the rows whose key another row has, and the rows without a customer; and the
    customers by the night that fetched their rows.
    """

    numbers: Measurements
    repeated: dict[str, int] = field(default_factory=dict)
    orphans: dict[str, int] = field(default_factory=dict)
    by_night: dict[date, int] = field(default_factory=dict)
    are_few: bool = False  # too few customers to say what is usual: their numbers are left out


def measure(tonight: Tonight, min_customers: int = 0) -> Measured:
    """Look at tonight's tables; of fewer customers not at their values. Raises StorageError."""
    pa.default_memory_pool().release_unused()  # what the merge has let go: glibc keeps it otherwise
    sample = choose(tonight.asked, tonight.listed)
    customers = sampled_rows(tonight.files(CUSTOMERS), sample)
    assert customers is not None
    known = sampled_rows(tonight.files_before(CUSTOMERS), sample)
    numbers, matched = _begin(tonight, of_night(customers, tonight.night), known)
    measured = Measured(numbers, are_few=max(numbers.customers, len(tonight.asked)) < min_customers)
    first = (CUSTOMERS, known, customers)
    for table, before, rows in _read_ahead(tonight, sample, first, with_before=not measured.are_few):
        measured.repeated[table] = repeated_keys(rows)
        measured.orphans[table] = orphans(rows, ids_of(customers))
        if not measured.are_few:
            _add_table(numbers, table, (before, rows), matched)
        is_large = rows.nbytes >= RELEASED_BYTES
        del before, rows
        if is_large:
            pa.default_memory_pool().release_unused()
    _add_accounts(numbers, tonight, sample, known)
    by_day, out_of_order = ages(tonight.files(CUSTOMERS), tonight.night)
    measured.repeated[CUSTOMERS] += out_of_order
    _put(numbers.levels, {"age": {CUSTOMERS: (usual_age(by_day), tonight.rows[CUSTOMERS])}})
    measured.by_night = {
        tonight.night - timedelta(days=days): int(by_day[days]) for days in np.flatnonzero(by_day).tolist()
    }
    return measured


def _read_ahead(tonight: Tonight, sample: Sample, first: Rows, *, with_before: bool) -> Iterator[Rows]:
    """Each table's rows, those of `first`, which are there, first; the next are read while one is looked at."""

    def read(table: str) -> tuple[str, pa.Table | None, pa.Table | None]:
        if tonight.rows.get(table, 0) >= RELEASED_ROWS:
            pa.default_memory_pool().release_unused()
        rows = sampled_rows(tonight.files(table), sample)
        is_wanted = with_before and rows is not None
        before = sampled_rows(tonight.files_before(table), sample) if is_wanted else None
        return table, before, rows

    names = (name for name in tonight.tables if name != first[0])
    count = min(MOST_READERS, usable_cores())
    with ThreadPoolExecutor(count, "sample") as readers:
        under_way = deque(readers.submit(read, name) for name in islice(names, count))
        yield first
        while under_way:
            table, before, rows = under_way.popleft().result()
            under_way.extend(readers.submit(read, name) for name in islice(names, 1))
            if rows is not None:
                yield table, before, rows
                del before, rows


def _begin(tonight: Tonight, new: pa.Table, old: pa.Table | None) -> tuple[Measurements, Ints]:
    """The night's numbers, still empty, and the customers that answered both times."""
    numbers = Measurements(night=tonight.night, snapshot=tonight.snapshot, customers=new.num_rows)
    if old is None:
        return numbers, np.empty(0, np.int64)
    matched = np.intersect1d(ids_of(new), ids_of(old))
    numbers.matched = len(matched)
    if len(matched):
        numbers.gap_days = _gap_days(only(old, matched), only(new, matched))
    return numbers, matched


def _gap_days(before: pa.Table, after: pa.Table) -> float:
    """How many nights ago the matched customers had answered, on average."""
    means = [float(np.mean(rows["_night"].cast(pa.int32()).to_numpy())) for rows in (before, after)]
    return round(means[1] - means[0], 3)


def _add_table(
    found: Measurements, table: str, rows: tuple[pa.Table | None, pa.Table], matched: Ints
) -> None:
    """One table's levels, and its drifts where customers can be matched."""
    before, after = rows
    fresh, levels = first_rows(of_night(after, found.night)), None
    if found.customers:
        levels = levels_of(table, fresh, found.customers, found.night)
        _put(found.levels, levels)
    if before is not None and len(matched):
        old, new = (first_rows(only(one, matched)) for one in (before, after))
        known = levels if new is fresh and len(matched) == found.customers else None
        _put(found.drifts, drifts_of(table, old, new, len(matched), found.night, known))


def _put(into: Found, more: Found) -> None:
    for check, subjects in more.items():
        rounded = {name: (float(f"{value:.6g}"), behind) for name, (value, behind) in subjects.items()}
        into.setdefault(check, {}).update(rounded)


# The accounts


def _add_accounts(found: Measurements, tonight: Tonight, sample: Sample, known: pa.Table | None) -> None:
    """What became of the IDs, what did not fit, how old the rows are."""
    asked = sum(count for word, count in tonight.outcomes.items() if word != "deferred")
    if not asked:
        return
    answers, rows = max(1, tonight.outcomes["exported"] + tonight.outcomes["partial"]), tonight.rows
    shares = {word: (count / asked, asked) for word, count in tonight.outcomes.items() if word != "deferred"}
    failed, listed = shares.pop("failed", (0.0, asked)), max(1, len(tonight.listed))
    _put(found.levels, {
        "outcomes": shares,
        "failed": {"asked": failed},
        "asked": {"list": (asked / listed, listed)},
        "rejects": {"answers": (rows.get("rejects", 0) / answers, answers)},
        "unknown": {"answers": (_unknown_keys(tonight.files("unknown_fields")) / answers, answers)},
        "coverage": {CUSTOMERS: (rows[CUSTOMERS] / max(1, rows[OUTCOMES]), rows[OUTCOMES])},
    })  # fmt: skip
    verdicts = sampled_rows(tonight.files(OUTCOMES), sample)
    if verdicts is not None:
        fresh = of_night(verdicts, tonight.night)
        _put(found.levels, {"bytes": _usual_size(fresh)})
        if known is not None:
            _put(found.drifts, {"gone": _gone(fresh, ids_of(known))})
    frozen = found.drifts.get("changed", {}).get(f"{CUSTOMERS}.body_hash")
    if frozen is not None:
        _put(found.drifts, {"frozen": {CUSTOMERS: frozen}})


def _unknown_keys(paths: Iterable[Path]) -> int:
    return sum(
        pc.sum(batch.column("occurrences")).as_py() or 0
        for path in paths
        for batch in read_batches(path, ["occurrences"])
    )


def _usual_size(verdicts: pa.Table) -> dict[str, tuple[float, int]]:
    """The median body, in bytes, as a logarithm."""
    sizes = verdicts.filter(equals(verdicts["outcome"], "exported"))["body_bytes"].drop_null().to_numpy()
    return {"answers": (float(np.log10(max(1.0, np.median(sizes)))), len(sizes))} if len(sizes) else {}


def _gone(verdicts: pa.Table, known: Ints) -> dict[str, tuple[float, int]]:
    """Of the customers that had answered and were asked again, the share that the API does not know so any more."""
    again = only(verdicts.filter(pc.invert(equals(verdicts["outcome"], "deferred"))), np.unique(known))
    if not again.num_rows:
        return {}
    count = again.num_rows
    return {word: (share(equals(again["outcome"], word).combine_chunks()), count) for word in _GONE}
