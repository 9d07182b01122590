"""Apache Iceberg, by pyiceberg: tables that a catalog knows, each commit one snapshot of the table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, parquet_file_to_data_file
from pyiceberg.manifest import DataFile as DataFileThere
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.snapshots import Snapshot
from requests import Session

from pipeline.config import CatalogConfig, OutputConfig, RestCatalogConfig
from pipeline.errors import ExportError, StorageError, TakenError, UnclearError
from pipeline.formats.base import SNAPSHOT, Opened, Run, Seen, clash, described
from pipeline.formats.durable import DurableFileIO
from pipeline.formats.files import DataFile, Shelf, shelf_at
from pipeline.formats.words import told
from pipeline.store.atomic import make_folder
from pipeline.store.snapshots import Snapshots

FOLDER = "iceberg"
CATALOG = "capillary"
CALL_TIMEOUT_S = 60.0
KEPT_METADATA_FILES = 20
_PROPERTIES = {
    "format-version": "2",
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: str(KEPT_METADATA_FILES),
}
_ANOTHER_WAS_FIRST = (CommitFailedException, ValidationException, TableAlreadyExistsError)


class IcebergTables:
    """See `Format`. The tables lie in `<export>/iceberg/<namespace>/<table>`, or where a REST catalog puts them."""

    name = "Iceberg"

    def __init__(self, output: OutputConfig, snapshots: Snapshots, scratch: Path) -> None:
        self._export, self._scratch = snapshots.place, scratch
        self._config = output.catalog
        self._root = f"{snapshots.url.rstrip('/')}/{FOLDER}"
        self._namespace = tuple((output.catalog.namespace if output.catalog else "capillary").split("."))
        self._opened: Catalog | None = None

    def check(self) -> str:
        """Ask the catalog for a table, be it there or not."""
        self.look("customers")
        return f"{self._uri()}, namespace {'.'.join(self._namespace)}"

    def look(self, table: str) -> Seen:
        """The newest snapshot of ours, and what came upon it since."""
        with _asking(f"look at the Iceberg table {table}"):
            try:
                found = self._catalog.load_table((*self._namespace, table))
            except (NoSuchTableError, NoSuchNamespaceError):
                return Seen(table, "", None, None, None)
            mine = _ours(found, found.current_snapshot())
        run, version = (_run_in(mine), mine.snapshot_id) if mine else (None, None)
        return Seen(table, found.location().rstrip("/"), run, version, found)

    def open(self, seen: Seen, schema: pa.Schema) -> Opened:
        """A transaction on the table, or one that makes it."""
        wanted = described(schema, "doc")
        with _asking(f"open the Iceberg table {seen.table}"):
            if seen.handle is not None:
                _refuse_clash(seen.table, seen.handle, wanted)
                transaction = _unrepeated(seen.handle)
            else:
                transaction = self._stage(seen.table, wanted)
            location = transaction.table_metadata.location.rstrip("/")
        return _IcebergTable(location, self._shelf(location), seen, wanted, transaction)

    def forget(self, table: str, kept: Collection[str], idle_since: datetime) -> None:
        """Snapshots of the table first, then what only they referred to."""
        with _asking(f"tidy the Iceberg table {table}"):
            found = self._catalog.load_table((*self._namespace, table))
            gone = [one.snapshot_id for one in found.snapshots() if not _is_kept(found, one, kept)]
            if gone:
                found.maintenance.expire_snapshots().by_ids(gone).commit()
            referred = _metadata_in_use(found.refresh())
        shelf = self._shelf(found.location())
        shelf.forget(kept)
        _sweep(shelf, referred, idle_since)

    @property
    def _catalog(self) -> Catalog:
        if self._opened is None:
            with _asking("open the Iceberg catalog"):
                if self._config is None:
                    make_folder(Path(self._root))
                name = getattr(self._config, "name", CATALOG)
                self._opened = load_catalog(name, **catalog_properties(self._config, self._root))
        return self._opened

    def _uri(self) -> str:
        """The catalog's address, as people may see it; a file of its own where none is configured."""
        if self._config is None:
            return f"sqlite:///{self._root}/catalog.db"
        return self._config.uri or "the database in output.catalog.uri_env"

    def _stage(self, table: str, schema: pa.Schema) -> Transaction:
        """The making of a table, to be committed with its first rows."""
        self._catalog.create_namespace_if_not_exists(self._namespace)
        location: str | None = _url(f"{self._root}/{'/'.join(self._namespace)}/{table}")
        if isinstance(self._config, RestCatalogConfig):
            top = self._config.location
            location = f"{top.rstrip('/')}/{table}" if top else None
        return self._catalog.create_table_transaction(
            (*self._namespace, table), schema, location=location, properties=_PROPERTIES
        )

    def _shelf(self, location: str) -> Shelf:
        return shelf_at(location, self._export, self._scratch)


@dataclass
class _IcebergTable:
    """See `Opened`."""

    location: str
    shelf: Shelf
    seen: Seen
    schema: pa.Schema
    transaction: Transaction

    def commit(self, files: Sequence[DataFile], run: Run) -> int:
        """One snapshot of the table: all files out, all files in."""
        with _asking(f"prepare the commit to the Iceberg table {self.seen.table}"):
            self._prepare(files, run)
        try:
            with _quiet():
                done = self.transaction.commit_transaction()
        except _ANOTHER_WAS_FIRST as exc:
            raise TakenError(f"The table {self.seen.table} was changed meanwhile: {told(exc)}.") from None
        except Exception as exc:
            raise UnclearError(f"The commit to the table {self.seen.table} failed: {told(exc)}.") from None
        snapshot = done.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def _prepare(self, files: Sequence[DataFile], run: Run) -> None:
        transaction = self.transaction
        if self.seen.handle is not None:
            with transaction.update_schema() as columns:
                columns.union_by_name(self.schema)
        names = transaction.table_metadata.schema().name_mapping.model_dump_json()
        if transaction.table_metadata.properties.get(TableProperties.DEFAULT_NAME_MAPPING) != names:
            transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: names})  # our files have no IDs
        with transaction.update_snapshot(snapshot_properties=run.told()).overwrite() as update:
            for old in self._files_there():
                update.delete_data_file(old)
            for file in files:
                path = f"{self.location}/{file.path}"
                update.append_data_file(
                    parquet_file_to_data_file(transaction._table.io, transaction.table_metadata, path)
                )

    def _files_there(self) -> Iterator[DataFileThere]:
        """Every data file of the table. A scan's plan would leave out those without rows."""
        table = self.seen.handle
        snapshot = table.current_snapshot() if table is not None else None
        for manifest in snapshot.manifests(table.io) if snapshot else ():
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                if entry.data_file.content is DataFileContent.DATA:
                    yield entry.data_file


# What pyiceberg is told


def catalog_properties(config: CatalogConfig | None, root: str) -> dict[str, str | None]:
    """The catalog's properties: what is configured, and the object store's address from the usual environment.

    Raises UsageError where a secret is missing.
    """
    found = _store_properties(os.environ)
    if "://" not in root:
        found["py-io-impl"] = f"{DurableFileIO.__module__}.{DurableFileIO.__name__}"
    if config is None:
        return {**found, "type": "sql", "uri": f"sqlite:///{root}/catalog.db", "warehouse": _url(root)}
    if isinstance(config, RestCatalogConfig):
        found["py-catalog-impl"] = f"{PatientRestCatalog.__module__}.{PatientRestCatalog.__name__}"
        found |= {"uri": config.uri, "oauth2-server-uri": f"{config.uri}/v1/oauth/tokens"}
        found |= {"warehouse": config.warehouse} if config.warehouse else {}
    else:
        found |= {"type": "sql", "warehouse": _url(root)}
    return {**found, **config.secret(os.environ), **config.properties}


def _store_properties(environ: Mapping[str, str]) -> dict[str, str]:
    """Keys and tokens are found by Arrow itself, in the same environment."""
    names = {
        "s3.endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "s3.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "s3.access-key-id": ("AWS_ACCESS_KEY_ID",),
        "s3.secret-access-key": ("AWS_SECRET_ACCESS_KEY",),
        "s3.session-token": ("AWS_SESSION_TOKEN",),
        "adls.account-name": ("AZURE_STORAGE_ACCOUNT_NAME",),
        "adls.account-key": ("AZURE_STORAGE_ACCOUNT_KEY",),
    }
    found = {
        key: next((environ[one] for one in given if environ.get(one)), "") for key, given in names.items()
    }
    return {"s3.connect-timeout": "5", "s3.request-timeout": "60", **{k: v for k, v in found.items() if v}}


class PatientRestCatalog(RestCatalog):
    """The library's calls have no time limit of their own: a catalog that hangs would hang the night."""

    def _create_session(self) -> Session:
        return _limited(super()._create_session())

    def _create_legacy_oauth2_auth_manager(self, session: Session) -> Any:
        """It asks for a token at once."""
        return super()._create_legacy_oauth2_auth_manager(_limited(session))


def _limited(session: Session) -> Session:
    """A session whose calls end after CALL_TIMEOUT_S."""
    send: Callable[..., Any] = session.send

    def send_within(request: Any, **options: Any) -> Any:
        return send(request, **{**options, "timeout": options.get("timeout") or CALL_TIMEOUT_S})

    session.send = send_within  # type: ignore[method-assign]
    return session


def _unrepeated(table: Table) -> Transaction:
    """A transaction that is committed upon what was seen, or not at all.

    The library would try again upon what another has committed since; here somebody looks first.
    """
    table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"  # of this object, not of the table
    return table.transaction()


def _url(path: str) -> str:
    return path if "://" in path else f"file://{path}"


# Reading a table's history


def _run_in(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(SNAPSHOT) if snapshot.summary else None


def _ours(table: Table, snapshot: Snapshot | None) -> Snapshot | None:
    """The nearest snapshot at or before this one that a run of ours made."""
    while snapshot is not None and _run_in(snapshot) is None:
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return snapshot


def _is_kept(table: Table, snapshot: Snapshot, kept: Collection[str]) -> bool:
    """Heads of branches and tags stay, whoever made them; so do the runs wanted, and what others made upon them."""
    if any(ref.snapshot_id == snapshot.snapshot_id for ref in table.metadata.refs.values()):
        return True
    mine = _ours(table, snapshot)
    return mine is not None and _run_in(mine) in kept


def _metadata_in_use(table: Table) -> set[str]:
    """The names of all manifest lists and manifests that a snapshot of the table refers to."""
    used = {_last_step(one.manifest_list) for one in table.snapshots()}
    for snapshot in table.snapshots():
        used |= {_last_step(one.manifest_path) for one in snapshot.manifests(table.io)}
    return used


def _sweep(shelf: Shelf, used: Collection[str], idle_since: datetime) -> None:
    """Remove manifests that nothing refers to: of versions let go, and of commits that never came."""
    for entry in shelf.place.entries(shelf.at("metadata")):
        if entry.path.endswith(".avro") and entry.path not in used and entry.written_at < idle_since:
            shelf.place.drop(shelf.at(f"metadata/{entry.path}"))


def _last_step(path: str) -> str:
    return path.rpartition("/")[2]


def _refuse_clash(table: str, there: Table, wanted: pa.Schema) -> None:
    """Raises ClashError where a column has another type than the table's."""
    known = {field.name: field.field_type for field in there.schema().fields}
    for field in _pyarrow_to_schema_without_ids(wanted, downcast_ns_timestamp_to_us=False).fields:
        if field.name in known and known[field.name] != field.field_type:
            raise clash(table, field.name, known[field.name], field.field_type)


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """The library's errors, and those of what is beneath it, as ours."""
    try:
        with _quiet():
            yield
    except ExportError:
        raise
    except Exception as exc:
        raise StorageError(
            f"Cannot {doing}: {told(exc)}.",
            "Nothing is lost: `run` brings the tables to the live snapshot when they can be reached.",
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Remarks that pyiceberg makes as warnings, for programmers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
