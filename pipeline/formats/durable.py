"""What the libraries write on a local disk, synced: a power loss leaves no catalog that names what is not there.

In an object store a put is durable when it is answered; on a disk neither library syncs.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from pipeline.store.atomic import make_folder, sync_folder


class DurableFileIO(PyArrowFileIO):
    """pyiceberg's door to files, whose files on a local disk are synced when they are closed."""

    def new_output(self, location: str) -> PyArrowFile:
        """See `FileIO`."""
        found = super().new_output(location)
        scheme, _, path = self.parse_location(location, self.properties)
        return _LocalFile(location, path, found._filesystem) if scheme == "file" else found


class _LocalFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> _SyncedFile:
        """See `OutputFile`."""
        make_folder(Path(self._path).parent)
        return _SyncedFile(io.FileIO(self._path, "w" if overwrite else "x"))


class _SyncedFile(io.BufferedWriter):
    def close(self) -> None:
        """The bytes first, then the name."""
        if self.closed:
            return
        self.flush()
        os.fsync(self.fileno())
        path = Path(str(self.raw.name)) if isinstance(self.raw, io.FileIO) else None
        super().close()
        if path is not None:
            sync_folder(path.parent)
