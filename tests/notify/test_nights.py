"""Whole nights that tell how they ended, from the command line, and go their way whatever the hooks do."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.sandbox import Sandbox, known_ids
from pipeline.store.workspace import Workspace
from tests import snapshot
from tests.conftest import Home, calls_seen
from tests.notify.servers import Inbox, inbox, mailbox, silent_port, until
from tests.test_cli import ROOT

EVERYTHING = ["published", "held", "stopped", "failed"]
NIGHT = "2026-11-21"


def command(home: Home, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    verb, *more = words
    return subprocess.run(
        [sys.executable, "-m", "pipeline", str(verb), str(home.config_path), *map(str, more)],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def night(home: Home, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return command(home, "run", "--night", NIGHT, "--quiet", "--json", *words, **environ)


def with_webhook(home: Home, on: list[str] | None = None) -> None:
    """Everything, in the form for machines, to `HOOK_URL`."""
    hook = {"on": on or EVERYTHING, "webhook": {"url_env": "HOOK_URL", "format": "json"}}
    home.settings["notify"] = [hook]
    home.save()


def only(box: Inbox) -> dict[str, Any]:
    (found,) = box.seen
    return found


def test_a_published_night_tells_its_account_and_where_its_page_lies(home: Home) -> None:
    """What the manifest has is what is told; the page is there."""
    with_webhook(home)
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notices"] == []
    assert done.stderr == ""
    told = only(box)
    made = snapshot.manifest(home.export)
    assert (told["event"], told["night"], told["exit_code"]) == ("published", NIGHT, 0)
    assert told["counts"] == made["outcomes"]
    assert told["calls"] == made["calls"]
    assert Path(told["page"]).is_file()


@pytest.mark.long
def test_a_night_with_nothing_to_do_tells_nothing(home: Home) -> None:
    """The second `run` of a published night is no news."""
    with_webhook(home)
    with inbox() as box:
        assert night(home, HOOK_URL=box.url).returncode == 0
        assert night(home, HOOK_URL=box.url).returncode == 0
        assert night(home, "--no-publish", "--ids", home.root / "ids.csv", HOOK_URL=box.url).returncode == 0
    assert only(box)["event"] == "published"


def test_a_held_night_is_told_with_the_check_and_a_person_who_publishes_it_too(
    home: Home,
) -> None:
    """The check is named, the page is there, and the command to go on with is one that works."""
    home.settings["output"] = {"drift": {"associated_images": "fail"}}  # it gets unknown keys
    with_webhook(home, ["held", "published"])
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
        assert done.returncode == 4, done.stdout + done.stderr
        told = box.seen.pop()
        assert (told["event"], told["exit_code"]) == ("held", 4)
        assert "drift" in told["reason"]
        assert Path(told["page"]).is_file()
        words = told["next_command"].split()
        assert words[:3] == ["capillary-export", "publish", str(home.config_path)]
        again = command(home, "publish", *words[3:], HOOK_URL=box.url)
        assert again.returncode == 0, again.stderr
    told = only(box)
    assert (told["event"], told["reason"]) == ("published", "Published by hand: TEXT")


def test_a_signal_is_told_as_stopped_with_what_was_done(home: Home, sandbox: Sandbox) -> None:
    """SIGTERM in the middle: exit code 3, and the hook has been told before the process ends."""
    home.settings["quota"]["limits"] = [{"calls": 10, "per_s": 1}]
    home.write_ids(known_ids(200))
    with_webhook(home)
    words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--night", NIGHT, "--quiet"]
    with inbox() as box:
        process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "HOOK_URL": box.url})
        assert until(lambda: calls_seen(sandbox) >= 25, 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 3
    told = only(box)
    assert (told["event"], told["night"], told["exit_code"]) == ("stopped", NIGHT, 3)
    assert "SIGTERM" in told["reason"]
    assert 0 < told["counts"]["exported"] < 200
    assert told["next_command"] == f"capillary-export run {home.config_path}"
    assert "SIGTERM" in Path(told["page"]).read_text()


@pytest.mark.long
def test_the_windows_end_is_no_alarm(home: Home) -> None:
    """Exit code 3 as ever, but it ended as planned and is live: `published`, with how many are left."""
    home.settings["quota"]["limits"] = [{"calls": 5, "per_s": 1}]
    home.settings["window"] = {"timezone": "UTC"}
    home.write_ids(known_ids(400))
    with_webhook(home)
    closing = (datetime.now(UTC) + timedelta(seconds=14)).strftime("%H:%M:%S")
    with inbox() as box:
        done = night(home, "--until", closing, HOOK_URL=box.url)
    assert done.returncode == 3, done.stderr
    told = only(box)
    assert (told["event"], told["kinds"], told["exit_code"]) == ("published", ["published"], 3)
    assert "What was fetched until then is published." in told["reason"]
    assert told["counts"]["deferred"] > 0


@pytest.mark.long
def test_an_outage_that_was_published_reaches_both_kinds_of_hooks(
    home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Once each: it is news for whoever waits for tables, and for whoever is on call."""
    sandbox = start_sandbox(faults="outage=600s@1s, latency=20ms")
    home.settings["api"]["host"] = sandbox.url
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": 1}]
    home.settings["retry"] = {"max_wait_s": 0.2, "outage_s": 2}
    home.write_ids(known_ids(100))
    hooks = [{"on": [one], "webhook": {"url_env": "HOOK_URL", "format": "json"}} for one in EVERYTHING]
    home.settings["notify"] = hooks
    home.save()
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == 3, done.stderr
    assert [one["kinds"] for one in box.seen] == [["published", "stopped"]] * 2


@pytest.mark.parametrize(
    ("change", "code", "said", "verb"),
    [
        ({"password": "wrong"}, 5, "401", "doctor"),
        ({"ids": "no_such_column"}, 2, "column", "doctor"),
    ],
)
def test_a_failure_is_told_with_the_next_command(
    home: Home, change: dict[str, str], code: int, said: str, verb: str
) -> None:
    """Refused by the API (5), and a config that is wrong about its CSV (2)."""
    (home.root / "password").write_text(change.get("password", "sandbox"))
    home.settings["ids"]["column"] = change.get("ids", "customer_id")
    with_webhook(home)
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == code, done.stderr
    told = only(box)
    assert (told["event"], told["exit_code"]) == ("failed", code)
    assert said in told["reason"]
    assert told["next_command"] == f"capillary-export {verb} {home.config_path}"


def test_a_workspace_that_another_run_holds_is_told_as_failed(home: Home) -> None:
    """A run that hangs would keep every later night from beginning, and nobody would know (6)."""
    with_webhook(home)
    with inbox() as box, Workspace(home.work).lock():
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == 6
    assert (only(box)["event"], only(box)["exit_code"]) == ("failed", 6)


def test_a_store_in_trouble_is_told_as_failed(home: Home) -> None:
    """Storage (7): the export's folder is a file."""
    home.export.write_text("not a folder")
    with_webhook(home)
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == 7, done.stderr
    assert only(box)["exit_code"] == 7


def test_a_bug_is_told_by_its_kind_alone(home: Home) -> None:
    """Its text may hold a customer's data; here it plants a name."""
    (home.root / "plant").mkdir()
    plant = (
        "import pipeline.night as n\n"
        "def broken(*_): raise KeyError('canary Asha Rao 387020208')\n"
        "n.list_tonight = broken\n"
    )
    (home.root / "plant" / "sitecustomize.py").write_text(plant)
    with_webhook(home)
    with inbox() as box:
        done = night(home, HOOK_URL=box.url, PYTHONPATH=str(home.root / "plant"))
    assert done.returncode == 1, done.stderr
    told = only(box)
    assert told["reason"] == "A bug: KeyError. Please report it."
    assert "canary" not in json.dumps(told)


def test_hooks_that_fail_hang_and_flood_change_nothing_but_the_notices(home: Home, tmp_path: Path) -> None:
    """The same exit code, the same tables; each failure is told once on stderr and in `notices`, without secrets."""
    flood = tmp_path / "flood.sh"
    flood.write_text("#!/bin/sh\nhead -c 5000000 /dev/zero | tee /dev/stderr\nexit 9\n")
    flood.chmod(flood.stat().st_mode | stat.S_IXUSR)
    with inbox(path="/canary") as failing, inbox(path="/canary") as hanging, silent_port() as port:
        failing.statuses, hanging.hangs = [500] * 9, True
        mail = {"smtp": f"localhost:{port}", "tls": "none", "from": "a@example.com", "to": ["b@example.com"]}
        home.settings["notify"] = [
            {"on": ["published"], "webhook": {"url_env": "FAILING"}},
            {"on": ["published"], "webhook": {"url_env": "HANGING"}, "timeout_s": 1},
            {"on": ["published"], "webhook": {"url_env": "NOT_SET_HERE"}},
            {"on": ["published"], "email": mail, "timeout_s": 1},
            {"on": ["published"], "command": [str(flood)]},
            {"on": ["failed"], "command": [str(tmp_path / "never")]},
        ]
        home.save()
        done = night(home, FAILING=failing.url, HANGING=hanging.url)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["published"]
    assert [one.partition(":")[0] for one in found["notices"]] == [
        "notify.0 (webhook)",
        "notify.1 (webhook)",
        "notify.2 (webhook)",
        "notify.3 (email)",
        "notify.4 (command)",
    ]
    assert found["notices"][0] == "notify.0 (webhook): answered HTTP 500"
    assert found["notices"][4] == "notify.4 (command): ended with exit code 9"
    assert done.stderr.count("The night is not affected.") == 5
    assert "canary" not in done.stdout + done.stderr
    assert sum(snapshot.manifest(home.export)["outcomes"].values()) == 50


def test_a_signal_while_the_hooks_run_ends_them_and_not_the_night(home: Home, tmp_path: Path) -> None:
    """Ctrl-C at the end: the tables are live, so the exit code stays 0."""
    with inbox() as box:
        box.hangs = True
        with_webhook(home)
        home.settings["notify"][0]["timeout_s"] = 60
        home.save()
        words = [sys.executable, "-m", "pipeline", "run", str(home.config_path), "--quiet", "--json"]
        process = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, "HOOK_URL": box.url}, stdout=subprocess.PIPE, text=True
        )
        assert until(lambda: box.seen, 30)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(output)["notices"] == ["notify: stopped by a signal before everybody was told"]


def test_nothing_of_a_customer_stands_in_what_is_told(home: Home, tmp_path: Path) -> None:
    """No name, mobile, e-mail or ID that the tables have; with the mail's page looked at, too."""
    with inbox() as box, mailbox() as mails:
        with_webhook(home)
        mail = {
            "smtp": f"localhost:{mails.port}",
            "tls": "none",
            "from": "a@example.com",
            "to": ["b@example.com"],
        }
        home.settings["notify"].append({"on": ["published"], "email": mail})
        home.save()
        assert night(home, HOOK_URL=box.url).returncode == 0
    (sent,) = mails.mails
    text = sent.get_body(("plain",))
    assert text is not None
    pages = [part.get_content() for part in sent.iter_attachments()]
    assert len(pages) == 1
    told = "\n".join([json.dumps(box.seen), str(sent["Subject"]), text.get_content(), *pages])
    profiles = snapshot.rows(home.export, "profiles")
    identifiers = snapshot.rows(home.export, "identifiers")
    secrets = {str(row["customer_id"]) for row in profiles}
    secrets |= {str(row["value"]) for row in identifiers if row["value"] and len(str(row["value"])) > 6}
    assert len(secrets) > 50
    assert [one for one in secrets if one in told] == []


def test_a_lakehouse_that_is_behind_is_told_to_whoever_is_on_call_and_to_whoever_waits(home: Home) -> None:
    """The snapshot is live and its catalog is away (7): `published` and `failed`, once for each hook."""
    pytest.importorskip("pyiceberg")
    home.settings["output"] = {"format": "iceberg", "catalog": {"kind": "rest", "uri": "http://127.0.0.1:9"}}
    with_webhook(home)
    with inbox() as box:
        done = night(home, HOOK_URL=box.url)
    assert done.returncode == 7, done.stdout + done.stderr
    told = only(box)
    assert (told["event"], told["kinds"], told["exit_code"]) == ("failed", ["failed", "published"], 7)
    assert told["next_command"] == f"capillary-export run {home.config_path}"


# The trial


def test_notify_tries_each_hook_with_an_event_that_says_it_is_a_test(home: Home, tmp_path: Path) -> None:
    """Each its first event; with `--on` those that want it. What failed is told, and the exit code says so."""
    script = tmp_path / "hook.sh"
    script.write_text('#!/bin/sh\necho "hello from the hook"\ncat > "$0.json"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    home.settings["notify"] = [
        {"on": ["held", "failed"], "webhook": {"url_env": "HOOK_URL"}},
        {"on": ["failed"], "command": [str(script)]},
    ]
    home.save()
    with inbox() as box:
        done = command(home, "notify", "--json", HOOK_URL=box.url)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["hooks"]
        assert [(one["hook"], one["event"], one["ok"]) for one in found] == [
            ("notify.0 (webhook)", "held", True),
            ("notify.1 (command)", "failed", True),
        ]
        assert box.seen.pop()["text"].startswith("*[TEST] nightly: night ")
        assert "hello from the hook" in done.stderr
        assert json.loads((tmp_path / "hook.sh.json").read_text())["is_test"] is True
        box.statuses = [404]
        done = command(home, "notify", "--on", "held", HOOK_URL=box.url)
    assert done.returncode == 2
    assert "answered HTTP 404" in done.stdout
    assert not home.work.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--on", "helt"], "There is no event helt."), ([], "no hook"), (["--on", "held"], "no hook")],
)
def test_notify_without_a_hook_to_try_is_wrong_use(home: Home, words: list[str], said: str) -> None:
    """Said, not passed over."""
    done = command(home, "notify", *words)
    assert done.returncode == 2
    assert said in done.stderr
