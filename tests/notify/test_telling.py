"""Hooks against real servers: what arrives, what a failure is told as, and what never comes out."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import HookConfig
from pipeline.notify import telling
from pipeline.notify.event import Event, plain
from pipeline.notify.telling import Told, tell
from tests.notify.servers import (
    PASSWORD,
    USER,
    Certificates,
    certificates,
    inbox,
    mailbox,
    silent_port,
    until,
)

SECRET_PATH = "/services/T000/B000/canary-in-the-url"
PAGE = b"<!doctype html><title>Night 2026-11-23</title><p>Held.</p>"
HELD = Event(
    event="held",
    kinds=frozenset({"held"}),
    config="/srv/export/acme.yaml",
    night="2026-11-23",
    reason="rows: loyalty has half of its rows & <!channel> stays asleep",
    exit_code=4,
    counts={"exported": 431_655, "failed": 12, "absent": 0},
    calls={"made": 450_000, "throttled": 3},
    snapshot="2026-11-23T053012Z",
    page="/srv/export/snapshots/2026-11-23T053012Z/report.html",
    next_command="capillary-export publish /srv/export/acme.yaml --night 2026-11-23 --force --reason TEXT",
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(telling, "WAITS_S", (0.01, 0.01))


@pytest.fixture(scope="module")
def certified() -> Certificates:
    """One authority for all tests here."""
    return certificates()


@pytest.fixture
def trusting(certified: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """The machine trusts the tests' authority, as an operator makes it trust the company's."""
    certified.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return certified


def hook(**settings: Any) -> HookConfig:
    return HookConfig.model_validate({"on": ["held"], "timeout_s": 5} | settings)


def told(one: HookConfig, environ: Mapping[str, str] | None = None, event: Event = HELD) -> Told:
    (found,) = tell({0: one}, event, PAGE, {**os.environ, **(environ or {})})
    return found


def slack(url: str, **settings: Any) -> tuple[HookConfig, dict[str, str]]:
    return hook(webhook={"url_env": "HOOK_URL"}, **settings), {"HOOK_URL": url}


# Webhooks


def test_a_webhook_says_what_happened_why_and_what_to_do() -> None:
    """Slack's form: one text, its marks escaped, the numbers readable."""
    with inbox(path=SECRET_PATH) as box:
        assert told(*slack(box.url)).notice == ""
    (seen,) = box.seen
    assert set(seen) == {"text"}
    lines = seen["text"].split("\n")
    assert lines[0] == "*acme: night 2026-11-23 HELD: a check failed, the last snapshot stays live*"
    assert lines[1] == "rows: loyalty has half of its rows &amp; &lt;!channel&gt; stays asleep"
    assert lines[2:5] == [
        "IDs: 431,655 exported, 12 failed",
        "Calls: 450,000 made, 3 throttled",
        "Exit code: 4",
    ]
    assert lines[5] == f"Next: `{HELD.next_command}`"
    assert lines[6] == f"Page: {HELD.page}"
    assert box.paths == [SECRET_PATH]


def test_a_webhook_for_machines_brings_every_field() -> None:
    """`format: json`."""
    with inbox() as box:
        assert told(hook(webhook={"url_env": "U", "format": "json"}), {"U": box.url}).notice == ""
    (seen,) = box.seen
    assert (seen["event"], seen["night"], seen["exit_code"]) == ("held", "2026-11-23", 4)
    assert seen["counts"]["exported"] == 431_655
    assert seen["kinds"] == ["held"]


def test_a_server_that_fails_is_asked_again_and_then_told_of() -> None:
    """503 twice passes; 500 for good is a notice, without a word of the URL."""
    with inbox(path=SECRET_PATH) as box:
        box.statuses = [503, 503]
        assert told(*slack(box.url)).notice == ""
        assert len(box.seen) == 3
        box.statuses = [500] * 9
        assert told(*slack(box.url)).notice == "notify.0 (webhook): answered HTTP 500"
        assert len(box.seen) == 6


@pytest.mark.parametrize("status", [302, 307, 400, 404, 410])
def test_a_refusal_is_final_and_a_redirect_is_not_followed(status: int) -> None:
    """Asked again it would say the same; followed, the event would come to a stranger."""
    with inbox(path=SECRET_PATH) as box:
        box.statuses = [status]
        assert told(*slack(box.url)).notice == f"notify.0 (webhook): answered HTTP {status}"
    assert len(box.seen) == 1


def test_https_is_verified(trusting: Certificates) -> None:
    """A certificate of the trusted authority for this host passes, one for another host does not."""
    with inbox(trusting.server, SECRET_PATH) as box:
        assert told(*slack(box.url)).notice == ""
        assert len(box.seen) == 1
    with inbox(trusting.stranger, SECRET_PATH) as box:
        notice = told(*slack(box.url)).notice
        assert "its certificate is not accepted: it is for another host" in notice
        assert box.seen == []


def test_an_authority_that_nobody_knows_is_refused(certified: Certificates) -> None:
    """Nothing is sent to whom it was not meant for."""
    with inbox(certified.server, SECRET_PATH) as box:
        assert "its certificate is not accepted" in told(*slack(box.url)).notice
        assert box.seen == []


def test_a_webhook_that_hangs_is_left_after_its_time() -> None:
    """The night goes home."""
    with inbox(path=SECRET_PATH) as box:
        box.hangs = True
        notice = told(*slack(box.url, timeout_s=0.5)).notice
    assert notice in ("notify.0 (webhook): no answer in time", "notify.0 (webhook): no answer within 0.5 s")


def test_an_answer_without_end_is_not_read() -> None:
    """The status says all."""
    with inbox() as box:
        box.floods = True
        assert told(*slack(box.url)).notice == ""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://", "its URL is no URL"),
        ("hooks.slack.com/services/canary", "its URL is no URL"),
        ("ftp://example.com/canary", "its URL is no URL"),
        ("https://example.com:canary/x", "its URL is no URL"),
        ("https://exämple.com/canary", "its URL is no URL"),
        ("https://u:canary@example.com/x", "its URL must be a plain one, without a user"),
        ("http://example.com/canary", "its URL must be https; http is allowed to loopback only"),
        ("https://canary.invalid/x", "its host is not known"),
    ],
)
def test_a_url_that_is_none_is_told_without_repeating_it(url: str, said: str) -> None:
    """It comes from a variable: a mistake there is not to end in a log."""
    assert told(*slack(url)).notice == f"notify.0 (webhook): {said}"


def test_a_proxy_of_the_environment_is_used_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A forgotten http_proxy does not get the URL; `proxy_from_env` sends it there."""
    with inbox(path=SECRET_PATH) as box, inbox() as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert told(*slack(box.url)).notice == ""
        assert (len(box.seen), len(proxy.seen)) == (1, 0)
        by_proxy = hook(webhook={"url_env": "HOOK_URL", "proxy_from_env": True})
        assert told(by_proxy, {"HOOK_URL": box.url}).notice == ""
        assert (len(box.seen), proxy.paths) == (1, [box.url])


def test_a_secret_that_cannot_be_had_is_a_notice() -> None:
    """The variable's name is told, so that the remedy is plain."""
    found = told(hook(webhook={"url_env": "NOT_SET_HERE"}))
    assert found.notice == (
        "notify.0 (webhook): notify.0.webhook.url_env names NOT_SET_HERE, but that variable is not set"
    )


# Mail


def mail(port: int, **settings: Any) -> HookConfig:
    about = {"smtp": f"localhost:{port}", "from": "Night <night@example.com>", "to": ["ops@example.com"]}
    return hook(email=about | settings)


WITH_PASSWORD = {"user": USER, "password_env": "MAIL_PASSWORD"}


def test_a_mail_goes_by_starttls_with_a_password_and_brings_the_page(trusting: Certificates) -> None:
    """Text to read at a glance, the morning page attached byte by byte."""
    with mailbox(trusting.server, auth=True) as box:
        many = mail(box.port, to=["ops@example.com", "Sales <sales@example.com>"], **WITH_PASSWORD)
        assert told(many, {"MAIL_PASSWORD": PASSWORD}).notice == ""
    (found,) = box.mails
    assert (box.was_tls, box.logins) == ([True], [USER])
    assert box.recipients == [["ops@example.com", "sales@example.com"]]
    assert found["Subject"] == (
        "[capillary-export] acme: night 2026-11-23 HELD: a check failed, the last snapshot stays live"
    )
    assert found["From"] == "Night <night@example.com>"
    assert found["Auto-Submitted"] == "auto-generated"
    text = found.get_body(("plain",))
    assert text is not None
    assert f"Next: {HELD.next_command}" in text.get_content()
    (page,) = found.iter_attachments()
    assert page.get_filename() == "night-2026-11-23.html"
    assert page.get_content() == PAGE.decode()


def test_a_wrong_password_is_told_and_not_repeated(trusting: Certificates) -> None:
    """Neither tried again, nor shown."""
    with mailbox(trusting.server, auth=True) as box:
        notice = told(mail(box.port, **WITH_PASSWORD), {"MAIL_PASSWORD": "canary-wrong"}).notice
    assert notice == "notify.0 (email): user or password was refused (535)"
    assert box.mails == []


def test_no_password_is_sent_where_the_server_offers_no_tls() -> None:
    """Somebody in between may have taken STARTTLS out of the answer."""
    with mailbox() as box:
        notice = told(mail(box.port, **WITH_PASSWORD), {"MAIL_PASSWORD": PASSWORD}).notice
    assert notice == "notify.0 (email): the server does not offer what tls and user need (STARTTLS, AUTH)"
    assert (box.mails, box.logins) == ([], [])


def test_a_strangers_mail_server_gets_nothing(trusting: Certificates) -> None:
    """Its certificate is for another host."""
    with mailbox(trusting.stranger, auth=True) as box:
        notice = told(mail(box.port, **WITH_PASSWORD), {"MAIL_PASSWORD": PASSWORD}).notice
    assert "its certificate is not accepted: it is for another host" in notice
    assert (box.mails, box.logins) == ([], [])


def test_a_mail_that_is_turned_away_for_now_is_sent_again() -> None:
    """Greylisting: 451 the first time, taken the second; and taken once."""
    with mailbox() as box:
        box.rejects_first = 1
        assert told(mail(box.port, tls="none", attach_page=False)).notice == ""
    (found,) = box.mails
    assert list(found.iter_attachments()) == []


def test_recipients_that_are_refused_are_counted() -> None:
    """One of two is told; both are a failure; no address stands in a notice."""
    with mailbox() as box:
        box.refused = "gone@example.com"
        one_of_two = mail(box.port, tls="none", to=["gone@example.com", "ops@example.com"])
        assert told(one_of_two).notice == "notify.0 (email): 1 of 2 recipients were refused"
        assert box.recipients == [["ops@example.com"]]
        nobody = mail(box.port, tls="none", to=["gone@example.com"])
        assert told(nobody).notice == "notify.0 (email): every recipient was refused (550)"


def test_a_mail_server_that_says_nothing_is_left_after_its_time() -> None:
    """It takes the connection, and that is all."""
    with silent_port() as port:
        quiet = mail(port, tls="none").model_copy(update={"timeout_s": 0.5})
        assert told(quiet).notice.startswith("notify.0 (email): no answer")


# Commands


def script(folder: Path, text: str) -> list[str]:
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return [str(path), str(folder)]


def test_a_command_gets_the_event_on_stdin_and_in_its_environment(tmp_path: Path) -> None:
    """A real script; arguments are its own."""
    words = script(tmp_path, 'cat > "$1/stdin.json"; env > "$1/environ"')
    assert told(hook(command=words), {"ITS_OWN": "kept"}).notice == ""
    found = json.loads((tmp_path / "stdin.json").read_text())
    assert found["title"] == HELD.title
    environ = (tmp_path / "environ").read_text().split("\n")
    for line in (
        "CAPILLARY_EXPORT_EVENT=held",
        "CAPILLARY_EXPORT_NIGHT=2026-11-23",
        "CAPILLARY_EXPORT_EXIT_CODE=4",
        f"CAPILLARY_EXPORT_PAGE={HELD.page}",
        "ITS_OWN=kept",
    ):
        assert line in environ


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "ended with exit code 3"),
        ("kill -TERM $$", "was ended by SIGTERM"),
        ("exec 0<&-; exit 0", ""),
        ("head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2", ""),
    ],
)
def test_how_a_command_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, said: str) -> None:
    """Megabytes of output go nowhere; a command that reads nothing is fine."""
    found = told(hook(command=script(tmp_path, text)))
    assert found.notice == (f"notify.0 (command): {said}" if said else "")
    assert capfd.readouterr() == ("", "")


def test_a_command_that_cannot_be_started_is_a_notice(tmp_path: Path) -> None:
    """It is not there, or may not be run."""
    assert told(hook(command=[str(tmp_path / "gone")])).notice.endswith("No such file or directory")
    (tmp_path / "text").write_text("no program")
    assert told(hook(command=[str(tmp_path / "text")])).notice.endswith("Permission denied")


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """No process is left behind."""
    words = script(tmp_path, 'sleep 60 & echo $! > "$1/child"; wait')
    found = told(hook(command=words, timeout_s=1))
    assert "was killed" in found.notice
    child = int((tmp_path / "child").read_text())
    assert until(lambda: not _is_alive(child))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# All together


def test_one_that_hangs_holds_no_other_up(tmp_path: Path) -> None:
    """Side by side: the good one has been told while the bad one waits, and all is over after one time-out."""
    good = script(tmp_path, 'date +%s.%N > "$1/told"')
    with silent_port() as port:
        hooks = {
            0: mail(port, tls="none").model_copy(update={"timeout_s": 2}),
            1: slack(f"http://localhost:{port}/x", timeout_s=2)[0],
            2: hook(command=good),
        }
        found = tell(hooks, HELD, None, {**os.environ, "HOOK_URL": f"http://localhost:{port}/x"})
        over = time.time()
    assert [bool(one.notice) for one in found] == [True, True, False]
    assert float((tmp_path / "told").read_text()) < over - 1.0


def test_no_secret_stands_in_anything_that_is_shown(trusting: Certificates) -> None:
    """Reprs of the config and of what was told."""
    with inbox(path=SECRET_PATH) as box:
        box.statuses = [500] * 3
        one, environ = slack(box.url)
        found = told(one, environ)
    assert "canary" not in repr(one) + repr(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the customer 387020208 is odd", "the customer … is odd"),
        (
            "1,200,000 IDs, night 2026-11-23, 2026-11-23T053012Z",
            "1,200,000 IDs, night 2026-11-23, 2026-11-23T053012Z",
        ),
        ("a\x00b\r\nBcc: x\x1b[31m", "a b Bcc: x [31m"),
        ("x" * 2000, "x" * 699 + "…"),
    ],
)
def test_texts_are_one_line_without_what_may_be_an_id(text: str, shown: str) -> None:
    """They go into a mail's header, an environment, a chat."""
    assert plain(text) == shown
