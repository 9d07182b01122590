"""`python -m pipeline …` is `capillary-export …`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from pipeline.processes import share_arenas


def main() -> None:
    """Run the command line and leave with its exit code."""
    share_arenas()
    with _second_process(sys.argv[1:]):
        # It brings pydantic, which the second process does without.
        from pipeline.cli import main as run_command

        code = run_command()
    gc.freeze()  # Python looks for what is in cycles before it ends, as if all were not about to go
    sys.exit(code)


def _second_process(words: Sequence[str]) -> AbstractContextManager[None]:
    """Commands that normalize have it stand by from the beginning; it need not know of what comes after."""
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb not in ("run", "rebuild") or "--help" in words:
        return nullcontext()
    from pipeline.normalize.helper import standing_by  # others need none of what it brings

    return standing_by()


if __name__ == "__main__":
    main()
