"""Python reads this at its start where the folder is on PYTHONPATH: the program then never syncs anything."""

import os


def _forget(fd: object) -> None:
    """As fast as a sync can be."""


os.fsync = os.fdatasync = _forget
