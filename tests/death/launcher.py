"""The program as it is, but with short chunks and frames: a small night then has as many seals as a large one.

`python -m tests.death.launcher run CONFIG …`. Nothing else differs; the second process is told by its job, as ever.
"""

from __future__ import annotations

import sys

from pipeline.cli import main
from pipeline.fetch import handoff
from pipeline.normalize import scribe

CHUNK_RECORDS = 120
FRAME_RECORDS = 16
FRAMES_UNDER_WAY = 4


def shorten() -> None:
    """Chunks of 120 calls, frames of 16, four of them under way."""
    scribe.CHUNK_RECORDS = CHUNK_RECORDS
    handoff.FRAME_RECORDS = FRAME_RECORDS
    handoff.FRAMES_UNDER_WAY = FRAMES_UNDER_WAY


if __name__ == "__main__":
    shorten()
    sys.exit(main())
