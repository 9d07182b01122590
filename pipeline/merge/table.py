"""One table of the new snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa

from pipeline.merge.changes import Changes, changes_schema
from pipeline.merge.coding import Coding
from pipeline.merge.files import Deliver, keep_in_place, table_files
from pipeline.merge.groups import WAITING_BYTES
from pipeline.merge.leaving import Leaves
from pipeline.merge.records.interleaving import Scratch
from pipeline.merge.rounds import in_order, rounds
from pipeline.merge.rows import Rows
from pipeline.merge.runs import SOURCES_BYTES, SortedRows, sorted_rows
from pipeline.merge.sources import Group, fresh_rows, last_rows, rows_in, together
from pipeline.store.ledger import Ledger
from pipeline.store.parts import bytes_as_parquet
from pipeline.store.snapshots import ManifestTable

CHANGES = "changes"
"""The folder of the changes, in the snapshot's."""
_UNPACKED = 16
"""A published table's rows take so many times their bytes in memory, about."""
_ROW_BYTES = 32
"""A row takes so much at the least, while it waits and is encoded: of very repetitive ones a file tells nothing."""
_BESIDE_BYTES = 8 << 20
"""What writing takes beside the rows that wait."""


@dataclass(frozen=True)
class Changed:
    """A table's changes, as rows and in numbers."""

    table: ManifestTable
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class MergedTable:
    """One table of the new snapshot, and the sums that must hold: tonight + kept = rows."""

    table: ManifestTable
    tonight: int
    kept: int
    dropped: int = 0  # rows of the last snapshot that left
    changed: Changed | None = None

    @property
    def before(self) -> int:
        """Its rows in the last snapshot."""
        return self.kept + self.dropped


def _go_on() -> None:
    """Nobody wants the merge to stop."""


@dataclass(frozen=True)
class TableInputs:
    """Where a table's rows come from. `previous` are the last snapshot's files, in order, read once, one at a time.

    `changes_key` is the table's key where its changes are to be told, too.
    """

    schema: pa.Schema
    parts: Sequence[Path]
    previous: Iterable[Path]
    compression: str
    previous_bytes: int = 0
    previous_rows: int = 0
    changes_key: Sequence[str] = ()
    night: date = date.min  # of the changes
    check_in: Callable[[], None] = field(default=_go_on)  # called every round; what it raises ends the merge

    @property
    def scratch(self) -> Path:
        """A folder for runs, beside the parts."""
        return self.parts[0].parent / "runs" if self.parts else Path()

    @property
    def expected_bytes(self) -> int:
        """How large the table is going to be, about."""
        return max(self.previous_bytes, sum(map(bytes_as_parquet, self.parts)))


def merge_table(
    inputs: TableInputs, ledger: Ledger, leaves: Leaves, folder: Path, deliver: Deliver = keep_in_place
) -> MergedTable:
    """Write a table's files into `folder`, and its changes beside it where they are wanted.

    Each file is handed to `deliver` when it is finished. Raises StorageError.
    """
    return sort_table(inputs, ledger, leaves, folder, deliver).write()


def sort_table(
    inputs: TableInputs, ledger: Ledger, leaves: Leaves, folder: Path, deliver: Deliver = keep_in_place
) -> SortedTable:
    """The first half of a merge: tonight's rows are sorted. Raises StorageError."""
    coding = Coding(inputs.schema)
    with ExitStack() as stack:
        tonight = stack.enter_context(_tonights(inputs, ledger, coding))
        return SortedTable(inputs, leaves, folder, deliver, coding, tonight, stack.pop_all())


@dataclass(frozen=True)
class SortedTable:
    """A table whose rows of tonight are sorted, ready to be written once."""

    inputs: TableInputs
    leaves: Leaves
    folder: Path
    deliver: Deliver
    coding: Coding
    tonight: SortedRows
    stack: ExitStack  # holds what is sorted

    @property
    def held_bytes(self) -> int:
        """What it has in memory while it waits."""
        return self.tonight.held_bytes

    @property
    def writing_bytes(self) -> int:
        """What it takes at the most while it is written, about."""
        inputs = self.inputs
        last = max(_UNPACKED * inputs.previous_bytes, _ROW_BYTES * inputs.previous_rows)
        waiting = self.tonight.bytes + last
        tables = 2 if inputs.changes_key else 1
        return self.held_bytes + tables * min(waiting, WAITING_BYTES) + _BESIDE_BYTES

    def close(self) -> None:
        """Let go of what is sorted."""
        self.stack.close()

    def write(self) -> MergedTable:
        """The other half: the files. Raises StorageError."""
        inputs, coding, sums, scratch = self.inputs, self.coding, _Sums(), Scratch()
        with self.stack as stack:
            expected = inputs.expected_bytes
            files = stack.enter_context(
                table_files(coding, self.folder, inputs.compression, self.deliver, expected)
            )
            changes = stack.enter_context(_changes(inputs, self.folder, self.deliver))
            for sifted in self._sifted():
                files.add(in_order([sifted.kept, sifted.fresh], coding.none(), scratch))
                sums.add(sifted)
                if changes is not None:
                    changes.add(coding.batch(sifted.gone), coding.batch(sifted.fresh))
        changed = _changed(changes) if changes is not None else None
        return MergedTable(files.finished, sums.fresh, sums.kept, sums.gone, changed)

    def _sifted(self) -> Iterator[_Sifted]:
        """Round by round; the rows of one are good until the next one comes."""
        none, scratches = self.coding.none(), (Scratch(), Scratch())
        sources = [_lasts(self.inputs, self.coding), *self.tonight.sources]
        for last, *tonight in rounds(sources, self.tonight.bytes_each):
            self.inputs.check_in()
            fresh = in_order((rows for pieces in tonight for rows in pieces), none, scratches[0])
            yield _sift(in_order(last, none, scratches[1]), fresh, self.leaves)


@contextmanager
def _tonights(inputs: TableInputs, ledger: Ledger, coding: Coding) -> Iterator[SortedRows]:
    """Tonight's rows from few sorted sources."""
    if not inputs.parts:
        yield SortedRows([], 0, 0)
        return
    with sorted_rows(_fresh(inputs, ledger), coding, inputs.scratch) as rows:
        yield rows


def _fresh(inputs: TableInputs, ledger: Ledger) -> Iterator[Group]:
    rows = rows_in(SOURCES_BYTES, inputs.schema)

    def of_parts() -> Iterator[pa.RecordBatch]:
        for path in inputs.parts:
            inputs.check_in()
            yield from fresh_rows(path, inputs.schema, ledger, rows)

    return together(of_parts(), rows)


def _lasts(inputs: TableInputs, coding: Coding) -> Iterator[Rows]:
    rows = rows_in(SOURCES_BYTES, inputs.schema)
    return map(coding.rows, last_rows(inputs.previous, inputs.schema, rows))


@contextmanager
def _changes(inputs: TableInputs, folder: Path, deliver: Deliver) -> Iterator[Changes | None]:
    if not inputs.changes_key:
        yield None
        return
    into = folder.parent / CHANGES / folder.name
    coding = Coding(changes_schema(inputs.schema))
    with table_files(coding, into, inputs.compression, deliver, root=folder.parent) as files:
        yield Changes(files, inputs.changes_key, inputs.night)


def _changed(changes: Changes) -> Changed:
    return Changed(changes.files.finished, changes.inserted, changes.updated, changes.deleted)


@dataclass(frozen=True)
class _Sifted:
    """A round's rows: who stays, who leaves, who comes."""

    kept: Rows
    gone: Rows
    fresh: Rows


@dataclass
class _Sums:
    fresh: int = 0
    kept: int = 0
    gone: int = 0

    def add(self, sifted: _Sifted) -> None:
        self.fresh += len(sifted.fresh)
        self.kept += len(sifted.kept)
        self.gone += len(sifted.gone)


def _sift(last: Rows, fresh: Rows, leaves: Leaves) -> _Sifted:
    """A round has all rows of its customers, so that what tonight brought of them is known."""
    last_ids, fresh_ids = last.ids, fresh.ids
    if leaves.everyone:
        return _Sifted(last.cut(0, 0), last, fresh)
    fresh = fresh.only(~leaves.yields(fresh_ids, last_ids))
    leave = leaves.leave(last_ids, fresh_ids)
    return _Sifted(last.only(~leave), last.only(leave), fresh)
