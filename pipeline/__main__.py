"""`python -m pipeline …` is `capillary-export …`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from pipeline.cli import main as run_command
    from pipeline.processes import share_arenas

    share_arenas()
    code = run_command()
    gc.freeze()  # Python looks for what is in cycles before it ends, as if all were not about to go
    sys.exit(code)


if __name__ == "__main__":
    main()
