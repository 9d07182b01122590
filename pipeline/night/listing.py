"""The night's list of IDs: read from the CSVs, kept in the night's folder, so that a resume needs no CSV twice."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks import accounts
from pipeline.blocks.schema import accounts_schema
from pipeline.config import IdsConfig
from pipeline.errors import UsageError
from pipeline.ids import CsvSpec, IdReader, RejectedRow
from pipeline.store.atomic import replacing, storage_errors
from pipeline.store.columns import let_go_of, map_file, scratch_in, slices, sorted_column
from pipeline.store.parquet import write_rows
from pipeline.store.workspace import IdCounts, NightFolder

if TYPE_CHECKING:
    from pipeline.fetch.client import Question

Ints = npt.NDArray[Any]
SLICE = 8192
FEW_ROWS = 20
"""Below so many rows the share of rejected ones says nothing."""


def csv_spec(config: IdsConfig) -> CsvSpec:
    """What the reader has to know."""
    return CsvSpec(
        tuple(config.paths),
        config.column,
        config.delimiter,
        config.header,
        config.encoding,
        config.identifier,
    )


def list_ids(config: IdsConfig, folder: NightFolder, answered: Ints, known: IdCounts | None) -> IdCounts:
    """Read the CSVs and write the night's list: their distinct IDs, and those `answered` (sorted) before.

    Standard input can be read once only: a resume without it goes on with the list that stands (`known`).
    Raises UsageError when there is no ID, or too many rows hold none; then nothing was changed.
    """
    if known is not None and config.paths == ["-"] and _nothing_on_stdin():
        return known
    reader = IdReader(csv_spec(config), stdin=sys.stdin.buffer if "-" in config.paths else None)
    rejected: list[RejectedRow] = []
    with replacing(folder.ids) as temporary, replacing(folder.identifiers) as texts:
        with temporary.open("wb") as file, texts.open("w", encoding="utf-8") as lines:
            for batch in reader.batches():
                batch.ids.tofile(file)
                lines.writelines(f"{text}\n" for text in batch.texts)
                rejected += batch.rejected
            carried = 0
            for ids in _not_listed(answered, reader):
                ids.tofile(file)
                carried += len(ids)
        check_list(reader, config)
    write_rows(folder.rejected_ids, rejected_table(rejected, folder))
    return IdCounts(
        read=reader.read,
        distinct=len(reader.distinct) + carried,
        repeated=reader.repeated,
        rejected=reader.rejected,
        carried=carried,
    )


def _nothing_on_stdin() -> bool:
    stdin: BinaryIO = sys.stdin.buffer
    return stdin.isatty() or (os.fstat(stdin.fileno()).st_size == 0 and not stdin.peek(1))  # type: ignore[attr-defined]


def _not_listed(answered: Ints, reader: IdReader) -> Iterator[Ints]:
    """Answered before, but not in this reading. Keys of identifiers are listed by their positive half."""
    for one in slices(len(answered)):
        ids = np.asarray(answered[one])
        listed = reader.which_are_listed(np.abs(ids))
        yield ids[~listed]


def check_list(reader: IdReader, config: IdsConfig) -> None:
    """A list that was read to its end. Raises UsageError where it has no ID, or too many rows hold none."""
    where = ", ".join(config.paths)
    if not len(reader.distinct):
        raise UsageError(
            f"There is no customer ID in {where} ({reader.read:,} rows read, {reader.rejected:,} rejected).",
            "Check ids.paths and ids.column in the config.",
        )
    share = reader.rejected / reader.read
    if share > config.max_rejected_share and reader.read >= FEW_ROWS:
        raise UsageError(
            f"{reader.rejected:,} of {reader.read:,} rows in {where} hold no customer ID ({share:.1%}, allowed "
            f"{config.max_rejected_share:.1%}).",
            "Check ids.column, or raise ids.max_rejected_share.",
        )


def rejected_table(rejected: list[RejectedRow], folder: NightFolder) -> pa.Table:
    """The rejected CSV rows, typed."""
    schema = accounts_schema(accounts.REJECTED_IDS)
    rows = [(Path(one.file).name, one.line, one.reason, one.raw, folder.night) for one in rejected]
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def listed_ids(folder: NightFolder) -> Ints:
    """The night's distinct IDs in input order, mapped from their file."""
    if not folder.ids.stat().st_size:
        return np.empty(0, np.int64)
    with storage_errors("read", folder.ids), folder.ids.open("rb") as file:
        return np.frombuffer(map_file(file), np.int64)


def sorted_list(folder: NightFolder) -> Ints:
    """The night's distinct IDs, sorted."""
    listed = listed_ids(folder)
    return sorted_column((listed[one] for one in slices(len(listed))), scratch_in(folder.root))


def questions(customer_ids: Ints, folder: NightFolder) -> Iterator[Question]:
    """What to ask: the IDs as Python integers, a slice at a time; keys with the identifier they stand for."""
    from pipeline.fetch.client import Question  # with aiohttp, which a rebuild does without

    texts = identifiers_of(customer_ids, folder)
    for start in range(0, len(customer_ids), SLICE):
        part = slice(start, start + SLICE)
        yield from map(Question, customer_ids[part].tolist(), texts[part] if texts else repeat(""))
        let_go_of(customer_ids)


def identifiers_of(customer_ids: Ints, folder: NightFolder) -> list[str]:
    """The identifiers that these keys stand for, in their order; empty where the night asks by customer ID.

    A key that the night's list does not have (a dead night's) has none.
    """
    if not folder.identifiers.exists() or not folder.identifiers.stat().st_size:
        return []
    texts = folder.identifiers.read_text(encoding="utf-8").split("\n")[:-1]
    listed = listed_ids(folder)[: len(texts)]
    order = np.argsort(listed, kind="stable")
    at = np.minimum(np.searchsorted(listed, customer_ids, sorter=order), len(listed) - 1)
    found = order[at]
    known = (listed[found] == customer_ids).tolist()
    return [texts[place] if is_known else "" for place, is_known in zip(found.tolist(), known, strict=True)]


def askable(customer_ids: Ints, folder: NightFolder) -> Ints:
    """Those that can be asked for: all IDs, and the keys whose identifier is in the night's list."""
    if not len(customer_ids) or customer_ids.min() > 0:
        return customer_ids
    texts = identifiers_of(customer_ids, folder)
    found: Ints = customer_ids[np.array([bool(text) for text in texts], bool)]
    return found
