"""Tables are merged side by side in one budget of memory: Arrow and numpy work without Python's lock.

A merge has two halves, about as long as each other: tonight's rows are sorted, then the files are written. Writing a
large table takes a row group's memory, sorting any table little. So while a large one is written the next are sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Condition
from typing import Protocol

import pyarrow as pa

from pipeline.merge import SORTING_BYTES, MergedTable
from pipeline.processes import usable_cores
from pipeline.store.columns import let_go_of_columns

BUDGET_BYTES = 80 << 20
"""All that is under way takes no more, about: a large table that is written and one that is sorted. A step for which
this is too little is done alone.
"""
LANES = 2
"""So many threads at the most: more would wait for Python's lock, and for memory."""
MOST_SORTED = 3
"""So many sorted tables may wait to be written: their runs take room on the disk."""

CheckIn = Callable[[], None]


class Sorted(Protocol):
    """A table whose rows of tonight are sorted."""

    @property
    def held_bytes(self) -> int:
        """What it has in memory while it waits."""
        ...

    @property
    def writing_bytes(self) -> int:
        """What it takes at the most while it is written."""
        ...

    def write(self) -> MergedTable:
        """Write its files."""
        ...

    def close(self) -> None:
        """Let go of what is sorted, written or not."""
        ...


@dataclass(frozen=True)
class Merge:
    """A table's merge. `size` in bytes tells which of several takes longest."""

    size: int
    sort: Callable[[CheckIn], Sorted]


def side_by_side(merges: Mapping[str, Merge]) -> dict[str, MergedTable]:
    """Do them, the largest first. Raises what the first failure raised."""
    under_way = _UnderWay(merges)
    lanes = min(LANES, usable_cores())
    with ThreadPoolExecutor(lanes, "merge") as pool:
        futures = [pool.submit(under_way.work) for _ in range(lanes)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            _raise_first(futures)
        finally:
            under_way.stop()
    return {name: under_way.merged[name] for name in merges}


def _raise_first(futures: Iterable[Future[None]]) -> None:
    """What went wrong, if anything did."""
    for one in futures:
        if one.done():
            one.result()


class _StoppedError(Exception):
    """Another table's merge failed, or the night was told to stop."""


@dataclass(frozen=True, eq=False)
class _Step:
    """Half a merge: sorting, or writing what is sorted."""

    name: str
    memory: int
    ready: Sorted | None = None


class _UnderWay:
    """What waits, what is being done, and what that takes. Several threads `work` on it."""

    def __init__(self, merges: Mapping[str, Merge]) -> None:
        self.merged: dict[str, MergedTable] = {}
        self._merges = merges
        self._unsorted = sorted(merges, key=lambda name: merges[name].size)  # the largest last
        self._sorted: dict[str, Sorted] = {}  # the largest first, about
        self._steps: set[_Step] = set()
        self._is_stopped = False
        self._changed = Condition()

    def work(self) -> None:
        """Do one step after the other until there are no more."""
        while (step := self._next()) is not None:
            ready = None
            try:
                ready = self._do(step)
            finally:
                pa.default_memory_pool().release_unused()
                let_go_of_columns()  # who leaves was looked up, of all IDs
                self._is_done(step, ready)

    def stop(self) -> None:
        """No more steps; those under way end as soon as they look."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            waiting, self._sorted = list(self._sorted.values()), {}
        for ready in waiting:
            ready.close()

    def _do(self, step: _Step) -> Sorted | None:
        """Gives the table where it was sorted."""
        if step.ready is None:
            return self._merges[step.name].sort(self._check_in)
        try:
            self.merged[step.name] = step.ready.write()
        finally:
            step.ready.close()
        return None

    def _check_in(self) -> None:
        if self._is_stopped:
            raise _StoppedError

    def _next(self) -> _Step | None:
        """The next step, once there is room for it; None where none is left."""
        with self._changed:
            while True:
                self._check_in()
                if not self._unsorted and not self._sorted and all(one.ready for one in self._steps):
                    return None
                step = self._fitting()
                if step is not None:
                    self._steps.add(step)
                    return step
                self._changed.wait()

    def _fitting(self) -> _Step | None:
        """A table that is sorted is written if possible; else the largest of those that are not is sorted."""
        for name, ready in self._sorted.items():
            if self._has_room(ready.writing_bytes - ready.held_bytes):
                return _Step(name, ready.writing_bytes, self._sorted.pop(name))
        if self._unsorted and len(self._sorted) < MOST_SORTED and self._has_room(SORTING_BYTES):
            return _Step(self._unsorted.pop(), SORTING_BYTES)
        return None

    def _has_room(self, size: int) -> bool:
        """Alone, everything has."""
        taken = sum(step.memory for step in self._steps) + sum(
            one.held_bytes for one in self._sorted.values()
        )
        return not self._steps or taken + size <= BUDGET_BYTES

    def _is_done(self, step: _Step, ready: Sorted | None) -> None:
        with self._changed:
            self._steps.remove(step)
            if ready is not None and not self._is_stopped:
                self._sorted[step.name] = ready
                ready = None
            self._changed.notify_all()
        if ready is not None:
            ready.close()
