"""Who leaves the last snapshot: decided once for the night, told for each table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.blocks.gaps import TORN, is_gap, tables_without
from pipeline.config import SnapshotConfig
from pipeline.merge.sources import ids_of, without_stale
from pipeline.outcome import Outcome
from pipeline.store.columns import united
from pipeline.store.idsets import common, distinct, is_among, without
from pipeline.store.ledger import RECORD, Ints, Ledger
from pipeline.store.parts import read_part

_NOBODY: Ints = np.empty(0, np.int64)


def _nobody() -> Ints:
    return _NOBODY


@dataclass(frozen=True)
class Leaves:
    """Whose last rows leave a table. Sorted customer IDs."""

    replaced: Ints  # whatever tonight brought of them; but for those that the next two have
    if_brought: Ints = field(default_factory=_nobody)  # only where tonight brought rows of them
    unless_there: Ints = field(
        default_factory=_nobody
    )  # the other way round: tonight's rows of them count only where no last ones are
    everyone: bool = False  # `snapshot.mode: full`

    def leave(self, last: Ints, fresh: Ints) -> npt.NDArray[np.bool_]:
        """Which of the last rows go, by their customers, sorted; `fresh` are those of tonight's rows."""
        going = is_among(last, self.replaced)
        for stay in (self.if_brought, self.unless_there):
            if len(stay):
                going &= ~is_among(last, stay)
        if len(self.if_brought):
            going |= is_among(last, self.if_brought) & is_among(last, fresh)
        return going

    def yields(self, fresh: Ints, last: Ints) -> npt.NDArray[np.bool_]:
        """Which of tonight's rows do not count."""
        if not len(self.unless_there):
            return np.zeros(len(fresh), bool)
        return is_among(fresh, self.unless_there) & is_among(fresh, last)


class Leaving:
    """The night's departures.

    A full answer replaces the customer's rows in every table; deleted and merged ones leave every table, absent and
    failed ones where the config says so. A partial answer replaces what it brought: a table that its warnings say is
    missing keeps the last rows where there are none of tonight.
    """

    def __init__(
        self, ledger: Ledger, snapshot: SnapshotConfig, gaps: Mapping[int, Ints], also: Ints = _NOBODY
    ) -> None:
        """`gaps` has the customers by their warnings' codes (`codes_in`); `also` leave whatever was said of them."""
        whole = [Outcome.EXPORTED, *gone_for(snapshot)]
        everybody = ledger.with_outcome(*whole, Outcome.PARTIAL)
        self._everybody = united([everybody, also], ledger.scratch) if len(also) else everybody
        partial = ledger.with_outcome(Outcome.PARTIAL)
        self._partial = (
            without(partial, united([ledger.with_outcome(*whole), also], ledger.scratch))
            if len(partial)
            else partial
        )
        self._is_full = snapshot.mode == "full"
        told = {code: common(ids, self._partial) for code, ids in gaps.items()}
        self._gaps = {code: ids for code, ids in told.items() if len(ids)}
        self._untold = without(self._partial, _all_of(self._gaps.values()))

    def of(self, table: str) -> Leaves:
        """For a table of data."""
        if self._is_full:
            return Leaves(self._everybody, everyone=True)
        torn = _all_of(ids for code, ids in self._gaps.items() if table in TORN.get(code, ()))
        lacking = [ids for code, ids in self._gaps.items() if table in tables_without(code)]
        if_brought = without(_all_of([*lacking, self._untold]), torn)
        return Leaves(self._everybody, if_brought, torn)


def gone_for(snapshot: SnapshotConfig) -> list[Outcome]:
    """The verdicts without an answer that take a customer out of the tables of data."""
    gone = [Outcome.DELETED, Outcome.MERGED]
    gone += [Outcome.ABSENT] if snapshot.absent == "drop" else []
    return gone + ([Outcome.FAILED] if snapshot.failed == "drop" else [])


def codes_in(warnings: Sequence[Path], ledger: Ledger) -> dict[int, Ints]:
    """Which customers' answers lack a block, by the codes of their warnings; from the parts of the table `warnings`.

    Raises StorageError.
    """
    found: dict[int, list[Ints]] = {}
    for path in warnings:
        for batch in read_part(path, ["customer_id", "code", RECORD]):
            fresh = without_stale(batch, ledger)
            ids, codes = ids_of(fresh), fresh.column("code").fill_null(0).to_numpy()
            for code in filter(is_gap, distinct(codes).tolist()):
                found.setdefault(code, []).append(ids[codes == code])
    return {code: _all_of(ids) for code, ids in sorted(found.items())}


def _all_of(groups: Iterable[Ints]) -> Ints:
    """The IDs of all groups, sorted, each once."""
    return distinct(_NOBODY, *groups)
