"""Whom to ask next: retries that are due first, then the list of IDs, at the end the partial answers once more."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterator

from pipeline.fetch.client import Question
from pipeline.fetch.item import Item


class Due:
    """Hands out IDs one by one, to whoever is free to ask for one: the list is read no faster than it is asked."""

    def __init__(self) -> None:
        self._questions: Iterator[Question] = iter(())
        self._retries: list[tuple[float, int, Item]] = []  # min-heap of (due time, ticket, item)
        self._second_looks: list[Item] = []
        self._ticket = 0
        self._under_way = 0  # items in a worker's hands, or waiting for a retry
        self._line = asyncio.Lock()  # one waits for what comes back, the others behind it
        self._changed = asyncio.Event()  # something came back, or all is done
        self._is_closed = False

    def begin(self, questions: Iterator[Question], second_looks: list[Item]) -> None:
        """From now on these; the `second_looks` when everything else is done."""
        self._questions, self._second_looks = questions, second_looks

    async def next(self) -> Item | None:
        """The next one, once there is one; None when all is done, or nothing is handed out any more.

        Whoever takes one says when it is through with it: `done`. Raises what reading the list raises.
        """
        if not self._line.locked() and (item := self._take()) is not None:
            return item
        async with self._line:
            while not self._is_closed:
                item = self._take()
                if item is not None or not self._under_way:
                    return item
                await self._until_changed()
        return None

    def done(self) -> None:
        """An item has left its worker's hands: it has its verdict, or waits for a retry."""
        self._under_way -= 1
        if not self._under_way:
            self._changed.set()

    def retry_in(self, seconds: float, item: Item) -> None:
        """Once more, after so long."""
        self._ticket += 1
        self._under_way += 1
        heapq.heappush(self._retries, (time.monotonic() + seconds, self._ticket, item))
        self._changed.set()

    def look_again(self, item: Item) -> None:
        """Once more, when everything else is done."""
        self._second_looks.append(item)

    def close(self) -> None:
        """Nothing is handed out any more."""
        self._is_closed = True
        self._changed.set()

    def _take(self) -> Item | None:
        if self._is_closed:
            return None
        if self._retries and self._retries[0][0] <= time.monotonic():
            return heapq.heappop(self._retries)[2]
        question = next(self._questions, None)
        if question is not None:
            self._under_way += 1
            return Item(question)
        if self._second_looks and not self._under_way:
            first, *others = self._second_looks
            self._second_looks = []
            for item in others:
                self.retry_in(0.0, item)
            self._under_way += 1
            return first
        return None

    async def _until_changed(self) -> None:
        """Until something came back, or the next retry is due."""
        self._changed.clear()
        wait = self._retries[0][0] - time.monotonic() if self._retries else None
        try:
            async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                await self._changed.wait()
        except TimeoutError:
            pass  # a retry is due
