"""The words the user types: parse, call one function, print, exit."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from pipeline import __version__, publish
from pipeline.blocks import TABLES
from pipeline.blocks.dictionary import rows as dictionary_rows
from pipeline.config import Config, load_config, parse_assignment, parse_clock_time
from pipeline.errors import Exit, ExportError, StoppedError, UsageError
from pipeline.night import Options, Result, plan_night, publish_night, rebuild_night, run_night
from pipeline.plan import Plan
from pipeline.report import write_report
from pipeline.screen import screen_for
from pipeline.store.history import History
from pipeline.store.snapshots import Manifest, Snapshots, open_snapshots
from pipeline.store.workspace import NightFolder, Workspace

EPILOG = "Exit codes: 0 published or done · 1 a bug · 2 wrong use or config · 3 stopped, `run` goes on · 4 held · 5 refused by the API · 6 another run is under way · 7 storage trouble"  # noqa: E501

app = typer.Typer(
    help="Every night, every customer's details out of Capillary's API, into typed Parquet tables.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

WrongUse: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What a mistyped command raises: click's own class, or, from typer 0.29 on, that of the click inside typer."""

UNDER_WAY = ("started", "fetching")
"""States that a night is left in only by a death."""

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key.")
]
NightOption = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Which night; default tonight.")]
NightWanted = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Which night.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; every mistake of the user's or the world's becomes a message and an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        ended = app(
            [word for word in words if word != "--debug"], prog_name="capillary-export", standalone_mode=False
        )
        return int(ended or 0)
    except typer.Exit as exc:
        return exc.exit_code
    except WrongUse as exc:
        exc.show()
        return int(Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _told(StoppedError("Stopped.", "Nothing is lost: `run` goes on where it stopped."), debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except Exception as exc:
        return _told(exc, debug)


def _stop(number: int, _frame: object) -> None:
    """A signal outside the fetch, which has its own way of ending in peace."""
    raise StoppedError(
        f"Stopped by {signal.Signals(number).name}.", "Nothing is lost: `run` goes on where it stopped."
    )


def _told(exc: BaseException, debug: bool) -> int:
    """Say what went wrong on stderr."""
    if debug:
        traceback.print_exception(exc)
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    if isinstance(exc, ExportError):
        sys.stderr.write(f"capillary-export: {exc.message}\n{exc.hint}{exc.hint and chr(10)}")
        return int(exc.exit_code)
    sys.stderr.write(
        f"capillary-export: a bug: {type(exc).__name__}: {exc}\nPlease report it; --debug shows where.\n"
    )
    return int(Exit.BUG)


@app.command(epilog="Example: capillary-export run nightly.yaml --limit 100")
def run(
    config: ConfigPath,
    ids: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="CSVs of IDs, instead of ids.paths.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="URL", help="Instead of output.url.")] = None,
    night: NightOption = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Ask for so many IDs at the most.")] = None,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Instead of window.until.")] = None,
    set_: SetOption = None,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="Make the snapshot, don't point at it.")
    ] = False,
    as_json: JsonFlag = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """Tonight's export: starts it, or goes on where it stopped."""
    settings = _load(config, set_, ids, out)
    options = Options(
        night=_date(night),
        limit=limit,
        until=parse_clock_time(until) if until else None,
        no_publish=no_publish,
    )
    result = run_night(settings, options, screen_for(quiet=quiet))
    _show(result_json(result), _result_text(result), as_json)
    return _exit_code(result)


@app.command(epilog="Example: capillary-export plan nightly.yaml")
def plan(
    config: ConfigPath,
    night: NightOption = None,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Instead of window.until.")] = None,
    set_: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """What tonight can cover, and when it ends; calls nothing."""
    options = Options(night=_date(night), until=parse_clock_time(until) if until else None)
    found = plan_night(_load(config, set_), options)
    as_given = {**asdict(found), "deferred": found.deferred}
    _show({name: _plain(value) for name, value in as_given.items()}, plan_text(found), as_json)
    return 0


@app.command(epilog="Example: capillary-export status nightly.yaml --json")
def status(config: ConfigPath, set_: SetOption = None, as_json: JsonFlag = False) -> int:
    """Tonight and the last nights, the live snapshot."""
    settings = _load(config, set_)
    found = _status(settings)
    rows = [
        (
            one["night"],
            one["state"],
            f"{one['ids']['distinct']:,}",
            one["snapshot"] or "–",
            one["reason"] or "",
        )
        for one in found["nights"]
    ]
    grid = _grid(("night", "state", "IDs", "snapshot", "reason"), rows)
    _show(found, [*_status_lines(found), grid], as_json)
    return 0


@app.command(epilog="Example: capillary-export report nightly.yaml --night 2026-11-22")
def report(config: ConfigPath, night: NightOption = None, set_: SetOption = None) -> int:
    """Make the morning page again; prints where it lies."""
    settings = _load(config, set_)
    snapshots = open_snapshots(settings)
    manifest = _manifest_of(settings, snapshots, _date(night))
    live = snapshots.current()
    is_live = live is not None and live.snapshot >= manifest.snapshot
    _print(write_report(manifest, snapshots, published=is_live))
    return 0


@app.command(epilog="Example: capillary-export rebuild nightly.yaml --night 2026-11-22")
def rebuild(
    config: ConfigPath,
    night: NightWanted,
    tables: Annotated[str | None, typer.Option(metavar="a,b", help="Only these tables; default all.")] = None,
    set_: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Tables again from the journal, no API call."""
    only = frozenset(tables.split(",")) if tables else None
    if unknown := sorted((only or frozenset()) - {table.name for table in TABLES}):
        raise UsageError(f"There is no table {unknown[0]}.", "`capillary-export tables` lists them.")
    result = rebuild_night(_load(config, set_), Options(night=_date(night), only=only), screen_for())
    _show(result_json(result), _result_text(result), as_json)
    return _exit_code(result)


@app.command(
    "publish",
    epilog="Example: capillary-export publish nightly.yaml --night 2026-11-22 --force --reason 'new tier'",
)
def publish_(
    config: ConfigPath,
    night: NightWanted,
    force: Annotated[bool, typer.Option("--force", help="Although a check failed.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept in current.json.")] = None,
    set_: SetOption = None,
) -> int:
    """Publish a night's held snapshot."""
    if force and not reason:
        raise UsageError("publish --force needs --reason TEXT.")
    wanted = _date(night)
    assert wanted is not None
    manifest = publish_night(_load(config, set_), wanted, reason if force else None, datetime.now(UTC))
    _print(f"{manifest.snapshot} is live.")
    return 0


@app.command(epilog="Example: capillary-export rollback nightly.yaml")
def rollback(
    config: ConfigPath,
    to: Annotated[
        str | None, typer.Option(metavar="SNAPSHOT", help="Default: the one before the live one.")
    ] = None,
    set_: SetOption = None,
) -> int:
    """Point at an older snapshot."""
    settings = _load(config, set_)
    with Workspace(settings.work.path).lock():
        pointer = publish.roll_back(open_snapshots(settings), to, datetime.now(UTC))
        History(settings.work.path).withdraw(after=pointer.snapshot)
    _print(f"{pointer.snapshot} is live.")
    return 0


@app.command(epilog="Example: capillary-export tables loyalty_programs")
def tables(
    table: Annotated[str | None, typer.Argument(help="One table; default all.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """The data dictionary."""
    found = [row for row in dictionary_rows() if table in (None, row["table"])]
    if not found:
        known = ", ".join(dict.fromkeys(row["table"] for row in dictionary_rows()))
        raise UsageError(f"There is no table {table}.", f"Tables: {known}.")
    shown = [
        (
            row["table"],
            f"{row['column']}{' *' if row['key'] else ''}",
            row["type"],
            "" if row["nullable"] else "not null",
            row["path"],
            f"{row['meaning']} [{row['unit']}]" if row["unit"] else row["meaning"],
        )
        for row in found
    ]
    grid = _grid(("table", "column (* key)", "type", "", "JSON path", "meaning [unit]"), shown)
    _show({"columns": found}, grid, as_json)
    return 0


@app.command(
    epilog="Example: capillary-export ddl --dialect duckdb --snapshot demo-export | duckdb analytics.duckdb"
)
def ddl(
    dialect: Annotated[
        str, typer.Option(metavar="D", help="bigquery, snowflake, redshift, databricks, postgres or duckdb.")
    ],
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A snapshot's folder or manifest.json, or the export folder."),
    ] = None,
    tables: Annotated[str | None, typer.Option(metavar="a,b", help="Only these tables; default all.")] = None,
    schema: Annotated[str, typer.Option(metavar="NAME", help="Where the tables go.")] = "capillary",
) -> int:
    """A script for a warehouse: CREATE TABLE, and the load of a snapshot."""
    from pipeline.ddl import script_for

    wanted = [name.strip() for name in tables.split(",")] if tables else None
    sys.stdout.write(script_for(dialect, snapshot, wanted, schema).text())
    return 0


@app.command(epilog="Example: capillary-export csv loyalty_programs --snapshot demo-export --header")
def csv(
    table: Annotated[str, typer.Argument(help="The table.")],
    snapshot: Annotated[
        str, typer.Option(metavar="URL", help="A snapshot's folder or manifest.json, or the export folder.")
    ],
    header: Annotated[bool, typer.Option("--header", help="The columns' names first.")] = False,
) -> int:
    """A table of a snapshot as CSV on stdout: null is nothing, an empty text is ""."""
    from pipeline.ddl.rows import write_csv
    from pipeline.ddl.source import find_source

    write_csv(find_source(snapshot), table, sys.stdout.buffer, header=header)
    sys.stdout.flush()
    return 0


@app.command(epilog="Example: capillary-export doctor nightly.yaml")
def doctor(config: ConfigPath, set_: SetOption = None, as_json: JsonFlag = False) -> int:
    """Config, secrets, disk, clock, output, auth, one probe call: what works, what doesn't, what to do."""
    from pipeline.doctor import examine

    findings = examine(_load(config, set_), datetime.now(UTC))
    rows = [("ok" if one.ok else "FAILS", one.what, f"{one.detail} {one.remedy}".strip()) for one in findings]
    found = [{"what": one.what, "ok": one.ok, "detail": one.detail, "remedy": one.remedy} for one in findings]
    _show({"findings": found}, _grid(("", "what", "detail"), rows), as_json)
    first = next((one.error for one in findings if one.error), None)
    return int(first.exit_code) if first else 0


@app.command(epilog="Example: capillary-export sandbox --port 8080 --calls-per-minute 1000")
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    customers: Annotated[int, typer.Option(min=1, help="How many customers the base has.")] = 5000,
    calls_per_minute: Annotated[int, typer.Option(min=0, help="0 is no limit.")] = 0,
    faults: Annotated[str, typer.Option(metavar="PLAN", help="Such as '500=1%, latency=80ms±40ms'.")] = "",
    seed: Annotated[int, typer.Option()] = 1,
    day: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Default today, UTC.")] = None,
) -> int:
    """The stand-in API, on loopback."""
    from pipeline.sandbox import SandboxConfig, parse_plan, run_sandbox

    try:
        parse_plan(faults)
        settings = SandboxConfig(
            port=port,
            customers=customers,
            calls_per_minute=calls_per_minute,
            faults=faults,
            seed=seed,
            day=_date(day),
        )
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    run_sandbox(settings)
    return 0


@app.command(epilog="Example: capillary-export demo --out ./demo-export")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("demo-export"),
    ids: Annotated[int, typer.Option(min=20, help="Rows of the CSV.")] = 5_000,
    nights: Annotated[int, typer.Option(min=1, max=30, help="Several nights in a row.")] = 1,
    as_json: JsonFlag = False,
) -> int:
    """Sandbox and a whole night in one command; no config needed."""
    from pipeline.demo import DemoSettings, run_demo

    ended = Exit.OK
    for one in run_demo(DemoSettings(out, ids, nights), screen_for()):
        found = {**result_json(one.result), "sandbox": one.judged}
        _show(found, [_result_text(one.result), _judged_text(one.judged)], as_json)
        ended = Exit(_exit_code(one.result))
    if not as_json:
        _print(_how_to_read(out))
    return int(ended)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        _print(f"capillary-export {__version__}")
        raise typer.Exit


# Loading


def _load(
    config: Path, assignments: Sequence[str] | None, ids: Sequence[str] | None = None, out: str | None = None
) -> Config:
    flags = dict(parse_assignment(one) for one in assignments or ())
    if ids:
        flags["ids.paths"] = [path if path == "-" else str(Path(path).absolute()) for path in ids]
    if out:
        flags["output.url"] = out if "://" in out else str(Path(out).absolute())
    names = [f"{row['table']}.{row['column']}" for row in dictionary_rows()]
    return load_config(config, flags=flags, tables=[table.name for table in TABLES], columns=names)


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{text} is no date.", "Give it as YYYY-MM-DD.") from None


# Showing


def plan_text(plan: Plan) -> Any:
    """What tonight can cover, for people."""
    pace = (
        "no limit"
        if plan.calls_per_s == float("inf")
        else f"{plan.calls_per_s * 60:,.0f} a minute on average"
    )
    rows = [
        ("IDs", f"{plan.ids:,}: {plan.done:,} done, {plan.due:,} due"),
        ("asked tonight", f"{plan.asked:,}, and {plan.deferred:,} left for another night"),
        ("calls", f"{plan.calls_needed:,} ({plan.calls_per_id:.3f} an ID), {pace}"),
        ("ends", f"{_clock(plan.ends_at)}, after {_span(plan.seconds_needed)}"),
        (
            "window",
            "none"
            if plan.window_ends is None
            else f"until {_clock(plan.window_ends)}: room for {plan.fits:,} IDs",
        ),
        ("disk", f"about {plan.disk_bytes / 1e9:.2f} GB, last night's snapshot not counted"),
        ("memory", f"about {plan.memory_bytes / 1e6:,.0f} MB at the peak"),
    ]
    return _grid(("", "tonight"), rows)


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _span(seconds: float) -> str:
    """So long, in the unit that people would use."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _show(found: dict[str, Any], text: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        for one in text if isinstance(text, list) else [text]:
            _print(one)


def _print(what: Any) -> None:
    Console(width=None if sys.stdout.isatty() else 1000).print(
        what, highlight=False, markup=False, soft_wrap=True
    )


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    for head in heads:
        grid.add_column(head, justify="right" if head in ("rows", "IDs", "files", "MB") else "left")
    for row in rows:
        grid.add_row(*row)
    return grid


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="seconds")
    return (
        "unlimited" if value == float("inf") else value if isinstance(value, int | str) else _rounded(value)
    )


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _exit_code(result: Result) -> int:
    if result.held:
        return int(Exit.HELD)
    if result.unchanged and result.plan is not None and result.plan.due and result.plan.fits == 0:
        return int(Exit.STOPPED)
    return int(Exit.STOPPED) if result.stopped else int(Exit.OK)


def result_json(result: Result) -> dict[str, Any]:
    """How a night ended, for machines."""
    manifest = result.manifest
    return {
        "night": result.night.isoformat(),
        "published": result.live and not result.unchanged,
        "unchanged": result.unchanged,
        "stopped": result.stopped.message if result.stopped else None,
        "held": result.held.message if result.held else None,
        "snapshot": manifest.snapshot if manifest else None,
        "folder": result.folder,
        "remark": result.remark or None,
        "ids": manifest.ids if manifest else None,
        "outcomes": manifest.outcomes if manifest else None,
        "calls": manifest.calls if manifest else None,
        "tables": {name: table.rows for name, table in manifest.tables.items()} if manifest else None,
    }


def _result_text(result: Result) -> Any:
    if result.manifest is None:
        return _unchanged_text(result)
    tables = [(name, f"{table.rows:,}") for name, table in result.manifest.tables.items()]
    return _joined(_grid(("table", "rows"), tables), _account(result), _ending(result))


def _unchanged_text(result: Result) -> str:
    due = result.plan.due if result.plan else 0
    done = f"{due:,} IDs are still due, none fits now" if due else "every ID is done"
    live = (
        "its snapshot is live" if result.live else "its snapshot is not the live one (`publish` makes it so)"
    )
    return f"Night {result.night}: nothing to do, {done} and {live}."


def _joined(*parts: Any) -> Any:
    from rich.console import Group

    return Group(*parts)


def _account(result: Result) -> str:
    manifest = result.manifest
    assert manifest is not None
    found = ", ".join(f"{count:,} {name}" for name, count in manifest.outcomes.items() if count)
    ids, calls = manifest.ids, manifest.calls
    return (
        f"\n{ids['read']:,} rows read: {ids['distinct']:,} distinct IDs, {ids['repeated']:,} repeated, "
        f"{ids['rejected']:,} rejected\n{ids['distinct']:,} IDs: {found}\n"
        f"{calls['made']:,} calls made, {calls['repeated']:,} of them again, {calls['throttled']:,} throttled"
    )


def _ending(result: Result) -> str:
    lines = []
    if result.stopped:
        lines.append(f"{result.stopped.message} {result.stopped.hint}")
    if result.held:
        lines.append(f"HELD. {result.held.message} {result.held.hint}")
    elif result.live:
        lines.append(f"Published: {result.folder}")
        lines += [f"But afterwards: {result.remark}"] if result.remark else []
    else:
        lines.append(
            f"Not published: {result.folder}\n`publish CONFIG --night {result.night}` makes it live."
        )
    return "\n".join(lines)


def _judged_text(judged: dict[str, Any]) -> str:
    return (
        f"The sandbox saw {judged['busiest']:,} calls in its busiest minute of {judged['limit']:,} allowed "
        f"({judged['used_share']:.1%})."
    )


def _how_to_read(out: Path) -> str:
    live = Snapshots(out).current()
    assert live is not None
    here = Path(sys.executable)
    if Path.cwd() != Path("/") and here.is_relative_to(Path.cwd()):
        here = here.relative_to(Path.cwd())
    glob = out / "snapshots" / live.snapshot / "loyalty_programs" / "*.parquet"
    query = f"SELECT current_slab, count(*), sum(loyalty_points) FROM '{glob}' GROUP BY 1 ORDER BY 2 DESC"  # noqa: S608 - shown, not run
    return (
        f"Read them:    {here} -c \"import duckdb; print(duckdb.sql('''{query}'''))\"\n"
        f"Look around:  {here.parent / 'capillary-export'} status {out / '_demo' / 'demo.yaml'}"
    )


# Status


def _status(config: Config) -> dict[str, Any]:
    workspace = Workspace(config.work.path)
    live = open_snapshots(config).current()
    holder = workspace.holder()
    return {
        "running": holder is not None,
        "process": holder,
        "live": live.model_dump() if live else None,
        "nights": [_night_json(folder, holder) for folder in reversed(workspace.nights())],
    }


def _night_json(folder: NightFolder, holder: int | None) -> dict[str, Any]:
    state = folder.state()
    found: dict[str, Any] = {"night": folder.night.isoformat(), "state": "unknown", "ids": {"distinct": 0}}
    found |= {"snapshot": "", "reason": ""}
    if state is not None:
        found |= state.model_dump(mode="json")
    if holder is None and found["state"] in UNDER_WAY:
        found |= {"state": "interrupted", "reason": "The run died; `run` goes on where it stopped."}
    if holder is not None and folder.progress.exists():
        found["progress"] = json.loads(folder.progress.read_bytes())
    return found


def _status_lines(found: dict[str, Any]) -> list[str]:
    live = found["live"]
    lines = [f"Live: {live['snapshot']}, published {live['published_at']}" if live else "Live: nothing yet"]
    running = next((one["progress"] for one in found["nights"] if "progress" in one), None)
    if running:
        eta = f", about {running['eta_s'] / 60:.0f} minutes left" if running["eta_s"] else ""
        lines.append(
            f"Running (process {found['process']}): {running['done']:,} of {running['planned']:,}{eta}"
        )
    return lines


def _manifest_of(config: Config, snapshots: Snapshots, night: date | None) -> Manifest:
    """The manifest of a night's snapshot; of the live one where no night is named."""
    live = snapshots.current()
    name = live.snapshot if live else ""
    if night is not None:
        state = Workspace(config.work.path).night(night).state()
        name = state.snapshot if state else ""
    if not name:
        raise UsageError(f"There is no snapshot of {night or 'any night'} yet.", "`status` lists the nights.")
    return snapshots.manifest(name)
