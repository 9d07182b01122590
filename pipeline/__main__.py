"""`python -m pipeline …` is `capillary-export …`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from pipeline.cli import main as run_command

    sys.exit(run_command())


if __name__ == "__main__":
    main()
