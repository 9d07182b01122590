"""What the kernel gathered, as typed batches; the odd cells read by the rules of `blocks.fit`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.base import Column, Kind, Table
from pipeline.blocks.collect import Collected, Options
from pipeline.blocks.fit import ARROW_TYPES, Misfit, put_in, without_signed_urls
from pipeline.blocks.leftovers import About, Leftovers
from pipeline.blocks.schema import part_schema
from pipeline.jsontext import loads
from pipeline.normalize.body_hash import body_hash
from pipeline.normalize.kernel.library import kernel
from pipeline.normalize.kernel.plan import write_plan

TAKEN = 0
Ints = npt.NDArray[np.int64]
_NOBODY: Ints = np.empty((0, 3), np.int64)
_TYPES = ("null", "null", "boolean", "boolean", "integer", "number", "string", "object", "array")
"""JSON's types, as the kernel numbers them."""
_NO_BYTES = pa.py_buffer(b"")


class _Cell(NamedTuple):
    """A value that its column cannot take as it stands: its JSON text."""

    table: int
    column: int
    row: int
    text: bytes
    is_read: bool  # it stands there, rounded


class _Wide(NamedTuple):
    """A column as the kernel counts them: with `is_offset`, the one behind a moment."""

    column: Column
    is_offset: bool


class _State:
    """A table as the kernel fills it."""

    def __init__(self, table: Table, options: Options) -> None:
        self.table = table
        self.schema = part_schema(table, offsets=options.keep_offsets)
        self.columns = [
            _Wide(column, is_offset)
            for column in table.columns
            for is_offset in (
                (False, True) if options.keep_offsets and column.kind is Kind.INSTANT else (False,)
            )
        ]


class KernelCollector:
    """Takes bodies until `drain` makes batches of them, as `blocks.collect.Collector` does.

    Raises RuntimeError where there is no kernel, MemoryError where memory ends.
    """

    def __init__(self, tables: Sequence[Table], options: Options) -> None:
        library = kernel()
        if library is None:
            raise RuntimeError("the kernel was not built")
        self._library, self._options = library, options
        self._states = [_State(table, options) for table in tables]
        self._plan = write_plan(tables, offsets=options.keep_offsets)
        numbers, words, _ = self._plan
        self._kernel = library.kernel_new(numbers.ctypes.data, len(numbers), words, len(words))
        if not self._kernel:
            raise MemoryError("the kernel got no memory")
        self._start()
        self._leftovers = Leftovers(tables)

    def _start(self) -> None:
        self._abouts, self._count = [_NOBODY], 0  # of each answer: customer, moment, record; and how many
        self._told = _NOBODY  # the same, while they are drained

    def __del__(self) -> None:
        if getattr(self, "_kernel", None):
            self._library.kernel_free(self._kernel)

    def add(self, body: bytes, customer_id: int, fetched_at: int, record: int) -> int | None:
        """Take an answer of the usual shape; gives its hash, or None where it is of another."""
        place, size = np.zeros(1, np.int64), np.full(1, len(body), np.int64)
        hashes, refused = self.add_many(body, place, size, np.array([[customer_id, fetched_at, record]]))
        return None if refused else int(hashes[0])

    def add_many(
        self, payload: bytes, starts: Ints, lengths: Ints, abouts: Ints
    ) -> tuple[npt.NDArray[np.uint64], list[int]]:
        """The same with several in one text: gives their hashes, and which of them are of another shape."""
        count, done = len(abouts), 0
        hashes, ends = np.zeros(count, np.uint64), np.empty(count, np.int32)
        while done < count:
            places = (one[done:].ctypes.data for one in (starts, lengths, hashes, ends))
            done += self._library.kernel_add_many(
                self._kernel, payload, *places, count - done, self._count + done
            )
            if done < count:  # it came to one that has to be hashed here
                body = payload[starts[done] : starts[done] + lengths[done]]
                text = body_hash(body)
                hashes[done] = int(text, 16)
                ends[done] = self._library.kernel_add(
                    self._kernel, body, len(body), self._count + done, text.encode()
                )
                done += 1
        self._abouts.append(abouts)
        self._count += count
        return hashes, np.flatnonzero(ends != TAKEN).tolist()

    def drain(self) -> Collected:
        """Type what was gathered and start afresh. The batches are good until the next answer comes: they lie in the
        kernel's own memory."""
        self._told = np.concatenate(self._abouts)
        answers = self._told.T.copy()
        odd = self._odd_cells()
        batches = {}
        for number, state in enumerate(self._states):
            if rows := self._library.kernel_rows(self._kernel, number):
                batches[state.table.name] = self._batch(number, rows, answers, odd)
        self._library.kernel_clear(self._kernel)
        self._start()
        return Collected(batches, *self._leftovers.take())

    # What no column takes as it stands

    def _odd_cells(self) -> dict[tuple[int, int], list[_Cell]]:
        """The cells of each column that has some, by rows. Unknown keys are told to the leftovers at once: they come
        first in `extra`."""
        told = (ctypes.c_int64 * 6)()
        self._library.kernel_odds(self._kernel, told)
        cells, cells_at, keys, keys_at, texts_at, length = told
        texts = ctypes.string_at(texts_at, length) if length else b""
        self._unknown_keys(_numbers(keys_at, keys, 8), texts)
        odd = sorted(
            _Cell(table, column, row, texts[start : start + length], bool(is_read))
            for table, column, row, start, length, is_read in _numbers(cells_at, cells, 6).tolist()
        )
        return {column: list(together) for column, together in groupby(odd, lambda cell: cell[:2])}

    def _unknown_keys(self, keys: npt.NDArray[np.int32], texts: bytes) -> None:
        abouts = list(map(About._make, self._told[keys[:, 0]].tolist()))
        for about, (_, node, row, start, key, length, kind, is_kept_so) in zip(
            abouts, keys.tolist(), strict=True
        ):
            end = start + key
            name, found = texts[start:end].decode(), texts[end : end + length]
            if is_kept_so:
                self._leftovers.written_key(about, self._plan.nodes[node], row, name, _TYPES[kind], found)
            else:
                self._leftovers.unknown_key(about, self._plan.nodes[node], row, name, loads(found))

    # Columns

    def _batch(
        self, number: int, rows: int, answers: Ints, odd: dict[tuple[int, int], list[_Cell]]
    ) -> pa.RecordBatch:
        state = self._states[number]
        told = (ctypes.c_int64 * (1 + 4 * len(state.columns)))()
        self._library.kernel_buffers(self._kernel, number, told)
        nth = np.frombuffer(ctypes.string_at(told[0], rows * 4), np.int32)
        customer_ids, fetched_at, records = (column.take(nth) for column in answers)
        arrays: list[pa.Array[Any]] = [pa.array(customer_ids)]
        for place, wide in enumerate(state.columns):
            array = self._array(_type_of(wide), rows, *told[1 + 4 * place : 5 + 4 * place])
            if cells := odd.get((number, place)):
                array = self._put_in(number, wide.column, array, cells, nth)
            if state.table.ignore and wide.column.kind is Kind.TEXT:
                array = without_signed_urls(array)
            arrays.append(array)
        arrays += [
            pa.array(fetched_at).cast(pa.timestamp("us", "UTC")),
            pa.repeat(pa.scalar(self._options.night, pa.date32()), rows),
            self._leftovers.extra_column(number, rows),
            pa.array(records),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=state.schema)

    def _array(
        self, kind: pa.DataType, rows: int, valid: int, data: int, used: int, ends: int
    ) -> pa.Array[Any]:
        """An Arrow array over these buffers, which live as long as the collector."""
        buffers: list[pa.Buffer | None] = [
            pa.foreign_buffer(valid, (rows + 7) // 8, self),
            pa.foreign_buffer(data, used, self) if used else _NO_BYTES,
        ]
        if ends:
            buffers.insert(1, pa.foreign_buffer(ends, 4 * (rows + 1), self))
        return pa.Array.from_buffers(kind, rows, buffers)

    def _put_in(
        self, table: int, column: Column, array: pa.Array[Any], cells: list[_Cell], nth: npt.NDArray[np.int32]
    ) -> pa.Array[Any]:
        """A column with its odd cells in their places; what does not fit is noted."""
        misfits = [Misfit(cell.row, "", loads(cell.text)) for cell in cells if cell.is_read]
        if unread := [(cell.row, loads(cell.text)) for cell in cells if not cell.is_read]:
            array, unfit = put_in(array, column.kind, unread, self._options.zone)
            misfits += unfit
        for misfit in misfits:
            self._leftovers.misfit(self._about(nth[misfit.row]), table, column, misfit)
        return array

    def _about(self, nth: int) -> About:
        return About._make(self._told[nth].tolist())


def _numbers(address: int, count: int, width: int) -> npt.NDArray[np.int32]:
    """A table of the kernel's own numbers."""
    told = ctypes.string_at(address, count * width * 4) if count else b""
    return np.frombuffer(told, np.int32).reshape(-1, width)


def _type_of(wide: _Wide) -> pa.DataType:
    return pa.string() if wide.is_offset else ARROW_TYPES[wide.column.kind]
