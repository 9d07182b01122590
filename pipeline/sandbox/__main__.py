"""python -m pipeline.sandbox --customers 5000 --calls-per-minute 600 --faults "500=1%, latency=80ms±40ms" """

import argparse
from collections.abc import Sequence
from datetime import date
from typing import get_args

from pipeline.sandbox.config import GroupBlock, SandboxConfig
from pipeline.sandbox.faults import parse_plan
from pipeline.sandbox.server import run_sandbox


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the flags, runs the sandbox until it is stopped. A mistake in a flag exits with 2."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    try:
        config = SandboxConfig(**given)
        parse_plan(config.faults)
    except ValueError as error:
        parser.error(str(error))
    run_sandbox(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.sandbox", description="A stand-in for the customer API."
    )
    usual = SandboxConfig()
    parser.add_argument("--host", default=usual.host)
    parser.add_argument("--port", type=int, default=usual.port, help="0 takes any free one (default)")
    parser.add_argument("--customers", type=int, default=usual.customers, help="size of the base")
    parser.add_argument("--calls-per-minute", type=int, default=0, help="0 is no limit (default)")
    parser.add_argument("--window", choices=("sliding", "fixed"), default=usual.window)
    parser.add_argument("--retry-after", choices=("seconds", "date", "none"), default=usual.retry_after)
    parser.add_argument("--faults", default="", metavar="PLAN", help='such as "429=1%%, latency=80ms±40ms"')
    parser.add_argument("--group-block", choices=get_args(GroupBlock), default=usual.group_block)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument(
        "--day", type=date.fromisoformat, default=None, metavar="YYYY-MM-DD", help="today, if left out"
    )
    parser.add_argument("--gzip", action="store_true", help="compress for those who accept it")
    return parser


if __name__ == "__main__":
    main()
