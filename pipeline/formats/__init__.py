"""The live snapshot's tables as tables of Delta Lake or Iceberg, for those who read these.

`open_tables` gives the format that the config asks for; `reach` brings its tables to the live snapshot, `forget` lets
go of old versions. The libraries are extras, imported by `delta` and `iceberg` alone.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.formats.base import Format
from pipeline.formats.reaching import Reached, forget, reach
from pipeline.store.lakehouse import MARKER, Marker, read_marker
from pipeline.store.snapshots import Snapshots

__all__ = [
    "MARKER",
    "Format",
    "Marker",
    "Reached",
    "forget",
    "open_tables",
    "reach",
    "read_marker",
    "require",
]

_LIBRARIES = {"delta": "deltalake", "iceberg": "pyiceberg"}


def require(config: Config) -> None:
    """See that the library for `output.format` is here, and what the catalog is told of who we are.

    Raises UsageError with the line that installs it, or that names the secret.
    """
    wanted = config.output.format
    library = _LIBRARIES.get(wanted)
    if library and find_spec(library) is None:
        raise UsageError(
            f"output.format: {wanted} needs {library}, which is not installed.",
            f"pip install 'capillary-export[{wanted}]'; in a checkout: pip install -c constraints.txt -e '.[{wanted}]'",
        )
    if config.output.catalog is not None:
        config.output.catalog.secret(os.environ)


def open_tables(config: Config, snapshots: Snapshots) -> Format | None:
    """The tables that `output.format` asks for beside the snapshots; None where these are all. Raises UsageError."""
    require(config)
    if config.output.format == "delta":
        from pipeline.formats.delta import DeltaTables

        return DeltaTables(snapshots)
    if config.output.format == "iceberg":
        from pipeline.formats.iceberg import IcebergTables

        return IcebergTables(config.output, snapshots, config.work.path / "transit")
    return None
