"""The eight questions of the morning, each answered by the page's text, for nights as they really end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.errors import RefusedError
from pipeline.night import NightPage, Options, Screen, run_night
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from pipeline.store.workspace import Workspace
from tests import snapshot
from tests.conftest import Home, running_sandbox
from tests.report.reading import answers, read, verdict

ONE, TWO = date(2026, 11, 21), date(2026, 11, 22)
QUESTIONS = [
    "Did it publish?",
    "If not, why?",
    "Who is missing?",
    "How old is the data?",
    "Is the quota the limit?",
    "What changed against yesterday?",
    "What fails?",
    "When will tonight end?",
]


def page_of(home: Home, night: date = ONE) -> str:
    """The page that `run` left in the workspace."""
    return (home.work / night.isoformat() / "report.html").read_text()


def go(home: Home, night: date = ONE, **options: Any) -> Any:
    return run_night(home.config(), Options(night=night, **options), Screen())


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """One sandbox for the nights of this file."""
    with running_sandbox(SandboxConfig(customers=500, faults="latency=5ms±2ms")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def published(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two published nights: the second asks fewer, some IDs are unknown, one row is none."""
    home = Home(tmp_path_factory.mktemp("published"), server.url)
    home.settings["ids"]["max_rejected_share"] = 0.5
    home.settings["quota"] = {"limits": [{"calls": 6000, "per_s": 60}], "max_in_flight": 16}
    home.save()
    home.write_ids([*known_ids(120), 900_000_001, "3.87E+08"])
    go(home)
    home.write_ids([*known_ids(100), 900_000_001])
    go(home, TWO)
    return home


def test_a_published_night_answers_all_eight(published: Home) -> None:
    """In this order, each with words of its own."""
    found = answers(page_of(published, TWO))
    assert list(found) == QUESTIONS
    assert found["Did it publish?"].startswith("Yes at ")
    assert "checks passed" in found["If not, why?"]
    assert re.search(r"\d+ not known to the API", found["Who is missing?"])
    assert "The oldest tenth is 1 night old" in found["How old is the data?"]
    assert re.search(
        r"\d+ calls made; at the quota's pace \d+ fit into that time", found["Is the quota the limit?"]
    )
    assert re.search(r"[+±−]\d+ customers", found["What changed against yesterday?"])
    assert "Sat 21 Nov 2026" in found["What changed against yesterday?"]
    assert found["What fails?"].startswith("No ID failed.")
    assert re.search(
        r"At \w+ \d+ \w+ 20\d\d, \d\d:\d\d, \d+ s after it begins\.", found["When will tonight end?"]
    )


def test_the_verdict_comes_first_and_says_what_to_do(published: Home) -> None:
    """In one look: published, how complete, and that there is nothing to do."""
    said = verdict(page_of(published, TWO))
    assert said == "Published All 101 IDs were asked for. Next: nothing to do."


def test_the_page_lies_beside_the_manifest_too(published: Home) -> None:
    """The same page for whoever looks into the export."""
    name = snapshot.manifest(published.export)["snapshot"]
    beside = (published.export / "snapshots" / name / "report.html").read_text()
    assert answers(beside) == answers(page_of(published, TWO))


def test_outcomes_sum_up_to_the_distinct_ids(published: Home) -> None:
    """The account balances to the last ID, and is that of the manifest."""
    rows = [one.text.split() for one in read(page_of(published, TWO)).by_id("account").every("tr")[1:]]
    told = {row[0]: int(row[1].replace(",", "")) for row in rows[:-1]}
    assert told == snapshot.manifest(published.export)["outcomes"]
    assert rows[-1][:3] == ["distinct", "IDs", "101"]
    assert sum(told.values()) == 101


def test_the_age_is_that_of_the_rows(published: Home) -> None:
    """What the manifest says of the customers' nights is what the table has."""
    rows = snapshot.rows(published.export, "customers")
    nights = snapshot.manifest(published.export)["customers_by_night"]
    assert sum(nights.values()) == len(rows)
    assert nights[TWO.isoformat()] == sum(row["_night"] == TWO for row in rows)


def test_a_held_night_says_what_holds_it_and_how_to_publish_it(published: Home, tmp_path: Path) -> None:
    """The check that failed, with its numbers; and the command, which names the config's own file."""
    home = copy_of(published, tmp_path)
    before = date(2026, 11, 20)
    go(home, before)  # a newer night is live: what comes now must not replace it
    found = answers(page_of(home, before))
    assert verdict(page_of(home, before)).startswith("Held ")
    assert found["Did it publish?"].startswith("No. Readers see 20")
    assert "newer night" in found["If not, why?"]
    command = f"capillary-export publish {home.config_path} --night {before} --force --reason TEXT"
    assert command in found["If not, why?"]
    assert found["When will tonight end?"].startswith("At ")
    assert "failed" in read(page_of(home, before)).by_id("checks").text


def copy_of(home: Home, to: Path) -> Home:
    """A home like that one, to go on with."""
    shutil.copytree(home.root, to / "home")
    other = Home.__new__(Home)
    other.root, other.config_path, other.settings = to / "home", to / "home" / "nightly.yaml", home.settings
    return other


def test_a_night_that_was_not_to_be_published_says_so(published: Home, tmp_path: Path) -> None:
    """--no-publish is no failure, and needs no --force."""
    home = copy_of(published, tmp_path)
    third = date(2026, 11, 23)
    go(home, third, no_publish=True)
    said = verdict(page_of(home, third))
    assert said.startswith("Not published The snapshot is whole and its checks passed")
    assert said.endswith(f"capillary-export publish {home.config_path} --night {third}")
    assert main(["publish", str(home.config_path), "--night", third.isoformat()]) == 0
    assert verdict(page_of(home, third)).startswith("Published ")


def test_a_night_whose_window_closed_says_how_many_were_not_asked(server: Sandbox, tmp_path: Path) -> None:
    """It published what it had; the rest is deferred, and the quota was the limit."""
    home = slow_home(server, tmp_path, calls_per_minute=1200)
    closes = (datetime.now() + timedelta(seconds=5)).time()  # noqa: DTZ005 - the machine's clock, as the user gives it
    ended = go(home, until=closes)
    assert ended.stopped is not None
    found = answers(page_of(home))
    assert "The window has closed." in verdict(page_of(home))
    deferred = snapshot.manifest(home.export)["outcomes"]["deferred"]
    assert f"{deferred} not asked (deferred)" in found["Who is missing?"]
    assert found["Is the quota the limit?"].startswith("Yes: ")
    assert found["Did it publish?"].startswith("Yes")


def slow_home(server: Sandbox, root: Path, calls_per_minute: int) -> Home:
    """A night of 400 IDs that its quota makes last a while."""
    home = Home(root, server.url)
    home.settings["quota"] = {"limits": [{"calls": calls_per_minute, "per_s": 60}], "max_in_flight": 16}
    home.save()
    home.write_ids(known_ids(400))
    return home


def test_a_night_that_the_api_refuses_published_nothing_and_sends_to_the_doctor(
    server: Sandbox, tmp_path: Path
) -> None:
    """Nothing was ever published: no data, no age, and the reason in the API's words."""
    home = Home(tmp_path, server.url)
    (home.root / "password").write_text("wrong")
    with pytest.raises(RefusedError):
        go(home)
    found = answers(page_of(home))
    assert found["Did it publish?"] == "No. Readers see nothing yet."
    assert f"capillary-export doctor {home.config_path}" in found["If not, why?"]
    assert "50 not asked (deferred)" in found["Who is missing?"]
    assert found["How old is the data?"].startswith("There is no data yet.")
    assert found["What changed against yesterday?"].startswith("There is no night before")
    assert found["When will tonight end?"].startswith("At ")


@pytest.fixture(scope="module")
def killed(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """A night that was killed at some hundred answers; and its page from just before."""
    home = slow_home(server, tmp_path_factory.mktemp("killed"), calls_per_minute=1800)
    words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--night", ONE.isoformat()]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    folder, page = Workspace(home.work).night(ONE), NightPage(home.config(), ONE)
    try:
        wait_for(lambda: json.loads(folder.progress.read_bytes())["durable"] >= 100)
        running = page.html(datetime.now(UTC))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return home, running


def wait_for(is_so: Any) -> None:
    """Look often, for half a minute at the most."""
    for _ in range(600):
        with suppress(OSError, ValueError):
            if is_so():
                return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_a_running_night_has_a_page_from_the_first_answer_on(killed: tuple[Home, str]) -> None:
    """No chunk is sealed yet: the open one is read as far as it is whole."""
    _, html = killed
    found = answers(html)
    assert re.match(r"Running \d{3} of 400 IDs have a verdict so far\.", verdict(html))
    assert found["Did it publish?"].startswith("Not yet.")
    assert re.search(r"\d+ not asked yet", found["Who is missing?"])
    assert read(html).by_id("plot-calls").every("path")


def test_a_night_that_died_has_a_page_with_the_exact_account(
    killed: tuple[Home, str], tmp_path: Path
) -> None:
    """`report` makes it from the journal alone, and changes nothing there; the next run goes on from it."""
    home = copy_of(killed[0], tmp_path)
    assert main(["report", str(home.config_path), "--night", ONE.isoformat()]) == 0
    html = page_of(home)
    found = answers(html)
    assert verdict(html).startswith("Died, nothing published The run ended without a word")
    assert verdict(html).endswith(f"capillary-export run {home.config_path}")
    told = {
        row.every("th")[0].text: row.every("td")[0].text
        for row in read(html).by_id("account").every("tr")[1:]
    }
    assert sum(int(count) for name, count in told.items() if name != "distinct IDs") == 400
    assert found["What fails?"].startswith("No ID failed.")
    done = 400 - int(told["deferred"])
    assert done >= 100
    go(home, limit=0)
    assert snapshot.manifest(home.export)["outcomes"]["deferred"] == 400 - done


@pytest.mark.long
def test_the_next_night_leaves_the_dead_one_its_page(killed: tuple[Home, str], tmp_path: Path) -> None:
    """Its answers go along, its page stays; made again it says where they are."""
    home = copy_of(killed[0], tmp_path)
    go(home, TWO)
    assert verdict(page_of(home, ONE)).startswith("Died")
    assert main(["report", str(home.config_path), "--night", ONE.isoformat()]) == 0
    assert verdict(page_of(home, ONE)).startswith("Taken along")


def test_a_night_whose_folder_is_gone_has_what_the_manifest_tells(published: Home, tmp_path: Path) -> None:
    """`work.keep_nights` has passed: the page says that its calls are no longer known one by one."""
    home = copy_of(published, tmp_path)
    shutil.rmtree(home.work / TWO.isoformat())
    name = snapshot.manifest(home.export)["snapshot"]
    beside = home.export / "snapshots" / name / "report.html"
    beside.unlink()
    assert main(["report", str(home.config_path), "--night", TWO.isoformat()]) == 0
    html = beside.read_text()
    assert answers(html)["Did it publish?"].startswith("Yes")
    assert "the night's folder is no longer kept" in read(html).by_id("missing").text
    assert not (home.work / TWO.isoformat()).exists()


def test_there_is_no_page_of_a_night_that_never_was(
    published: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong date is wrong use."""
    assert main(["report", str(published.config_path), "--night", "2020-01-01"]) == 2
    assert "There is no night 2020-01-01." in capsys.readouterr().err


def test_a_page_that_cannot_be_made_holds_nothing_back(
    server: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the page is a remark; the night is published all the same."""
    home = Home(tmp_path, server.url)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the template")

    monkeypatch.setattr(NightPage, "facts", broken)
    ended = go(home)
    assert ended.live
    assert "The morning page could not be made" in ended.remark
