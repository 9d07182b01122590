"""The verdicts: each distinct valid ID ends a night with exactly one of them."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """Journalled as numbers, shown by name.

    Two are no verdicts: RETRIED, a call that has to be made again, and PAGE, a further page of the answer whose
    record follows.
    """

    RETRIED = 0
    EXPORTED = 1
    PARTIAL = 2
    ABSENT = 3
    DELETED = 4
    MERGED = 5
    FAILED = 6
    DEFERRED = 7
    PAGE = 8

    @property
    def word(self) -> str:
        """The name that tables, manifests and people use."""
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        """Whether the ID is done for tonight; a failed one is asked again by the next start."""
        return self in _FINAL

    @property
    def has_data(self) -> bool:
        """Whether the answer's rows belong in the tables."""
        return self in (Outcome.EXPORTED, Outcome.PARTIAL)


_FINAL = frozenset({Outcome.EXPORTED, Outcome.PARTIAL, Outcome.ABSENT, Outcome.DELETED, Outcome.MERGED})
NO_VERDICTS = frozenset({Outcome.RETRIED, Outcome.PAGE})
VERDICTS: tuple[Outcome, ...] = tuple(outcome for outcome in Outcome if outcome not in NO_VERDICTS)
