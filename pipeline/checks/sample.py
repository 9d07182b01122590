"""Which customers are looked at, and their rows: a bounded number, in a few windows of neighbouring IDs.

A snapshot's files are sorted by customer and their row groups say from which to which, so that a window costs a row
group or two of each table, however large the base is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StorageError

WINDOWS = 16
WINDOW_CUSTOMERS = 800
"""Of those asked tonight, in one window."""
WINDOW_KNOWN = 16_384
"""Of all listed, in one window: a night that asked few of many is not to read all of the last snapshot."""
BATCH_ROWS = 8_192
"""So many rows are in memory at once, before the sample's are picked: a row group would be hundreds of MB. More are out
of the processor's caches before they are picked from, fewer cost a call for each column more often.
"""
ROWS_EACH = 20
"""Of one customer and table, more are not looked at: a member with a thousand promotions would outvote the others."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """The customers that are looked at, sorted; and the windows that they are in: [(first ID, last ID)], sorted."""

    customers: Ints
    windows: tuple[tuple[int, int], ...]

    def overlaps(self, first: int, last: int) -> bool:
        """Whether any window has to do with the IDs from `first` to `last`."""
        return any(start <= last and first <= end for start, end in self.windows)

    def places_in(self, ids: Ints) -> Ints:
        """Where the sample's customers stand among these IDs.

        Files are sorted, and few rows of one lie in a window: only those are looked up. What is not sorted is looked
        up whole, so that a file out of order is seen as it is.
        """
        if np.any(ids[1:] < ids[:-1]):
            return np.flatnonzero(is_among(ids, self.customers))
        near = [window for window in self.windows if window[0] <= ids[-1] and ids[0] <= window[1]]
        bounds = [(np.searchsorted(ids, first), np.searchsorted(ids, last, "right")) for first, last in near]
        found = [start + np.flatnonzero(is_among(ids[start:end], self.customers)) for start, end in bounds]
        return np.concatenate([np.empty(0, np.int64), *found])


def choose(asked: Ints, listed: Ints) -> Sample:
    """Windows spread evenly over those that were asked tonight; everybody, where they are few. Both are sorted."""
    whole = len(asked) <= WINDOWS * WINDOW_CUSTOMERS and len(listed) <= WINDOWS * WINDOW_KNOWN
    windows = [asked] if whole else list(_windows(asked, listed))
    bounds = tuple((int(ids[0]), int(ids[-1])) for ids in windows if len(ids))
    return Sample(np.unique(np.concatenate([np.empty(0, np.int64), *windows])), bounds)


def _windows(asked: Ints, listed: Ints) -> Iterable[Ints]:
    for stretch in np.array_split(asked, WINDOWS):
        if len(stretch):
            middle = max(0, (len(stretch) - WINDOW_CUSTOMERS) // 2)
            ids = stretch[middle : middle + WINDOW_CUSTOMERS]
            at = int(np.searchsorted(listed, ids[0])) + WINDOW_KNOWN
            yield ids[ids < listed[at]] if at < len(listed) else ids


def sampled_rows(paths: Iterable[Path], sample: Sample) -> pa.Table | None:
    """The rows of the sample's customers, sorted; None where there is no such table. Raises StorageError."""
    found = [_rows_in(path, sample) for path in paths]
    return pa.concat_tables(found, promote_options="default").combine_chunks() if found else None


def _rows_in(path: Path, sample: Sample) -> pa.Table:
    try:
        meta = pq.read_metadata(path)
        words = _words_in(meta)
        with pq.ParquetFile(
            path, metadata=meta, read_dictionary=words, page_checksum_verification=True, pre_buffer=False
        ) as file:
            groups = [number for number in range(file.num_row_groups) if _concerns(file, number, sample)]
            batches = file.iter_batches(BATCH_ROWS, row_groups=groups, use_threads=False)
            schema = _plain(file.schema_arrow)
            found = [rows.cast(schema) for batch in batches for rows in _picked(batch, sample)]
            return pa.concat_tables([schema.empty_table(), *found])
    except (OSError, pa.ArrowInvalid) as exc:
        raise StorageError(
            f"Cannot read {path}: {exc}", "`capillary-export rollback` points at the snapshot before."
        ) from exc


def _picked(batch: pa.RecordBatch, sample: Sample) -> Iterator[pa.Table]:
    """The sample's rows of a batch, if it has any; in memory of their own, so that the batch can go."""
    places = sample.places_in(batch.column(0).to_numpy())
    if len(places):
        yield pa.Table.from_batches([batch.take(pa.array(places, pa.int64()))])


def _words_in(meta: pq.FileMetaData) -> list[str]:
    """The text columns that are a dictionary in the file. Read as such, they are texts only for the rows picked: that
    is half the work.
    """
    if not meta.num_row_groups:
        return []
    chunks = [meta.row_group(0).column(at) for at in range(meta.num_columns)]
    return [
        one.path_in_schema for one in chunks if one.physical_type == "BYTE_ARRAY" and one.has_dictionary_page
    ]


def _plain(schema: pa.Schema) -> pa.Schema:
    """With texts where dictionaries of texts are."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(fields).with_metadata(schema.metadata)


def _concerns(file: pq.ParquetFile, number: int, sample: Sample) -> bool:
    statistics = file.metadata.row_group(number).column(0).statistics  # customer_id is the first column
    if statistics is None or not statistics.has_min_max:
        return True
    first: Any = statistics.min
    last: Any = statistics.max
    return sample.overlaps(first, last)


def ids_of(rows: pa.Table) -> Ints:
    """Whose rows these are."""
    found: Ints = rows["customer_id"].to_numpy()
    return found


def only(rows: pa.Table, customers: Ints) -> pa.Table:
    """The rows of these customers (sorted); where that are all, the same table."""
    is_wanted = is_among(ids_of(rows), customers)
    return rows if is_wanted.all() else rows.filter(pa.array(is_wanted))


def is_among(values: Ints, ordered: Ints) -> npt.NDArray[np.bool_]:
    """Which values stand in the sorted array."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[at] == values
    return found


def first_rows(rows: pa.Table) -> pa.Table:
    """At most ROWS_EACH rows of a customer."""
    ids = ids_of(rows)
    if len(ids) <= ROWS_EACH:
        return rows
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    place = np.arange(len(ids)) - np.repeat(starts, np.diff(np.r_[starts, len(ids)]))
    return rows if place.max() < ROWS_EACH else rows.filter(pa.array(place < ROWS_EACH))


def of_night(rows: pa.Table, night: Any) -> pa.Table:
    """The rows that this night fetched; where that are all, the same table."""
    is_new: Any = pc.equal(rows["_night"], pa.scalar(night, pa.date32()))
    return rows if pc.all(is_new).as_py() else rows.filter(is_new)
