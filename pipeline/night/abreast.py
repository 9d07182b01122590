"""The tables are merged one after the other, small ones beside the others: Arrow works without Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock

import pyarrow as pa

from pipeline.merge import MergedTable

SMALL_BYTES = 1 << 20
"""A table of fewer bytes is merged beside another one. Of larger ones, each a row group's memory, one at a time."""


@dataclass(frozen=True)
class Merge:
    """A table's merge. `size` in bytes tells which of several takes longest."""

    size: int
    work: Callable[[Callable[[], None]], MergedTable]


class _StoppedError(Exception):
    """Another table's merge failed, or the night was told to stop."""


class _Waiting:
    """The merges that wait, by size."""

    def __init__(self, merges: Mapping[str, Merge]) -> None:
        self._merges = merges
        self._names = deque(sorted(merges, key=lambda name: merges[name].size))
        self._lock = Lock()

    def largest(self) -> Iterator[str]:
        """The largest first, as long as there are any."""
        while True:
            with self._lock:
                if not self._names:
                    return
                name = self._names.pop()
            yield name

    def small(self) -> Iterator[str]:
        """The smallest first, as long as there are small ones."""
        while True:
            with self._lock:
                if not self._names or self._merges[self._names[0]].size >= SMALL_BYTES:
                    return
                name = self._names.popleft()
            yield name


def side_by_side(merges: Mapping[str, Merge]) -> dict[str, MergedTable]:
    """Do them: the largest first, and the small ones beside them. Raises what the first failure raised."""
    stop, waiting = Event(), _Waiting(merges)
    merged: dict[str, MergedTable] = {}

    def check_in() -> None:
        if stop.is_set():
            raise _StoppedError

    def do(names: Iterable[str]) -> None:
        for name in names:
            check_in()
            try:
                merged[name] = merges[name].work(check_in)
            finally:
                pa.default_memory_pool().release_unused()

    lanes = [waiting.largest(), waiting.small()][: os.cpu_count() or 1]
    with ThreadPoolExecutor(len(lanes), "merge") as pool:
        futures = [pool.submit(do, lane) for lane in lanes]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            _raise_first(futures)
        finally:
            stop.set()
    return {name: merged[name] for name in merges}


def _raise_first(futures: Iterable[Future[None]]) -> None:
    """What went wrong, if anything did."""
    for one in futures:
        if one.done():
            one.result()
