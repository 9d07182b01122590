"""The pages that an operator types from: every command is one of ours, and the longer recipes are run as they stand."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import Exit
from pipeline.sandbox import Sandbox, known_ids
from tests import snapshot
from tests.commands import calls_in, check, lines_with
from tests.conftest import Home, calls_seen

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
ELLIPSIS_PASSWORD = "…"
"""What the recipes write where a password goes; the sandbox takes it, so that they run as they stand."""


def commands() -> list[tuple[str, list[str]]]:
    """Each command line of the pages, with the page's name."""
    return [
        (page.name, words)
        for page in PAGES
        for line in lines_with(page.read_text())
        for words in calls_in(line)
    ]


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda one: one if isinstance(one, str) else " ".join(one)
)
def test_the_program_takes_every_command_of_the_pages(page: str, words: list[str]) -> None:
    """A command or an option that was renamed is found here, not at three in the morning."""
    if words and words[0] != "--version":
        check(words)


def test_inline_commands_are_ours_too() -> None:
    """Commands in running text and tables: `capillary-export …` in backticks."""
    texts = [page.read_text() for page in PAGES]
    inline = [
        one for text in texts for one in re.findall(r"`(?:\.venv/bin/)?capillary-export ([a-z]+)", text)
    ]
    assert len(inline) > 20
    for name in sorted(set(inline)):
        with pytest.raises((SystemExit, Exception)) as caught:
            check([name, "--no-such-option"])
        assert "No such option" in str(caught.value), name


def block_below(heading: str, page: str = OPERATIONS) -> str:
    """The first block of commands below a heading."""
    below = page[page.index(f"{heading}\n") :]
    found = re.search(r"```console\n(.*?)```", below, re.DOTALL)
    assert found is not None
    return found[1]


def typed(recipe: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A recipe as a person types it into a shell in this folder; it ends at the first command that fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", recipe],
        cwd=folder,
        env={**os.environ, "PATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture
def checkout(tmp_path: Path, start_sandbox: Callable[..., Sandbox]) -> tuple[Path, dict[str, str]]:
    """A folder with what a checkout has for these recipes; the environment names the sandbox as the host."""
    sandbox = start_sandbox(password=ELLIPSIS_PASSWORD)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "ids").mkdir()
    text = "\n".join(["customer_id", *map(str, known_ids(150))])
    (tmp_path / "ids" / "all.csv.gz").write_bytes(gzip.compress(text.encode()))
    in_half_a_day = time.strftime("%H:%M", time.gmtime(time.time() + 12 * 3600))
    environ = {
        "CAPILLARY_EXPORT__API__HOST": sandbox.url,
        "CAPILLARY_EXPORT__WINDOW": f"{{until: '{in_half_a_day}', timezone: UTC}}",
    }
    return tmp_path, environ


@pytest.mark.parametrize(
    ("heading", "page"),
    [
        pytest.param("## An operator's five minutes", README, id="five minutes"),
        pytest.param(
            "## The first night, step by step", OPERATIONS, id="first night", marks=pytest.mark.long
        ),
    ],
)
def test_the_first_night_runs_as_it_stands(
    checkout: tuple[Path, dict[str, str]], heading: str, page: str
) -> None:
    """Line by line, against the sandbox: from copying the config to a hundred customers in tables."""
    folder, environ = checkout
    done = typed(block_below(heading, page), folder, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A night can run." in done.stdout
    assert snapshot.manifest(folder / "export")["outcomes"]["deferred"] == 50


def two_nights(home: Home) -> tuple[list[int], list[int]]:
    """Two published nights that asked different halves of the base; gives the halves."""
    ids = [*known_ids(60)]
    for night, half in (("2026-11-21", ids[:30]), ("2026-11-22", ids[30:])):
        home.write_ids(half)
        done = typed(f"capillary-export run nightly.yaml --quiet --night {night}", home.root)
        assert done.returncode == 0, done.stderr
    return ids[:30], ids[30:]


def customers(home: Home) -> list[int]:
    return [row["customer_id"] for row in snapshot.rows(home.export, "customers", stable=True)]


@pytest.mark.long
def test_a_lost_export_comes_back_from_the_workspace(home: Home, sandbox: Sandbox) -> None:
    """The recipe as it stands: every kept night's rows, and no call."""
    two_nights(home)
    before, calls = customers(home), calls_seen(sandbox)
    shutil.rmtree(home.export)
    done = typed(block_below("### The export is lost"), home.root)
    assert done.returncode == 0, done.stderr
    assert customers(home) == before
    assert calls_seen(sandbox) == calls


@pytest.mark.long
def test_customers_that_did_not_come_back_are_the_first_to_be_asked(home: Home) -> None:
    """Without what was known of them they count as never answered."""
    first, second = two_nights(home)
    shutil.rmtree(home.export)
    shutil.rmtree(home.work / "2026-11-21")
    shutil.rmtree(home.work / "known")
    assert typed(block_below("### The export is lost"), home.root).returncode == 0
    home.write_ids([*second, *first])
    done = typed("capillary-export run nightly.yaml --quiet --night 2026-11-23 --limit 30", home.root)
    assert done.returncode == 0, done.stderr
    rows = snapshot.rows(home.export, "outcomes")
    asked = {
        row["customer_id"]
        for row in rows
        if str(row["_night"]) == "2026-11-23" and row["outcome"] != "deferred"
    }
    assert asked == set(first)


@pytest.mark.long
def test_a_lost_workspace_costs_no_rows(home: Home) -> None:
    """The next night is merged upon the snapshot."""
    two_nights(home)
    before = customers(home)
    shutil.rmtree(home.work)
    done = typed(block_below("### The workspace is lost"), home.root)
    assert done.returncode == 0, done.stderr
    assert customers(home) == before


@pytest.mark.parametrize("damage", [pytest.param("removed", marks=pytest.mark.long), "damaged"])
def test_a_lost_pointer_is_written_anew(home: Home, damage: str) -> None:
    """The newest whole snapshot is live again."""
    two_nights(home)
    live = snapshot.manifest(home.export)["snapshot"]
    pointer = home.export / "current.json"
    pointer.unlink() if damage == "removed" else pointer.write_text("{")
    done = typed(block_below("### The pointer is lost"), home.root)
    assert done.returncode == 0, done.stderr
    assert snapshot.manifest(home.export)["snapshot"] == live


@pytest.mark.long
def test_a_moved_export_goes_on_elsewhere(home: Home, tmp_path: Path) -> None:
    """Config, secret, workspace and export copied: the same nights, the same live snapshot."""
    two_nights(home)
    there = tmp_path / "elsewhere"
    shutil.copytree(home.root, there, ignore=shutil.ignore_patterns("elsewhere"))
    done = typed(block_below("## Moving to another machine"), there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert snapshot.manifest(home.export)["snapshot"] in done.stdout
    assert "2026-11-22  published" in done.stdout


@pytest.mark.long
def test_an_upgrade_is_tried_without_publishing(home: Home) -> None:
    """What is live stays live."""
    two_nights(home)
    live = snapshot.manifest(home.export)["snapshot"]
    done = typed(block_below("## Upgrading"), home.root)
    assert done.returncode == 0, done.stderr
    assert snapshot.manifest(home.export)["snapshot"] == live


def test_each_exit_code_has_its_line() -> None:
    """Whoever finds a number in the morning finds it in the table."""
    section = OPERATIONS[
        OPERATIONS.index("## Bad nights, by exit code") : OPERATIONS.index("## A night is held")
    ]
    for code in Exit:
        assert code is Exit.OK or f"\n| {int(code)} | " in section, code


def test_the_sizing_tables_are_those_that_were_measured() -> None:
    """`make sizing` writes both."""
    measured = (ROOT / "bench" / "SIZING.md").read_text()
    tables = re.search(r"<!-- sizing -->\n(.*?)<!-- /sizing -->", OPERATIONS, re.DOTALL)
    assert tables is not None
    assert len(tables[1]) > 500
    assert tables[1].strip() in measured


def test_links_lead_somewhere() -> None:
    """Files that are there, and headings of the page itself."""
    headings = {
        re.sub(r"[^\w -]", "", one).lower().replace(" ", "-")
        for one in re.findall(r"^#+ (.*)$", OPERATIONS, re.M)
    }
    for target in re.findall(r"\]\((?!http)([^)]+)\)", OPERATIONS):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), target
        assert file or anchor in headings, target
