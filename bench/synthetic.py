"""Nights of millions made of a real one of some thousands: the same answers under other IDs.

A template is the one chunk of a night that was fetched. A synthetic night has it many times over, each time with other
IDs, spread over the whole range as when a list is out of order, so that merging has to interleave all parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench import bodies, tree
from bench.night import NIGHT, Home, new_home
from bench.server import Server
from pipeline.night.listing import rejected_table
from pipeline.store.journal import ChunkWriter, Record, chunk_path, pack_record, read_chunk
from pipeline.store.ledger import CALLS, RECORD, RECORD_BITS
from pipeline.store.parquet import write_part
from pipeline.store.workspace import IdCounts, NightFolder, NightState, Workspace

CHUNK = 8_192
"""Customers in a template, and in each chunk made of it."""
AnyId = TypeVar("AnyId", int, npt.NDArray[np.int64])
FRAME = 256
"""Records in a frame of the journal, as a night writes them."""


@dataclass(frozen=True)
class Template:
    """A night of one chunk that was fetched and published."""

    folder: NightFolder
    times: int = 1  # how many chunks are made of it
    number: int = 0  # which of them this is

    @property
    def chunk(self) -> Path:
        """Its journal."""
        return chunk_path(self.folder.journal, 0, sealed=True)

    def id_of(self, customer_id: AnyId) -> AnyId:
        """The ID in this copy, or the IDs of an array."""
        return bodies.FIRST_ID + (customer_id - bodies.FIRST_ID) * self.times + self.number

    def copies(self, times: int) -> Iterator[Template]:
        """All chunks of a night that is `times` as large."""
        return (replace(self, times=times, number=number) for number in range(times))


@contextmanager
def fetched_template(server: Server) -> Iterator[Template]:
    """A real night of one chunk. Raises RuntimeError where it does not end well."""
    with new_home(server.url, CHUNK) as home:
        used = tree.run_python(home.command("run", "--quiet"))
        if used.exit_code:
            raise RuntimeError(f"the template's night ended with exit code {used.exit_code}:\n{used.output}")
        yield Template(night_folder(home))


def night_folder(home: Home) -> NightFolder:
    """The folder of the bench's night."""
    return Workspace(home.root / "work").night(date.fromisoformat(NIGHT))


@contextmanager
def synthetic_night(
    server: Server, template: Template, chunks: int, left: int, *, with_bodies: bool, tables: str = "*"
) -> Iterator[Home]:
    """A night in which `chunks` chunks of customers were answered before it was stopped, and `left` were not.

    `with_bodies`: with its journal, for a rebuild; else with the parts made of it and a journal that only lies there,
    for a resume, which opens no sealed chunk that has its parts. `tables`: a pattern of those parts that are made; with
    fewer than all the night can begin, but not be published.
    """
    with new_home(server.url, chunks * CHUNK + left, in_order=True) as home:
        folder = night_folder(home).make()
        for copy in template.copies(chunks):
            if with_bodies:
                _write_journal(copy, folder)
            else:
                _write_parts(copy, folder, tables)
        _write_list(folder, chunks * CHUNK)
        yield home


def _write_list(folder: NightFolder, listed: int) -> None:
    (bodies.FIRST_ID + np.arange(listed, dtype=np.int64)).tofile(folder.ids)
    folder.identifiers.touch()
    write_part(folder.rejected_ids, rejected_table([], folder))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    counts = IdCounts(read=listed, distinct=listed)
    folder.save(NightState(night=folder.night, started_at=began, listed=True, ids=counts, state="stopped"))


def _write_journal(template: Template, folder: NightFolder) -> None:
    """A chunk of the journal, as a night would have written it."""
    packed = [pack_record(_renamed(record, template)) for record in read_chunk(template.chunk)]
    with ChunkWriter(folder.journal, template.number, {"night": NIGHT, "version": "bench"}) as writer:
        for start in range(0, len(packed), FRAME):
            frame = packed[start : start + FRAME]
            writer.append(b"".join(frame), len(frame))
        writer.seal()


def _renamed(record: Record, template: Template) -> Record:
    """The record under this copy's ID, in its head and in its body."""
    customer_id = template.id_of(record.customer_id)
    body = record.body.replace(b"%d" % record.customer_id, b"%d" % customer_id, 1)
    return record._replace(customer_id=customer_id, body=body)


def _write_parts(template: Template, folder: NightFolder, tables: str) -> None:
    """The parts of a chunk, the list of calls last; its journal is another name of the template's."""
    os.link(template.chunk, chunk_path(folder.journal, template.number, sealed=True))
    paths = sorted(
        template.folder.parts.glob(f"{tables}/chunk-00000.parquet"),
        key=lambda path: path.parent.name == CALLS,
    )
    for path in paths:
        table = _renamed_rows(pq.read_table(path), template)
        write_part(folder.parts / path.parent.name / f"chunk-{template.number:05d}.parquet", table)


def _renamed_rows(table: pa.Table, template: Template) -> pa.Table:
    """The rows under this copy's IDs and records."""
    ids: npt.NDArray[np.int64] = table["customer_id"].to_numpy()
    records: Any = table[RECORD].to_numpy() & ((1 << RECORD_BITS) - 1) | template.number << RECORD_BITS
    for name, values in (("customer_id", template.id_of(ids)), (RECORD, records)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.int64()))
    return table
