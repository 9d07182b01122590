"""Starting our own modules in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

_HOME = str(Path(__file__).resolve().parent.parent)
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *words: str) -> list[str]:
    """The command that runs a module of ours, wherever it is installed.

    `python -m` would look into the current folder first, and take a stranger's json.py for Python's own.
    """
    return [sys.executable, "-P", "-c", _START, _HOME, module, *words]
