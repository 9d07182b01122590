"""How a table's rows are records: column by column with numpy, or all at once in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.merge.at_once import AtOnce
from pipeline.merge.columns import Codes, column_of
from pipeline.merge.records.library import records_library
from pipeline.merge.rows import Beside, Rows
from pipeline.merge.sources import joined_batches


class Coding:
    """How a table's rows are records. The vocabularies grow with what is coded, and hold for all rows of a merge."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.columns = [column_of(field) for field in schema]
        held = sorted((one for one in self.columns if one.dtype), key=lambda one: -one.dtype.itemsize)
        self.dtype = np.dtype([(one.name, one.dtype) for one in held], align=True)
        library = records_library()
        self._at_once = AtOnce(library, self.columns, self.dtype) if library else None

    def rows(self, *batches: pa.RecordBatch) -> Rows:
        """Rows in the schema's columns, as records."""
        records = np.empty(sum(batch.num_rows for batch in batches), self.dtype)
        return Rows(records, self.code(batches, records))

    def code(self, batches: Sequence[pa.RecordBatch], records: npt.NDArray[Any]) -> Beside:
        """Write batches, one behind the other, into the records; gives what lies beside."""
        if self._at_once is not None:
            return self._at_once.code(batches, records)
        found = {}
        for column, values in zip(self.columns, joined_batches(batches).columns, strict=True):
            if values.null_count == len(values):
                column.leave_empty(records)
            elif (beside := column.code(values, records)) is not None:
                found[column.name] = beside
        return found

    def codes(self, rows: Rows) -> list[Codes]:
        """The columns of some rows as they stand in records, each in memory of its own."""
        if self._at_once is not None:
            return self._at_once.codes(rows)
        return [column.codes(rows) for column in self.columns]

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """The rows as Arrow has them."""
        arrays = [
            column.plain(codes, rows.beside.get(column.name))
            for column, codes in zip(self.columns, self.codes(rows), strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def none(self) -> Rows:
        """No rows."""
        return Rows(np.empty(0, self.dtype))
