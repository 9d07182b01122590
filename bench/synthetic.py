"""Nights of millions made of a real one of some thousands: the same answers under other IDs.

A template is the one chunk of a night that was fetched. A synthetic night has it many times over, each time with other
IDs, spread over the whole range as when a list is out of order, so that merging has to interleave all parts. Making two
million takes a fraction of what reading them takes: the template is read and packed once, and each copy only has its
IDs written over those that stood there, in threads, since compressing and writing need no Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench import bodies, tree
from bench.night import NIGHT, Home, new_home
from bench.server import Server
from pipeline.night.listing import rejected_table
from pipeline.store.journal import (
    RECORD_HEAD,
    ChunkWriter,
    Frame,
    chunk_path,
    read_record_frames,
    unpack_records,
)
from pipeline.store.ledger import CALLS, RECORD, RECORD_BITS
from pipeline.store.parquet import write_rows
from pipeline.store.parts import chunk_parts, part_name, read_part, write_part
from pipeline.store.workspace import IdCounts, NightFolder, NightState, Workspace

CHUNK = 8_192
"""Customers in a template, and in each chunk made of it."""
ID_DIGITS = 9
"""All IDs of the benches have so many."""
Ids = npt.NDArray[np.int64]


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

    def ids_of(self, customer_id: Ids) -> Ids:
        """The IDs in this copy."""
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
        write = _journal_writer(template, folder) if with_bodies else _parts_writer(template, folder, tables)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(write, template.copies(chunks)))
        _write_list(folder, chunks * CHUNK)
        yield home


def _write_list(folder: NightFolder, listed: int) -> None:
    (bodies.FIRST_ID + np.arange(listed, dtype=np.int64)).tofile(folder.ids)
    folder.identifiers.touch()
    write_rows(folder.rejected_ids, rejected_table([], folder))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    counts = IdCounts(read=listed, distinct=listed)
    folder.save(NightState(night=folder.night, started_at=began, listed=True, ids=counts, state="stopped"))


Write = Callable[[Template], None]


def _journal_writer(template: Template, folder: NightFolder) -> Write:
    """Writes a copy's chunk of the journal, as a night would have written it."""
    frames = [_Packed.of(frame) for frame in read_record_frames(template.chunk)]

    def write(copy: Template) -> None:
        with ChunkWriter(folder.journal, copy.number, {"night": NIGHT, "version": "bench"}) as writer:
            for frame in frames:
                writer.append(frame.under(copy), len(frame.ids))
            writer.seal()

    return write


@dataclass(frozen=True)
class _Packed:
    """A frame of the template, and where in it each record has its ID."""

    payload: npt.NDArray[np.uint8]
    ids: Ids
    heads: Ids  # where the ID stands as a number
    bodies: Ids  # where it stands in the body's text

    @classmethod
    def of(cls, frame: Frame) -> _Packed:
        ids, heads, texts, at = [], [], [], 0
        for record in unpack_records(frame.payload):
            body_at = at + RECORD_HEAD.size + len(record.meta)
            ids.append(record.customer_id)
            heads.append(at)
            texts.append(body_at + record.body.index(b"%d" % record.customer_id))
            at = body_at + len(record.body)
        return cls(np.frombuffer(frame.payload, np.uint8), *map(np.array, (ids, heads, texts)))

    def under(self, copy: Template) -> bytes:
        """The same records under the copy's IDs."""
        ids, payload = copy.ids_of(self.ids), self.payload.copy()
        payload[self.heads[:, None] + np.arange(8)] = ids.view(np.uint8).reshape(-1, 8)
        digits = ids[:, None] // 10 ** np.arange(ID_DIGITS - 1, -1, -1) % 10 + ord("0")
        payload[self.bodies[:, None] + np.arange(ID_DIGITS)] = digits
        return payload.tobytes()


def _parts_writer(template: Template, folder: NightFolder, tables: str) -> Write:
    """Writes a copy's parts, the list of calls last; its journal is another name of the template's."""
    paths = sorted(
        chunk_parts(template.folder.parts, tables),
        key=lambda path: path.parent.name == CALLS,
    )
    read = {path.parent.name: pa.Table.from_batches(read_part(path)) for path in paths}

    def write(copy: Template) -> None:
        os.link(template.chunk, chunk_path(folder.journal, copy.number, sealed=True))
        for name, table in read.items():
            write_part(folder.parts / name / part_name(copy.number), _renamed_rows(table, copy))

    return write


def _renamed_rows(table: pa.Table, copy: Template) -> pa.Table:
    """The rows under this copy's IDs and records."""
    ids: Ids = table["customer_id"].to_numpy()
    records: Any = table[RECORD].to_numpy() & ((1 << RECORD_BITS) - 1) | copy.number << RECORD_BITS
    for name, values in (("customer_id", copy.ids_of(ids)), (RECORD, records)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.int64()))
    return table
