"""Commands about nights: run, plan, status, report, rebuild, publish, rollback."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import (
    ConfigPath,
    JsonFlag,
    NightOption,
    NightWanted,
    SetOption,
    app,
    load,
    parse_date,
)
from pipeline.cli.results import exit_code, result_json, result_text, tables_exit_code
from pipeline.cli.showing import as_grid, plain, plan_text, print_out, show
from pipeline.cli.standing import last_night, progress_rows, status_lines
from pipeline.cli.watching import LogFormat, LogLevel, ServePort, Watching, watched
from pipeline.errors import Exit, UsageError

if TYPE_CHECKING:
    from pipeline.config import Config


@app.command(epilog="Example: capillary-export run nightly.yaml --limit 100")
def run(
    config: ConfigPath,
    ids: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A CSV of IDs, instead of ids.paths; - is stdin. Repeatable."),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="URL", help="Instead of output.url.")] = None,
    night: NightOption = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Ask for so many IDs at the most.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Instead of window.until.")] = None,
    set_: SetOption = None,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="Make the snapshot, don't point at it.")
    ] = False,
    published_ok: Annotated[
        bool,
        typer.Option(
            "--published-ok", help="Exit with 0, not 3, where the window closed but the night is live."
        ),
    ] = False,
    as_json: JsonFlag = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    serve: ServePort = None,
) -> int:
    """Tonight's export: starts it, or goes on where it stopped."""
    settings = load(config, set_, ids, out)
    from pipeline.config import parse_clock_time
    from pipeline.night import Options
    from pipeline.notify import run_and_tell

    options = Options(
        night=parse_date(night),
        limit=limit,
        until=parse_clock_time(until) if until else None,
        no_publish=no_publish,
    )
    ends_with = partial(exit_code, published_ok=published_ok)
    watching = Watching(log_format, log_level, quiet, serve)
    with watched(watching, settings) as screen:
        complain = watching.complaint(settings.log, screen)
        result, notices = run_and_tell(settings, config, options, screen, ends_with, complain)
    show(result_json(result, notices), [] if as_json else result_text(result), as_json)
    return ends_with(result)


@app.command(epilog="Example: capillary-export plan nightly.yaml")
def plan(
    config: ConfigPath,
    night: NightOption = None,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Instead of window.until.")] = None,
    set_: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """What tonight can cover, and when it ends; calls nothing."""
    from pipeline.config import parse_clock_time
    from pipeline.night import Options, plan_night

    options = Options(night=parse_date(night), until=parse_clock_time(until) if until else None)
    settings = load(config, set_)
    found = plan_night(settings, options)
    as_given = {**asdict(found), "deferred": found.deferred}
    show(
        {name: plain(value) for name, value in as_given.items()},
        plan_text(found, settings.window.timezone),
        as_json,
    )
    return 0


@app.command(epilog="Example: capillary-export status nightly.yaml --json")
def status(config: ConfigPath, set_: SetOption = None, as_json: JsonFlag = False) -> int:
    """Tonight and the last nights, the live snapshot."""
    from pipeline.status import status_of

    settings = load(config, set_)
    found = status_of(settings)
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
    grid = as_grid(("night", "state", "IDs", "snapshot", "reason"), rows)
    rows_now = progress_rows(found)
    now = [as_grid(("", ""), rows_now)] if rows_now else []
    show(found, [*status_lines(found), *now, grid], as_json)
    return int(Exit.STORAGE) if found["trouble"] else 0


@app.command(epilog="Example: capillary-export report nightly.yaml --night 2026-11-22")
def report(
    config: ConfigPath,
    night: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Which night; default the last one.")
    ] = None,
    set_: SetOption = None,
) -> int:
    """Make the morning page of any night again; prints where it lies."""
    from pipeline.night import NightPage

    settings = load(config, set_)
    wanted = parse_date(night) or last_night(settings)
    print_out(NightPage(settings, wanted).write(datetime.now(UTC)))
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
    from pipeline.blocks import TABLES
    from pipeline.night import Options, rebuild_night
    from pipeline.screen import screen_for

    only = frozenset(tables.split(",")) if tables else None
    if unknown := sorted((only or frozenset()) - {table.name for table in TABLES}):
        raise UsageError(f"There is no table {unknown[0]}.", "`capillary-export tables` lists them.")
    options = Options(night=parse_date(night), only=only)
    result = rebuild_night(load(config, set_), options, screen_for())
    show(result_json(result), result_text(result), as_json)
    return exit_code(result)


@app.command(
    "publish",
    epilog="Example: capillary-export publish nightly.yaml --night 2026-11-22 --force --reason 'new tier'",
)
def publish_(
    config: ConfigPath,
    night: NightWanted,
    force: Annotated[bool, typer.Option("--force", help="Although a check failed.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept in current.json.")] = None,
    set_: SetOption = None,
) -> int:
    """Publish a night's held snapshot."""
    from pipeline.night import publish_night
    from pipeline.notify import tell_published
    from pipeline.store.workspace import Workspace

    if force and not reason:
        raise UsageError("publish --force needs --reason TEXT.")
    wanted = parse_date(night)
    assert wanted is not None
    settings = load(config, set_)
    manifest = publish_night(settings, wanted, reason if force else None, datetime.now(UTC))
    print_out(f"{manifest.snapshot} is live.")
    tell_published(settings, config, manifest, reason if force else None)
    with Workspace(settings.work.path).lock():
        return _bring_tables(settings)


@app.command(epilog="Example: capillary-export rollback nightly.yaml")
def rollback(
    config: ConfigPath,
    to: Annotated[
        str | None, typer.Option(metavar="SNAPSHOT", help="Default: the one before the live one.")
    ] = None,
    set_: SetOption = None,
) -> int:
    """Point at an older snapshot."""
    from pipeline import formats, publish
    from pipeline.store.history import History
    from pipeline.store.snapshots import open_snapshots
    from pipeline.store.workspace import Workspace

    settings = load(config, set_)
    formats.require(settings)
    with Workspace(settings.work.path).lock():
        pointer = publish.roll_back(open_snapshots(settings), to, datetime.now(UTC))
        History(settings.work.path).withdraw(after=pointer.snapshot)
        print_out(f"{pointer.snapshot} is live.")
        return _bring_tables(settings)


def _bring_tables(config: Config) -> int:
    """The tables of `output.format`, at the snapshot that is live now; gives the exit code."""
    from pipeline.night.lakehouse import bring_tables
    from pipeline.store.snapshots import open_snapshots

    reached = bring_tables(config, open_snapshots(config), datetime.now(UTC))
    if reached is not None:
        print_out(reached.told())
    return tables_exit_code(reached)
