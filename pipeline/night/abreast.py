"""Several tables are merged at the same time: Arrow reads, sorts and writes without Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

import pyarrow as pa

from pipeline.merge import MergedTable

ABREAST = 2
"""So many tables at once; each takes a row group's memory and what is read for it."""


@dataclass(frozen=True)
class Merge:
    """A table's merge. `size` in bytes tells which of several takes longest."""

    size: int
    work: Callable[[Callable[[], None]], MergedTable]


class _StoppedError(Exception):
    """Another table's merge failed, or the night was told to stop."""


def side_by_side(merges: Mapping[str, Merge]) -> dict[str, MergedTable]:
    """Do them, the largest first, so that none is left alone at the end. Raises what the first failure raised."""
    stop = Event()

    def check_in() -> None:
        if stop.is_set():
            raise _StoppedError

    def do(merge: Merge) -> MergedTable:
        try:
            return merge.work(check_in)
        finally:
            pa.default_memory_pool().release_unused()

    longest_first = sorted(merges, key=lambda name: merges[name].size, reverse=True)
    with ThreadPoolExecutor(min(ABREAST, os.cpu_count() or 1), "merge") as pool:
        futures = {name: pool.submit(do, merges[name]) for name in longest_first}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            _raise_first(futures.values())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return {name: futures[name].result() for name in merges}


def _raise_first(futures: Iterable[Future[MergedTable]]) -> None:
    """What went wrong, if anything did."""
    for one in futures:
        if one.done():
            one.result()
