"""Python reads this at its start where the folder is on PYTHONPATH: some customers' answers then kill their decoder.

POISON_ABORTS ends the process as a crash in a native library does: at once, with no word to anybody.
POISON_RAISES is an error of the program's own. Both hold customer IDs, with commas between.
"""

import os

from pipeline import jsontext

_blocks_of = jsontext.blocks_of


def _marks(variable: str) -> list[bytes]:
    return [b'"id":%d' % int(one) for one in os.environ.get(variable, "").split(",") if one]


_ABORTS, _RAISES = _marks("POISON_ABORTS"), _marks("POISON_RAISES")


def blocks_of(body: bytes) -> jsontext.Blocks | None:
    """What jsontext.blocks_of does, the first look at every answer, unless it is one of those customers."""
    if any(mark in body for mark in _ABORTS):
        os.abort()
    if any(mark in body for mark in _RAISES):
        raise KeyError("Jane Doe, 5 Rose Lane")
    return _blocks_of(body)


jsontext.blocks_of = blocks_of
