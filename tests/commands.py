"""Command lines of the docs and of deploy/, held against the program's own options."""

from __future__ import annotations

import re
import shlex
from typing import Any

from typer.main import get_command

from pipeline.cli import app

NAME = "capillary-export"
_PIECES = re.compile(r"\s(?:\||&&|\|\||;|>>?|<)\s|;\s|\s#\s")

_OURS = re.compile(rf"(?:^\s*|[|;&]\s*|\b(?:do|exec)\s+|\b\w+=\S+\s+|bin/){NAME}(?=\s)")
"""Where it is the program, and not a user, a folder or a service of that name."""
_SUBSTITUTED = re.compile(r"\"?\$\([^()]*\)\"?")


def lines_with(text: str) -> list[str]:
    """The command lines in the fenced blocks of a page, prompts and continued lines put right."""
    blocks = re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if NAME in line]


def calls_in(line: str) -> list[list[str]]:
    """The words behind each `capillary-export` in a shell line, up to the end of that command."""
    while (simpler := _SUBSTITUTED.sub("X", line)) != line:
        line = simpler
    found = []
    for piece in _OURS.split(line)[1:]:
        words = _PIECES.split(f"{piece} ", maxsplit=1)[0].replace("…", "X")
        plain = re.sub(r"[][]", "", words)  # what may be left out is tried, too
        found.append([word.partition("|")[0] for word in shlex.split(plain)])  # the first of several choices
    return found


def check(words: list[str]) -> None:
    """Raises where the program would not take these words. Nothing is run."""
    root: Any = get_command(app)
    name, *rest = words
    command = root.commands[name]
    command.make_context(name, [word for word in rest if word != "--debug"])
