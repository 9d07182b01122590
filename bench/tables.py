"""How measurements are shown: a table, and on which machine it was made."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

BENCH = Path(__file__).parent


def machine(*packages: str) -> str:
    """When and where, in a line: date, processor cores, Python, the packages that matter."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}{', ' + versions if versions else ''}"
    )


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as Markdown has it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def write_table(name: str, title: str, about: str, table: str) -> None:
    """Print it, and put it into bench/`name`."""
    text = f"# {title}\n\n{about}\n\n{table}"
    sys.stdout.write(text)
    (BENCH / name).write_text(text, encoding="utf-8")
