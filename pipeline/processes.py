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


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a living process has held; 0 where the system does not tell (Linux does).

    `getrusage` is no help: a child's peak begins with its parent's.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(kilobytes) * 1024 for _, kilobytes, _ in found), 0)
