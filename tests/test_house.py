"""The house keeps its own rules: short functions, documented commands, nothing of this machine in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def functions() -> list[tuple[str, int]]:
    """Every function of the product and how many lines its body has, without its docstring."""
    found = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
                found.append((f"{path.relative_to(ROOT)}:{node.name}", lines))
    return found


def test_nine_functions_in_ten_are_short() -> None:
    """A body of 25 lines or more is the exception."""
    found = functions()
    long = [name for name, lines in found if lines >= 25]
    assert len(long) <= len(found) / 10, long


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_stands_in_the_docs_and_has_an_example(command: str) -> None:
    """A command that nobody can find is not there."""
    docs = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert f"capillary-export {command}" in docs
    assert "Example: capillary-export" in (get_command(app).commands[command].epilog or "")  # type: ignore[attr-defined]


def test_readme_links_lead_somewhere() -> None:
    """Each relative link in the README is a file of the project."""
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_nothing_of_a_machine_or_a_registry_is_committed() -> None:
    """No home folders, no package addresses in tracked files."""
    found = subprocess.run(
        ["git", "grep", "-nIE", r"(/root/|/home/[a-z]+/|https?://[^ \"]+\.(whl|tar\.gz))", "--", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in found.stdout.splitlines() if "tests/test_house.py" not in line]
    assert not lines, lines
