"""Commands to try things: sandbox, demo."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.app import JsonFlag, app, parse_date
from pipeline.cli.results import exit_code, result_json, result_text
from pipeline.cli.showing import print_out, show
from pipeline.errors import Exit, UsageError


@app.command(epilog="Example: capillary-export sandbox --port 8080 --calls-per-minute 1000")
def sandbox(
    port: Annotated[int, typer.Option(metavar="PORT", help="0 picks a free one.", min=0, max=65535)] = 8080,
    customers: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many customers the base has.")
    ] = 5000,
    calls_per_minute: Annotated[int, typer.Option(metavar="N", min=0, help="0 is no limit.")] = 0,
    faults: Annotated[str, typer.Option(metavar="PLAN", help="Such as '500=1%, latency=80ms±40ms'.")] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Another one makes other customers and faults.")] = 1,
    day: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Default today, UTC.")] = None,
) -> int:
    """The stand-in API, on loopback."""
    from pipeline.sandbox import SandboxConfig, parse_plan, run_sandbox
    from pipeline.serving import no_such_port

    try:
        parse_plan(faults)
        settings = SandboxConfig(
            port=port,
            customers=customers,
            calls_per_minute=calls_per_minute,
            faults=faults,
            seed=seed,
            day=parse_date(day),
        )
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    try:
        run_sandbox(settings)
    except OSError as exc:
        if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise no_such_port("--port", port, exc) from exc
    return 0


@app.command(epilog="Example: capillary-export demo --out ./demo-export")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("demo-export"),
    ids: Annotated[int, typer.Option(metavar="N", min=20, help="Rows of the CSV.")] = 5_000,
    nights: Annotated[int, typer.Option(metavar="N", min=1, max=30, help="Several nights in a row.")] = 1,
    as_json: JsonFlag = False,
) -> int:
    """Sandbox and a whole night in one command; no config needed."""
    from pipeline.demo import DemoSettings, run_demo
    from pipeline.screen import screen_for

    ended = Exit.OK
    for one in run_demo(DemoSettings(out, ids, nights), screen_for()):
        found = {**result_json(one.result), "sandbox": one.judged}
        show(found, [result_text(one.result), _judged_text(one.judged)], as_json)
        ended = Exit(exit_code(one.result))
    if not as_json:
        print_out(_how_to_read(out))
    return int(ended)


def _judged_text(judged: dict[str, Any]) -> str:
    return (
        f"The sandbox saw {judged['busiest']:,} calls in its busiest minute of {judged['limit']:,} allowed "
        f"({judged['used_share']:.1%})."
    )


def _how_to_read(out: Path) -> str:
    from pipeline.store.snapshots import Snapshots

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
