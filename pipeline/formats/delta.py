"""Delta Lake, by the library of the same name: a log of commits in each table's own folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from pipeline.config import allows_http
from pipeline.errors import StorageError, TakenError, UnclearError
from pipeline.formats.base import APPLICATION, SNAPSHOT, Opened, Run, Seen, clash, described
from pipeline.formats.files import DataFile, Shelf
from pipeline.formats.words import told
from pipeline.store.atomic import storage_errors, sync_file, sync_folder
from pipeline.store.snapshots import Snapshots

FOLDER = "delta"
HISTORY_READ = (1, 10, 100)
"""So many commits are looked through for the last one of ours; those after it are other engines'."""
_STATISTICS = (pa.types.is_integer, pa.types.is_date)
OPTIONS = {"timeout": "60s", "connect_timeout": "5s", "max_retries": "8", "retry_timeout": "60s"}


class DeltaTables:
    """See `Format`. The tables lie in `<export>/delta/<table>`."""

    name = "Delta Lake"

    def __init__(self, snapshots: Snapshots) -> None:
        self._export = snapshots.place
        self._root = f"{snapshots.url.rstrip('/')}/{FOLDER}"
        self._options = None
        if "://" in self._root:
            self._options = {**OPTIONS, **_store_options(os.environ)}

    def check(self) -> str:
        """The export itself is tried elsewhere; a table is looked at, be it there or not."""
        self.look("customers")
        return self._root

    def look(self, table: str) -> Seen:
        """The newest commit of ours, and what was done to the table since."""
        with _reading(table):
            try:
                found = DeltaTable(self._where(table), storage_options=self._options)
            except TableNotFoundError:
                return Seen(table, self._where(table), None, None, None)
            if found.transaction_version(APPLICATION) is None:
                return Seen(table, self._where(table), None, None, found)
            run, version = _newest_of_ours(found)
        return Seen(table, self._where(table), run, version, found)

    def open(self, seen: Seen, schema: pa.Schema) -> Opened:
        """The table, with the columns that it is going to have."""
        ours = Schema.from_arrow(described(schema, "comment"))
        if seen.handle is not None:
            with _reading(seen.table):
                ours = _both(seen.table, seen.handle.schema(), ours)
        location = self._where(seen.table)
        return _DeltaTable(location, self._shelf(seen.table), seen, ours, self._options)

    def forget(self, table: str, kept: Collection[str], idle_since: datetime) -> None:
        """Only data files: the log is Delta's own to shorten, which it does after 30 days."""
        self._shelf(table).forget(kept)

    def _where(self, table: str) -> str:
        return f"{self._root}/{table}"

    def _shelf(self, table: str) -> Shelf:
        return Shelf(self._export, f"{FOLDER}/{table}")


def _store_options(environ: Mapping[str, str]) -> dict[str, str]:
    """What the library does not find in the environment by itself."""
    found = {"allow_http": "true"} if allows_http(environ) else {}
    endpoint = environ.get("AWS_ENDPOINT_URL_S3")
    return {**found, **({"aws_endpoint_url": endpoint} if endpoint else {})}


def _newest_of_ours(table: DeltaTable) -> tuple[str | None, int | None]:
    for limit in HISTORY_READ:
        for commit in table.history(limit):
            if SNAPSHOT in commit:
                return commit[SNAPSHOT], commit["version"]
    return None, None


@dataclass
class _DeltaTable:
    """See `Opened`."""

    location: str
    shelf: Shelf
    seen: Seen
    schema: Schema
    options: dict[str, str] | None

    def commit(self, files: Sequence[DataFile], run: Run) -> int:
        """One commit, upon the version that was seen or not at all."""
        actions = [self._add(file, run) for file in files]
        properties = CommitProperties(
            custom_metadata={**run.told(), "userMetadata": json.dumps(run.told())},  # Spark shows the latter
            max_commit_retries=0,
            app_transactions=[Transaction(APPLICATION, run_number(run.snapshot))],
        )
        before = -1 if self.seen.handle is None else int(self.seen.handle.version())
        try:
            self._send(actions, properties)
        except CommitFailedError as exc:
            raise TakenError(f"The table {self.seen.table} was changed meanwhile: {told(exc)}.") from None
        except (DeltaError, OSError) as exc:
            raise UnclearError(f"The commit to the table {self.seen.table} failed: {told(exc)}.") from None
        self._sync(before + 1)
        return before + 1  # without retries it is that one or none

    def _send(self, actions: list[AddAction], properties: CommitProperties) -> None:
        hooks = PostCommitHookProperties(create_checkpoint=True)
        if self.seen.handle is None:
            create_table_with_add_actions(
                self.location,
                self.schema,
                actions,
                name=self.seen.table,
                storage_options=self.options,
                commit_properties=properties,
                post_commithook_properties=hooks,
            )
        else:
            self.seen.handle.create_write_transaction(
                actions,
                "overwrite",
                self.schema,
                commit_properties=properties,
                post_commithook_properties=hooks,
            )

    def _sync(self, version: int) -> None:
        """On a disk the library syncs nothing; in an object store a put is durable when it is answered."""
        if "://" not in self.location:
            log = Path(self.location) / "_delta_log"
            with storage_errors("sync", log):
                for path in log.glob(f"{version:020d}*"):
                    sync_file(path)
                sync_folder(log)
                sync_folder(log.parent)

    def _add(self, file: DataFile, run: Run) -> AddAction:
        stats = statistics(self.shelf.metadata_of(file.path))
        return AddAction(file.path, file.bytes, {}, made_at_ms(run.snapshot), True, json.dumps(stats))


def run_number(snapshot: str) -> int:
    """A snapshot's name as the whole number that Delta wants of an application: its digits, then its suffix."""
    stamp, _, suffix = snapshot.partition("Z")
    return int(re.sub(r"\D", "", stamp)) * 100 + int(re.sub(r"\D", "", suffix) or 0)


def made_at_ms(snapshot: str) -> int:
    """When a snapshot was made, by its name, in ms since 1970."""
    stamp = snapshot.partition("Z")[0]
    return int(datetime.strptime(f"{stamp}+0000", "%Y-%m-%dT%H%M%S%z").timestamp() * 1000)


def statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Rows, and each column's nulls, smallest and largest whole number or date, as Delta's log tells them."""
    schema = footer.schema.to_arrow_schema()
    nulls: dict[str, int] = {}
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    for number, field in enumerate(schema):
        chunks: list[Any] = [
            footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)
        ]
        if not chunks or any(one is None or not one.has_null_count for one in chunks):
            continue
        nulls[field.name] = sum(one.null_count for one in chunks)
        bounded = [one for one in chunks if one.has_min_max]
        if bounded and any(fits(field.type) for fits in _STATISTICS):
            smallest[field.name] = _plain(min(one.min for one in bounded))
            largest[field.name] = _plain(max(one.max for one in bounded))
    bounds = {"minValues": smallest, "maxValues": largest, "nullCount": nulls}
    return {"numRecords": footer.num_rows, **bounds}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _both(table: str, there: Schema, ours: Schema) -> Schema:
    """The table's columns, and those that the snapshot has besides. Raises ClashError."""
    known = {field.name: field for field in there.fields}
    for field in ours.fields:
        if field.name in known and known[field.name].type != field.type:
            raise clash(table, field.name, known[field.name].type, field.type)
    names = {field.name for field in ours.fields}
    return Schema([*ours.fields, *(field for field in there.fields if field.name not in names)])


@contextmanager
def _reading(table: str) -> Iterator[None]:
    try:
        yield
    except (DeltaError, OSError) as exc:
        raise StorageError(
            f"Cannot look at the Delta table {table}: {told(exc)}.",
            "Nothing is lost: `run` brings it to the live snapshot when it can be reached.",
        ) from None
