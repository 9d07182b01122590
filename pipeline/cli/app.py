"""The command line's frame: what its commands share, from the options to the loading of a config.

Commands import what they need when they are called, so that none waits for what another needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import __version__
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import Config

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


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key. Repeatable.")
]
NightOption = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Which night; default tonight.")]
NightWanted = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Which night.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the way to an error through the code; also after a command.")
    ] = False,
) -> None:
    if version:
        sys.stdout.write(f"capillary-export {__version__}\n")
        raise typer.Exit


def load(
    config: Path, assignments: Sequence[str] | None, ids: Sequence[str] | None = None, out: str | None = None
) -> Config:
    """The config, with `--set`, `--ids` and `--out` put over it; their paths are relative to where we are.

    Raises UsageError with every mistake found.
    """
    from pipeline.blocks import TABLES
    from pipeline.blocks.dictionary import rows as dictionary_rows
    from pipeline.config import load_config, parse_assignment

    flags, options = dict(parse_assignment(one) for one in assignments or ()), {}
    if ids:
        options["ids.paths"] = "--ids"
        flags["ids.paths"] = [path if path == "-" else str(Path(path).absolute()) for path in ids]
    if out:
        options["output.url"] = "--out"
        flags["output.url"] = out if "://" in out else str(Path(out).absolute())
    names = [f"{row['table']}.{row['column']}" for row in dictionary_rows()]
    tables = [table.name for table in TABLES]
    settings = load_config(config, flags=flags, tables=tables, columns=names, options=options)
    return _without_catalog(settings) if out else settings


def _without_catalog(config: Config) -> Config:
    """Tables in a catalog are those of the export in the config: a try in another place must not replace their rows."""
    if config.output.catalog is None:
        return config
    output = config.output.model_copy(update={"format": "parquet", "catalog": None})
    return config.model_copy(update={"output": output})


def parse_date(text: str | None) -> date | None:
    """`YYYY-MM-DD` from the command line. Raises UsageError."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{text} is no date.", "Give it as YYYY-MM-DD.") from None
