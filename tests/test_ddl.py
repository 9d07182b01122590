"""`ddl`: scripts that warehouses understand, and that two of them run here for real."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from pipeline.blocks import base
from pipeline.blocks.base import Kind, Table
from pipeline.blocks.dictionary import rows as dictionary_rows
from pipeline.blocks.fit import ARROW_TYPES
from pipeline.blocks.schema import columns_of
from pipeline.ddl import DIALECTS, EVERY_TABLE, job_for, script_for, script_of, snowflake
from pipeline.ddl.base import Job, Script, Step, Target, column_comment
from pipeline.ddl.rows import write_csv
from pipeline.ddl.source import find_source
from pipeline.ddl.words import RESERVED
from pipeline.errors import ExportError, StorageError, UsageError
from pipeline.night import Options, Screen, run_night
from pipeline.sandbox import SandboxConfig, known_ids
from tests import in_snowflake, snapshot
from tests.conftest import Home, running_sandbox
from tests.postgres import Postgres, running_postgres, server_programs
from tests.test_cli import command

EACH_DIALECT = pytest.mark.parametrize("dialect", DIALECTS)

EXPECTED = {
    "bigquery": "STRING INT64 BOOL NUMERIC TIMESTAMP DATETIME DATE STRING",
    "snowflake": "VARCHAR NUMBER(19,0) BOOLEAN NUMBER(38,9) TIMESTAMP_LTZ(6) TIMESTAMP_NTZ(6) DATE VARCHAR",
    "redshift": "VARCHAR(65535) BIGINT BOOLEAN DECIMAL(38,9) TIMESTAMPTZ TIMESTAMP DATE VARCHAR(65535)",
    "databricks": "STRING BIGINT BOOLEAN DECIMAL(38,9) TIMESTAMP TIMESTAMP_NTZ DATE STRING",
    "postgres": "TEXT BIGINT BOOLEAN NUMERIC(38,9) TIMESTAMPTZ TIMESTAMP DATE JSON",
    "duckdb": "VARCHAR BIGINT BOOLEAN DECIMAL(38,9) TIMESTAMPTZ TIMESTAMP DATE JSON",
}
"""The type of each kind, in the order of `Kind`."""

UNPARSED = {"databricks": "SET TIME ZONE", "postgres": "VACUUM (ANALYZE)"}
"""What sqlglot knows no grammar for, though the warehouse does."""

ODD = """It's "odd": 100 % of c:\\new\nlines, `marks`, -- dashes; ${x} & :y"""
ODD_TABLE = Table(
    name="odd",
    meaning=ODD,
    rows=("",),
    key=("customer_id", "ordinal"),
    columns=(
        base.ordinal(),
        base.text("partition", "p", ODD),
        base.decimal("raw", "r", ODD, "c'"),
        base.date("list", "l", ODD),
    ),
)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A published night of 200 customers with every block."""
    with running_sandbox(SandboxConfig(customers=200)) as sandbox:
        home = Home(tmp_path_factory.mktemp("it's a ddl"), sandbox.url)
        home.write_ids([*known_ids(200), "nobody"])
        run_night(home.config(ids__max_rejected_share=0.5), Options(), Screen())
        yield home.export


def parsed(script: Script, dialect: str) -> list[exp.Expr]:
    """The script's statements, each parsed by itself; psql's own commands left out."""
    kept = [one for one in script.statements if not one.startswith(("\\", UNPARSED.get(dialect, "\\")))]
    found = [sqlglot.parse(one, dialect=dialect) for one in kept]
    assert all(len(one) == 1 for one in found)
    return [one[0] for one in found if one[0] is not None]


@cache
def parsed_blank(dialect: str) -> list[exp.Expr]:
    """The script without a snapshot."""
    return parsed(script_for(dialect), dialect)


def created(dialect: str) -> dict[str, exp.Create]:
    """Every table of a dialect by name; those that are only there to load are left out."""
    tables = [one for one in parsed_blank(dialect) if isinstance(one, exp.Create) and one.kind == "TABLE"]
    named = {next(one.find_all(exp.Table)).name: one for one in tables}
    return {name: one for name, one in named.items() if not name.endswith("__loading")}


# Every dialect


@EACH_DIALECT
def test_every_statement_parses(export: Path, dialect: str) -> None:
    """sqlglot understands each statement, with a snapshot and with placeholders."""
    for found in (parsed(script_for(dialect, str(export)), dialect), parsed_blank(dialect)):
        assert len(found) > 2 * len(EVERY_TABLE)
        assert not [one.sql() for one in found if isinstance(one, exp.Command)]
    assert "YOUR_" in "".join(script_for(dialect).statements)


@EACH_DIALECT
def test_every_column_has_its_type(dialect: str) -> None:
    """Each table, each column, in the files' order, with the dialect's type for it."""
    types = dict(
        zip(Kind, (exp.DataType.build(one, dialect) for one in EXPECTED[dialect].split()), strict=True)
    )
    found = created(dialect)
    assert list(found) == list(dict.fromkeys(row["table"] for row in dictionary_rows()))
    for table in EVERY_TABLE:
        declared = columns_of(table) if table.rows else list(table.columns)
        columns = list(found[table.name].find_all(exp.ColumnDef))
        names = [(one.name.lower(), one.kind) for one in columns]
        assert names == [(column.name, types[column.kind]) for column in declared], table.name


def test_every_kind_of_column_has_an_arrow_type_and_each_dialects() -> None:
    """A kind that is new in the declarations is missed here before it is missed in a warehouse."""
    for dialect in DIALECTS.values():
        assert set(dialect.types) == set(Kind) == set(ARROW_TYPES)


@EACH_DIALECT
def test_what_is_never_null_is_declared_so(dialect: str) -> None:
    """The customer and the night everywhere; the columns of a primary key as well."""
    found = created(dialect)
    must = {
        one.name.lower()
        for one in found["profiles"].find_all(exp.ColumnDef)
        if one.find(exp.NotNullColumnConstraint)
    }
    assert must == {"customer_id", "ordinal", "_night"}
    keys = {name for name, one in found.items() if one.find(exp.PrimaryKey)}
    assert ("profiles" in keys) is (dialect != "duckdb")
    assert not keys & {"tier_trackers", "outcomes", "rejects", "rejected_ids"}


@EACH_DIALECT
def test_comments_survive_whatever_stands_in_them(dialect: str) -> None:
    """Quote marks, percent signs, backslashes and newlines come back as they were; reserved names are quoted."""
    script = Script((), tuple(DIALECTS[dialect].steps(odd_job())))
    found = parsed(script, dialect)
    texts = {one.this for each in found for one in each.find_all(exp.Literal) if one.is_string}
    texts |= {
        str(one.this.this) for each in found for one in each.find_all(exp.CommentColumnConstraint) if one.this
    }
    wanted = {f"{ODD} Key: customer_id, ordinal.", ODD, f"{ODD} [c']"}
    assert wanted <= texts
    names = {one.name.lower(): one.args["quoted"] for each in found for one in each.find_all(exp.Identifier)}
    assert names["partition"] and names["raw"] and not names["customer_id"]


def odd_job() -> Job:
    """A table whose names and comments are as hard to write as they can be."""
    return Job("capillary", (Target(ODD_TABLE, tuple(columns_of(ODD_TABLE))),))


@EACH_DIALECT
def test_all_tables_are_replaced_between_begin_and_commit(export: Path, dialect: str) -> None:
    """Nothing that readers see changes before everything is loaded and counted."""
    statements = script_for(dialect, str(export)).statements
    if dialect == "databricks":
        replaced = [number for number, one in enumerate(statements) if one.startswith("INSERT OVERWRITE")]
        assert replaced == list(range(replaced[0], replaced[0] + len(EVERY_TABLE)))
        return
    begin = next(number for number, one in enumerate(statements) if one.startswith("BEGIN"))
    commit = next(number for number, one in enumerate(statements) if one.startswith("COMMIT"))
    live = ("DELETE FROM capillary.", "TRUNCATE TABLE capillary.", "CREATE OR REPLACE TABLE capillary.")
    changing = [number for number, one in enumerate(statements) if one.startswith(live)]
    assert len(changing) == len(EVERY_TABLE)
    assert begin < min(changing) and max(changing) < commit


@EACH_DIALECT
def test_the_manifests_counts_are_checked(export: Path, dialect: str) -> None:
    """A load that brings other counts than the manifest's ends in an error."""
    rows = snapshot.manifest(export)["tables"]["profiles"]["rows"]
    checks = [
        one
        for one in script_for(dialect, str(export)).statements
        if f"= {rows}" in one and "ount(" in one.lower()
    ]
    assert checks


@EACH_DIALECT
def test_each_dialect_has_its_five_minutes(dialect: str) -> None:
    """The page about warehouses tells how to run it."""
    page = (Path(__file__).parent.parent / "docs" / "warehouses.md").read_text()
    assert f"capillary-export ddl --dialect {dialect} --snapshot" in page


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake"])
def test_the_readme_shows_the_way_into_the_large_two(export: Path, dialect: str) -> None:
    """What its query asks for is in a table that its load command makes."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    told = re.search(
        rf"capillary-export ddl --dialect {dialect} --snapshot \S+ --schema (\S+) > load.sql", readme
    )
    assert told
    queries = re.findall(r"'\n  (SELECT [^']*)'", readme)
    query = next(one for one in queries if f"{told[1]}.loyalty_programs" in one)
    columns = {one.name for one in sqlglot.parse_one(query, read=dialect).find_all(exp.Column)}
    script = script_for(dialect, str(export), ["loyalty_programs"], told[1])
    made = next(one for one in script.statements if one.startswith("CREATE TABLE"))
    assert columns - {"customers"} == {"current_slab", "loyalty_points"}
    assert all(f"{one} " in made for one in columns - {"customers"})


def test_tables_and_schema_are_as_asked_for(export: Path) -> None:
    """Some tables, in the order of the dictionary, where they are wanted."""
    script = script_for("bigquery", str(export), ["warnings", "customers"], "my-project.crm")
    made = [one for one in script.statements if one.startswith("CREATE TABLE")]
    assert [one.split()[5] for one in made] == [
        f"`my-project`.crm.{name}" for name in ("customers", "warnings")
    ]


# Which snapshot


def test_a_snapshot_is_found_by_folder_manifest_export_or_pointer(export: Path) -> None:
    """All four mean the same files."""
    folder = snapshot.manifest(export)["folder"]
    ways = [
        export,
        export / "current.json",
        folder,
        folder / "manifest.json",
        f"file://{export}",
        f"{export}/",
    ]
    assert len({script_for("duckdb", str(way)).text() for way in ways}) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ({"dialect": "oracle"}, 2, "Dialects: bigquery"),
        ({"dialect": "duckdb", "tables": ["nobody"]}, 2, "There is no table nobody"),
        ({"dialect": "duckdb", "schema": "a'b"}, 2, "is no schema name"),
        ({"dialect": "postgres", "schema": "a.b"}, 2, "without a dot"),
        ({"dialect": "duckdb", "snapshot": "nowhere"}, 2, "There is no snapshot at nowhere"),
        ({"dialect": "duckdb", "snapshot": __file__}, 2, "is a file, and no manifest.json"),
        ({"dialect": "duckdb", "snapshot": "no\nwhere"}, 2, "cannot be printed"),
        ({"dialect": "duckdb", "snapshot": "ftp://host/x"}, 7, "Cannot open ftp://host/x"),
    ],
)
def test_mistakes_are_told(words: dict[str, Any], code: int, said: str) -> None:
    """In plain words, with what to do and the exit code."""
    with pytest.raises(ExportError) as caught:
        script_for(**words)
    assert caught.value.exit_code == code
    assert said in str(caught.value)
    assert caught.value.hint


def test_the_command_prints_the_script_alone(export: Path) -> None:
    """stdout can go straight into a warehouse's client."""
    done = command("ddl", "--dialect", "duckdb", "--snapshot", export, "--tables", "customers,cards")
    assert done.returncode == 0, done.stderr
    assert done.stdout == script_for("duckdb", str(export), ["customers", "cards"]).text()


def test_a_damaged_pointer_or_manifest_is_storage_trouble(export: Path, tmp_path: Path) -> None:
    """What cannot be read is told apart from what is not there."""
    (tmp_path / "current.json").write_text("{")
    with pytest.raises(StorageError, match="pointer"):
        find_source(str(tmp_path))
    shutil.copy(export / "current.json", tmp_path)
    with pytest.raises(StorageError, match="not there"):
        find_source(str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="manifest"):
        find_source(str(tmp_path))


def test_a_snapshot_without_a_table_is_loaded_without_it(export: Path) -> None:
    """`output.tables` may have left it out; asked for by name, it is missed."""
    source = find_source(str(export))
    some = {name: about for name, about in source.manifest.tables.items() if name != "cards"}
    source = replace(source, manifest=source.manifest.model_copy(update={"tables": some}))
    assert "cards" not in {target.name for target in job_for(source).targets}
    with pytest.raises(UsageError, match="has no table cards"):
        job_for(source, [table for table in EVERY_TABLE if table.name == "cards"])


def test_offsets_are_loaded_where_the_snapshot_has_them(home: Home) -> None:
    """`output.keep_offsets` adds columns; columns that nobody declares are told."""
    run_night(home.config(output__keep_offsets=True), Options(limit=5), Screen())
    script = script_for("duckdb", str(home.export), ["profiles"])
    assert "create_date_offset VARCHAR" in script.text()
    source = find_source(str(home.export))
    source.manifest.tables["profiles"].schema_fingerprint = "another"
    with pytest.raises(UsageError, match=r"other columns .* Use version"):
        job_for(source)


@pytest.mark.parametrize(
    ("dialect", "base", "written"),
    [
        ("bigquery", "gs://bucket/e", "'gs://bucket/e/customers/part-00000.parquet'"),
        ("bigquery", "s3://bucket/e", "'gs://YOUR_BUCKET/capillary/"),
        ("snowflake", "s3://bucket/e", "URL = 's3://bucket/e/'"),
        ("snowflake", "gs://bucket/e", "URL = 'gcs://bucket/e/'"),
        ("snowflake", "az://box/e", "URL = 'azure://YOUR_ACCOUNT.blob.core.windows.net/box/e/'"),
        (
            "snowflake",
            "abfss://box@me.dfs.core.windows.net/e",
            "URL = 'azure://me.blob.core.windows.net/box/e/'",
        ),
        ("redshift", "s3://bucket/e", "FROM 's3://bucket/e/customers/part-'"),
        ("redshift", "gs://bucket/e", "FROM 's3://YOUR_BUCKET/capillary/"),
        ("databricks", "s3://bucket/e", "FROM 's3://bucket/e/customers/'"),
        ("databricks", "az://box/e", "FROM 'abfss://box@YOUR_ACCOUNT.dfs.core.windows.net/e/customers/'"),
        ("postgres", "s3://bucket/e", "capillary-export csv customers --snapshot s3://bucket/e'"),
        ("duckdb", "az://box/e", "'az://box/e/customers/part-00000.parquet'"),
    ],
)
def test_urls_are_written_as_the_warehouse_spells_them(
    export: Path, dialect: str, base: str, written: str
) -> None:
    """Where it cannot read them, a place to fill in and copy the snapshot to."""
    job = job_for(replace(find_source(str(export)), base=base), EVERY_TABLE[:1])
    assert written in script_of(dialect, job).text()


def test_a_bucket_is_read_as_a_folder_is(home: Home, lake: str) -> None:
    """The pointer is followed, the script names the bucket's files, and `csv` brings their rows."""
    home.write_ids(known_ids(5))
    run_night(home.config(output__url=lake), Options(), Screen())
    source = find_source(lake)
    assert source == find_source(f"{source.base}/manifest.json")
    assert f"FROM '{lake}/snapshots/{source.name}/customers/part-'" in script_for("redshift", lake).text()
    out = io.BytesIO()
    write_csv(source, "customers", out)
    assert len(out.getvalue().splitlines()) == source.manifest.tables["customers"].rows > 0
    with pytest.raises(UsageError, match="no snapshot"):
        find_source(f"{lake}/elsewhere")


# A table as CSV


def test_csv_keeps_null_apart_from_an_empty_text(tmp_path: Path, export: Path) -> None:
    """Null is nothing, an empty text is two quote marks; U+0000, which PostgreSQL lacks, becomes U+FFFD."""
    source = find_source(str(export))
    (file,) = source.manifest.tables["warnings"].files
    values: dict[str, list[Any]] = {
        "a": [None, "", 'say "x"', "a\0b\nc"],
        "b": [None, Decimal("0E-9"), Decimal("1.5"), Decimal("-2")],
    }
    (tmp_path / "warnings").mkdir()
    pq.write_table(
        pa.table(values, pa.schema([pa.field("a", pa.string()), pa.field("b", ARROW_TYPES[Kind.DECIMAL])])),
        tmp_path / file.path,
    )
    out = io.BytesIO()
    write_csv(replace(source, base=str(tmp_path)), "warnings", out, header=True)
    assert out.getvalue().decode() == (
        '"a","b"\n,\n"",0E-9\n"say ""x""",1.500000000\n"a\ufffdb\nc",-2.000000000\n'
    )


def test_csv_of_a_missing_table_or_a_damaged_file_is_told(tmp_path: Path, export: Path) -> None:
    """Wrong use and storage trouble, each with its remedy."""
    source = find_source(str(export))
    with pytest.raises(UsageError, match="has no table nobody"):
        write_csv(source, "nobody", io.BytesIO())
    with pytest.raises(StorageError, match=r"part-00000\.parquet"):
        write_csv(replace(source, base=str(tmp_path)), "customers", io.BytesIO())


# Live: the same sums as in the Parquet files

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WEIGHTS = {
    "duckdb": {
        Kind.TEXT: "length({})",
        Kind.JSON: "length({}::VARCHAR)",
        Kind.BOOL: "{}::INT",
        Kind.DATE: "datediff('day', DATE '1970-01-01', {})",
        Kind.INSTANT: "epoch_us({})",
        Kind.LOCAL: "epoch_us({})",
    },
    "postgres": {
        Kind.TEXT: "length({})",
        Kind.JSON: "length({}::text)",
        Kind.BOOL: "{}::int",
        Kind.DATE: "{} - date '1970-01-01'",
        Kind.INSTANT: "(extract(epoch from {}) * 1000000)::numeric(38, 0)",
        Kind.LOCAL: "(extract(epoch from {}) * 1000000)::numeric(38, 0)",
    },
}
"""A number for each value, so that a sum tells whether all of them arrived as they were."""


def weight(value: Any) -> Decimal:
    """The same number, from the Parquet file's value."""
    if isinstance(value, datetime):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
        return Decimal(since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds)
    if isinstance(value, date):
        return Decimal((value - EPOCH.date()).days)
    return Decimal(len(value) if isinstance(value, str) else value)


def sums_of_files(export: Path, table: Table) -> list[Decimal]:
    """The number of rows; then of each column how many values it has, and their sum."""
    found = snapshot.table(export, table.name)
    sums = [Decimal(found.num_rows)]
    for values in found.to_pydict().values():
        there = [weight(value) for value in values if value is not None]
        sums += [Decimal(len(there)), sum(there, Decimal(0))]
    return sums


def sums_query(dialect: str, target: Target, schema: str = "capillary") -> str:
    """The same numbers, asked of a warehouse."""
    sums = ["count(*)"]
    for column in target.columns:
        weighed = WEIGHTS[dialect].get(column.kind, "{}").format(f'"{column.name}"')
        sums += [f'count("{column.name}")', f"coalesce(sum({weighed}), 0)"]
    return f"SELECT {', '.join(sums)} FROM {schema}.{target.name}"


def in_duckdb(connection: duckdb.DuckDBPyConnection, target: Target) -> list[Decimal]:
    row = connection.execute(sums_query("duckdb", target)).fetchone()
    assert row is not None
    return [Decimal(value) for value in row]


def test_duckdb_loads_every_table_exactly(export: Path) -> None:
    """The script as it is printed; twice, which replaces and does not add. Comments are there."""
    job = job_for(find_source(str(export)))
    connection = duckdb.connect()
    for _ in range(2):
        connection.execute(script_of("duckdb", job).text())
    for target in job.targets:
        assert in_duckdb(connection, target) == sums_of_files(export, target.table), target.name
    said = connection.execute(
        "SELECT comment FROM duckdb_columns() WHERE schema_name = 'capillary'"
    ).fetchall()
    wanted = [column_comment(column) for target in job.targets for column in target.columns]
    assert sorted(one for (one,) in said) == sorted(wanted)
    assert any('"' in one for one in wanted) and any("'" in one for one in wanted)


def test_duckdb_keeps_the_old_tables_when_a_count_is_wrong(export: Path) -> None:
    """A snapshot whose files are not what its manifest says replaces nothing."""
    job = job_for(find_source(str(export)), EVERY_TABLE[:2])
    connection = duckdb.connect()
    connection.execute(script_of("duckdb", job).text())
    short = replace(job, targets=(job.targets[0], replace(job.targets[1], rows=1)))
    with pytest.raises(duckdb.Error, match="profiles has not the 1 rows"):
        connection.execute(script_of("duckdb", short).text())
    connection.execute("ROLLBACK")
    assert in_duckdb(connection, job.targets[0])[0] == job.targets[0].rows


def test_duckdb_takes_odd_comments_and_its_reserved_words_are_quoted() -> None:
    """Whatever stands in a comment arrives; no keyword of DuckDB is missing in our list."""
    connection = duckdb.connect()
    begin, odd, *_ = DIALECTS["duckdb"].steps(odd_job())
    connection.execute(Script((), (begin, replace(odd, statements=odd.statements[:-1]))).text())
    assert (f"{ODD} [c']",) in connection.execute("SELECT comment FROM duckdb_columns()").fetchall()
    reserved = connection.execute(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    )
    assert {one for (one,) in reserved.fetchall()} <= RESERVED


@pytest.mark.long
def test_snowflakes_emulator_loads_every_table_exactly(export: Path, tmp_path: Path) -> None:
    """fakesnow runs the script, twice, which replaces and does not add; every row of every table is as in the files."""
    python = Path(__file__).with_name(".warehouses") / "bin" / "python"
    if not python.exists():
        pytest.skip("no Snowflake to load into: `make warehouses` installs an emulator")
    plain = tmp_path / "export"  # the emulator takes no apostrophe in a stage's URL
    plain.symlink_to(export)
    source = find_source(str(plain))
    job = job_for(source, schema=f"{in_snowflake.DATABASE}.CAPILLARY")
    tables = {
        snowflake._qualified(job.schema, target.name): [snowflake._name(one.name) for one in target.columns]
        for target in job.targets
    }
    asked = {"statements": script_of("snowflake", job).statements, "folder": source.base, "tables": tables}
    words = [python, Path(in_snowflake.__file__)]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout)
    for target, name in zip(job.targets, tables, strict=True):
        rows = snapshot.rows(export, target.name)
        files = [[in_snowflake.told(row[column.name]) for column in target.columns] for row in rows]
        assert by_text(loaded[name]) == by_text(files), target.name


def by_text(rows: list[list[str | None]]) -> list[list[str | None]]:
    """In an order that does not depend on how nulls are sorted."""
    return sorted(rows, key=str)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL of our own."""
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server and psql on this machine (Debian: apt-get install postgresql)")
    with running_postgres(programs) as postgres:
        yield postgres


def in_postgres(
    server: Postgres, targets: Sequence[Target], schema: str = "capillary"
) -> dict[str, list[Decimal]]:
    """The sums of each table."""
    rows = server.rows(";\n".join(sums_query("postgres", target, schema) for target in targets))
    return {one.name: [*map(Decimal, row)] for one, row in zip(targets, rows, strict=True)}


def in_files(export: Path, targets: Sequence[Target]) -> dict[str, list[Decimal]]:
    return {target.name: sums_of_files(export, target.table) for target in targets}


def run(server: Postgres, script: str) -> tuple[int, str]:
    """What psql ends with and says."""
    done = server.psql("--file", "-", stdin=script.encode())
    return done.returncode, done.stderr.decode()


def test_postgres_loads_every_table_exactly(export: Path, server: Postgres, tmp_path: Path) -> None:
    """The script's tables, comments and indexes; each table's rows as `csv` writes them."""
    source = find_source(str(export))
    job = job_for(source, schema="every_table")
    tables, _, vacuum = DIALECTS["postgres"].steps(job)
    copies = []
    for target in job.targets:
        with (tmp_path / target.name).open("wb") as out:
            write_csv(source, target.name, out)
        copies.append(f"\\copy every_table.{target.name} FROM '{tmp_path / target.name}' WITH (FORMAT csv)")
    script = Script((), (tables, Step("Rows", tuple(copies)), vacuum))
    assert run(server, script.text()) == (0, "")
    assert in_postgres(server, job.targets, "every_table") == in_files(export, job.targets)
    said = server.rows(
        "SELECT count(*) FROM pg_description JOIN pg_class ON pg_class.oid = objoid"
        " WHERE relnamespace = 'every_table'::regnamespace"
    )
    assert said == [[str(sum(1 + len(target.columns) for target in job.targets))]]


def test_postgres_runs_the_script_as_it_is_printed(export: Path, server: Postgres) -> None:
    """psql pulls the rows out of `capillary-export csv`; again, which replaces and does not add.

    A count that is not the manifest's, or a reader that fails, replaces nothing.
    """
    wanted = [
        table for table in EVERY_TABLE if table.name in ("segments", "loyalty_programs", "rejected_ids")
    ]
    job = job_for(find_source(str(export)), wanted)
    assert run(server, script_of("postgres", job).text()) == (0, "")
    assert in_postgres(server, job.targets) == in_files(export, job.targets)
    one = replace(job, targets=job.targets[:1])
    assert run(server, script_of("postgres", one).text()) == (0, "")
    short = replace(one, targets=(replace(one.targets[0], rows=1),))
    code, said = run(server, script_of("postgres", short).text())
    assert (code, "division by zero" in said) == (3, True)
    code, said = run(server, script_of("postgres", one).text().replace("--snapshot ", "--snapshot /nowhere"))
    assert (code, "There is no snapshot" in said) == (3, True)
    assert in_postgres(server, job.targets) == in_files(export, job.targets)


def test_postgres_takes_odd_comments_and_its_reserved_words_are_quoted(server: Postgres) -> None:
    """Whatever stands in a comment arrives; no keyword of PostgreSQL is missing in our list."""
    tables, *_ = DIALECTS["postgres"].steps(odd_job())
    assert server.psql("--file", "-", stdin=Script((), (tables,)).text().encode()).returncode == 0
    said = server.rows("SELECT replace(col_description('capillary.odd'::regclass, 3), E'\\n', '<newline>')")
    assert said == [[ODD.replace("\n", "<newline>")]]
    words = server.rows("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")
    assert {one for (one,) in words} <= RESERVED
