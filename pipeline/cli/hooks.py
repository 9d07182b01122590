"""The command that tries the hooks."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from pipeline.cli.app import ConfigPath, JsonFlag, SetOption, app, load
from pipeline.cli.showing import as_grid, show
from pipeline.errors import Exit, UsageError

OnOption = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="EVENT", help="published, held, stopped or failed; default each hook's first."
    ),
]


@app.command(epilog="Example: capillary-export notify nightly.yaml --on held")
def notify(config: ConfigPath, on: OnOption = None, set_: SetOption = None, as_json: JsonFlag = False) -> int:
    """Try the hooks: each is sent an event, marked as a test."""
    from pipeline.config import EVENTS
    from pipeline.notify import try_hooks

    if on not in (None, *EVENTS):
        raise UsageError(f"There is no event {on}.", f"Events: {', '.join(EVENTS)}.")
    settings = load(config, set_)
    told = try_hooks(settings, config, cast(Any, on))
    if not told:
        wanted = f" that wants {on}" if on else ""
        raise UsageError(f"The config has no hook{wanted}.", "`notify` in the config lists them.")
    found = [
        {"hook": one.name, "event": one.event, "ok": not one.notice, "detail": one.detail} for one in told
    ]
    rows = [("FAILS" if one.notice else "ok", one.name, one.event, one.detail) for one in told]
    show({"hooks": found}, as_grid(("", "hook", "event", "detail"), rows), as_json)
    return int(Exit.USAGE if any(one.notice for one in told) else Exit.OK)
