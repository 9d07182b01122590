"""One deadline for every call, kept by one timer for all: they all may take equally long, so the oldest ends first."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """`with deadlines.begin():` raises TimeoutError when the block takes too long, as asyncio.timeout does."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "is_over")

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[object]) -> None:
        self._deadlines = deadlines
        self._task = task
        self._cancelling = task.cancelling()
        self.is_over = False

    def give_up(self) -> None:
        """It has taken too long: interrupt the task wherever it waits."""
        self.is_over = True
        self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.ended(self)
        # A task that somebody else has cancelled, too, ends: then the cancelling goes on.
        if self.is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Deadlines:
    """The deadlines of all calls under way, each `timeout_s` after its beginning. asyncio.timeout would set up and take
    down a timer for each of them."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._ends: dict[Deadline, float] = {}  # by the loop's clock; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """From now on, for the task that asks."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        deadline = Deadline(self, task)
        self._ends[deadline] = ends = self._loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = self._loop.call_at(ends, self._look)
        return deadline

    def ended(self, deadline: Deadline) -> None:
        """In time, or not."""
        self._ends.pop(deadline, None)

    def _look(self) -> None:
        """Give up whoever is over, and look again when the next one may be."""
        now, self._timer = self._loop.time(), None
        for deadline, ends in list(self._ends.items()):
            if ends > now:
                self._timer = self._loop.call_at(ends, self._look)
                return
            del self._ends[deadline]
            deadline.give_up()
