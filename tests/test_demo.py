"""The demo: a whole night in one command, over and over, and it keeps its quota."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import snapshot
from tests.test_cli import ROOT, command


def a_demo(out: Path, *words: object) -> list[dict[str, object]]:
    done = command("demo", "--out", out, "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    """A small demo of two nights."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, a_demo(out, "--ids", 400, "--nights", 2)


def test_the_demo_has_every_kind_of_row(two_nights: tuple[Path, list[dict[str, object]]]) -> None:
    """Rejects, repeats, and the outcomes a real base has are among its IDs."""
    out, _ = two_nights
    found = snapshot.manifest(out)
    assert found["ids"]["read"] == 400
    assert found["ids"]["rejected"] > 0
    assert found["ids"]["repeated"] > 0
    assert found["outcomes"]["exported"] > 300
    assert found["outcomes"]["absent"] > 0
    assert sum(found["outcomes"].values()) == found["ids"]["distinct"]


def test_the_second_night_differs_from_the_first(two_nights: tuple[Path, list[dict[str, object]]]) -> None:
    """The base changes from day to day, and so do the answers."""
    out, nights = two_nights
    first, second = (out / "snapshots" / str(night["snapshot"]) / "customers" for night in nights)
    assert (first / "part-00000.parquet").read_bytes() != (second / "part-00000.parquet").read_bytes()
    assert [night["published"] for night in nights] == [True, True]


def test_the_demo_keeps_its_quota_and_spends_no_call_unseen(
    two_nights: tuple[Path, list[dict[str, object]]],
) -> None:
    """The server's own count: never above the limit, and every call it saw is in the journal."""
    for night in two_nights[1]:
        judged, calls = night["sandbox"], night["calls"]
        assert isinstance(judged, dict)
        assert isinstance(calls, dict)
        assert judged["busiest"] <= judged["limit"]
        assert judged["calls"] == calls["made"]


@pytest.mark.long
def test_a_demo_replaces_a_demo_and_nothing_else(tmp_path: Path) -> None:
    """Run twice it starts afresh; a folder of somebody else's is left alone."""
    a_demo(tmp_path / "out", "--ids", 40)
    a_demo(tmp_path / "out", "--ids", 30)
    assert snapshot.manifest(tmp_path / "out")["ids"]["read"] == 30
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done: subprocess.CompletedProcess[str] = command("demo", "--out", tmp_path / "mine", "--ids", 40)
    assert done.returncode == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.long
def test_a_demo_wants_a_folder(tmp_path: Path) -> None:
    """A file in its place is the caller's mistake."""
    (tmp_path / "file").write_text("mine")
    done = command("demo", "--out", tmp_path / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is a file" in done.stderr


def test_a_strangers_module_in_the_current_folder_is_not_taken_for_pythons(tmp_path: Path) -> None:
    """Cron may start us anywhere: the second process looks where we are installed, not where it stands."""
    (tmp_path / "json.py").write_text("raise SystemExit('not the json you wanted')")
    program = "import sys; sys.path.append(sys.argv.pop(1)); from pipeline.cli import main; sys.exit(main())"
    words = [sys.executable, "-P", "-c", program, str(ROOT), "demo", "--ids", "40", "--out", "out"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
