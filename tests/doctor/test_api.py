"""What the API answers, in plain words: each refusal and each fault is told apart, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.doctor import Finding, Level, api, examine
from pipeline.sandbox import Sandbox, known_ids
from pipeline.sandbox.hostile import HOSTILE
from pipeline.store.workspace import Workspace
from tests.conftest import Home, calls_seen
from tests.doctor.conftest import found, the

NOW = datetime.now(UTC)
CANARY = "canary-5ecret"


def asked(home: Home, **changes: Any) -> Finding:
    """The finding of the call, with other settings of `api`."""
    home.settings["api"] |= changes
    home.save()
    return the(home.config(), "API")


def test_a_good_answer_costs_one_call(home: Home, sandbox: Sandbox) -> None:
    """It asks for the list's first customer, as a night does, and says so."""
    home.write_ids([known_ids(50)[7]])
    finding = asked(home)
    assert finding.level is Level.OK
    assert finding.calls == calls_seen(sandbox) == 1
    assert f"customer {known_ids(50)[7]} is exported" in finding.detail


def test_oauth_costs_a_token_too(home: Home, sandbox: Sandbox) -> None:
    """Both calls are told."""
    (home.root / "secret").write_text("secret")
    finding = asked(home, auth={"kind": "oauth", "key": "key", "secret_file": "secret"})
    assert (finding.level, finding.calls) == (Level.OK, 2)
    assert sandbox.judge.token_calls == 1


BASIC = {"kind": "basic", "till": "till.01", "password_file": "password"}


@pytest.mark.parametrize(
    ("changes", "said", "remedy", "code"),
    [
        ({"auth": {**BASIC, "till": "till.99"}}, "does not accept the till till.99", "its own cluster", 5),
        ({"auth": {**BASIC, "till": "till.forbidden"}}, "4000: access is denied", "access group", 5),
        (
            {"auth": {"kind": "oauth", "key": "key", "secret_file": "password"}},
            "no OAuth token (HTTP 401)",
            "api.auth.key",
            5,
        ),
        ({"source": "NO_SUCH", "account_id": "x"}, "8012: invalid source", "api.source", 2),
        ({"source": "WECHAT", "account_id": "x"}, "8127", "do not belong together", 2),
        ({"params": {"ug2SortBy": None, "ug2JoinedStartDate": "soon"}}, "code 8112", "api.params", 2),
        ({"embed": ["mlp", "nonsense"], "allow_unknown_embed": True}, "HTTP 400", "api.embed", 2),
    ],
)
def test_each_refusal_has_its_own_words_and_exit_code(
    home: Home, changes: dict[str, Any], said: str, remedy: str, code: int
) -> None:
    """Credentials, rights, source, account, parameters."""
    finding = asked(home, **changes)
    assert said in finding.detail
    assert remedy in finding.remedy
    assert finding.error is not None
    assert finding.error.exit_code == code


@pytest.mark.parametrize(
    ("faults", "said", "code"),
    [
        ("waf-403", "firewall before the API", 5),
        ("401-xml", "does not accept the till", 5),
        ("500", "in trouble (500", 3),
        ("503-auth", "cannot check credentials", 3),
        ("520", "in trouble (520", 3),
        ("cut", "No answer came: the answer was cut", 3),
        ("reset", "No answer came: the connection broke", 3),
        ("404-html", "no such API at this host", 2),
        ("hang:60", "no whole answer in time", 3),
    ],
)
def test_each_fault_of_the_way_is_told(
    home: Home, start_sandbox: Callable[..., Sandbox], faults: str, said: str, code: int
) -> None:
    """An outage is not a wrong password, and a firewall's 403 is not the API's."""
    sandbox = start_sandbox(faults=faults)
    finding = asked(home, host=sandbox.url, timeout_s=1.0)
    assert said in finding.detail
    assert finding.remedy
    assert finding.error is not None
    assert finding.error.exit_code == code
    assert calls_seen(sandbox) <= 2


@pytest.mark.parametrize("fault", [*HOSTILE, "wrong-type", "other-id"])
def test_hostile_answers_kill_nothing(home: Home, start_sandbox: Callable[..., Sandbox], fault: str) -> None:
    """Whatever comes, there is a finding and no more than two calls."""
    sandbox = start_sandbox(faults=fault)
    finding = asked(home, host=sandbox.url, max_body_mb=1)
    assert finding.detail
    assert 1 <= calls_seen(sandbox) <= 2


def test_one_customer_that_fails_is_not_an_outage(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """A second call, for nobody, tells whose fault it is; the pace is kept between the two."""
    sandbox = start_sandbox(faults="500=100% to call 1")
    home.settings["quota"]["limits"] = [{"calls": 5, "per_s": 1}]
    finding = asked(home, host=sandbox.url)
    assert finding.level is Level.WARN
    assert "others do" in finding.detail
    assert finding.calls == calls_seen(sandbox) == 2
    first, second = sandbox.judge.arrivals
    assert second - first >= 0.2


def test_a_used_up_quota_is_a_warning(home: Home, start_sandbox: Callable[..., Sandbox]) -> None:
    """The key is good, and a night would wait."""
    sandbox = start_sandbox(faults="429")
    finding = asked(home, host=sandbox.url)
    assert finding.level is Level.WARN
    assert "quota is used up" in finding.detail


def test_a_first_customer_whom_nobody_knows_is_a_warning(home: Home) -> None:
    """The list may be another brand's."""
    home.write_ids([4_200_000_001])
    finding = asked(home)
    assert finding.level is Level.WARN
    assert "does not know customer 4200000001" in finding.detail


def test_identifiers_are_asked_for_and_never_shown(home: Home, sandbox: Sandbox) -> None:
    """A mobile is a customer's; the call is made with it, the findings do not hold it."""
    home.settings["ids"] = {"paths": ["ids.csv"], "column": "mobile", "identifier": "mobile"}
    home.write_ids(["919900000007"], header="mobile")
    findings = examine(_saved(home), NOW)
    assert calls_seen(sandbox) == 1
    assert "919900000007" not in repr(findings)


def _saved(home: Home) -> Config:
    home.save()
    return home.config()


@pytest.mark.parametrize(
    ("secret", "said"),
    [("0123456789abcdef0123456789ABCDEF", "MD5 already"), (" sandbox\n", "white space")],
)
def test_a_secret_that_looks_wrong_is_told_without_being_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch, secret: str, said: str
) -> None:
    """An MD5 instead of the password, a line's end that came along: the two usual mistakes."""
    monkeypatch.setenv("CAP_PASSWORD", secret)
    home.settings["api"]["auth"] = {"kind": "basic", "till": "till.01", "password_env": "CAP_PASSWORD"}
    findings = examine(_saved(home), NOW)
    assert said in next(one.detail for one in findings if one.what == "secret" and one.level is Level.WARN)
    assert secret not in repr(findings)


def test_a_secret_file_that_everybody_can_read_is_a_warning(home: Home) -> None:
    """It is the till's password."""
    (home.root / "password").chmod(0o644)
    levels = [one.level for one in found(home.config(), "secret")]
    (home.root / "password").chmod(0o600)
    assert levels == [Level.OK, Level.WARN]
    assert [one.level for one in found(home.config(), "secret")] == [Level.OK]


def test_no_call_is_made_while_a_run_has_the_quota(home: Home, sandbox: Sandbox) -> None:
    """One call more would be one too many for the window."""
    with Workspace(home.work).lock():
        findings = examine(home.config(), NOW)
    assert "run that is under way" in findings[-1].detail
    assert next(one.level for one in findings if one.what == "lock") is Level.WARN
    assert calls_seen(sandbox) == 0


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[str]:
    """A server that always says the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def answer_for(home: Home, warnings: str) -> bytes:
    """A customer's answer with these warnings."""
    home.write_ids([17])
    return f'{{"id": 17, "profiles": [], "warnings": {warnings}}}'.encode()


@pytest.mark.parametrize("minutes", [-90, 90])
def test_a_clock_that_is_off_is_told_in_seconds(home: Home, minutes: int) -> None:
    """Against the API's own Date, in either direction."""
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    with answering(answer_for(home, "[]"), Date=date) as url:
        home.settings["api"]["host"] = url
        clock = the(_saved(home), "clock")
    assert clock.level is Level.WARN
    sign, seconds = ("+", 5400) if minutes < 0 else ("-", 5400)
    shown = [f"{sign}{seconds + off:,.0f} s off" for off in range(-60, 61)]  # a busy machine is slow to ask
    assert any(one in clock.detail for one in shown), clock.detail


def test_seconds_matter_where_a_budget_starts_at_midnight(home: Home) -> None:
    """A day's budget in a fixed window goes by both clocks."""
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)
    with answering(answer_for(home, "[]"), Date=date) as url:
        home.settings["api"]["host"] = url
        assert the(_saved(home), "clock").level is Level.OK
        home.settings["quota"]["limits"] = [{"calls": 9000, "per_s": "1d", "window": "fixed"}]
        assert the(_saved(home), "clock").level is Level.WARN


def test_a_missing_account_that_is_only_warned_of_is_found(home: Home) -> None:
    """8054 comes with an answer, perhaps of another account: readable in its warnings only."""
    with answering(answer_for(home, '[{"code": 8054, "message": "account id not passed"}]')) as url:
        finding = asked(home, host=url)
    assert finding.level is Level.WARN
    assert "8054" in finding.detail
    assert "api.account_id" in finding.remedy


def test_a_customer_of_another_source_is_a_warning(home: Home) -> None:
    """8065: the customer is there, the source is another."""
    with answering(b'{"errors": [{"code": 8065, "message": "user not found"}]}') as url:
        finding = asked(home, host=url)
    assert finding.level is Level.WARN
    assert "not in the source INSTORE (8065)" in finding.detail


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (8003, "api.source"),
        (8016, "api.source"),
        (8045, "api.account_id"),
        (8091, "api.account_id"),
        (1044, "access"),
    ],
)
def test_codes_that_are_our_mistakes_lead_to_the_key_of_the_config(
    home: Home, code: int, remedy: str
) -> None:
    """However the sandbox words them, the code decides."""
    with answering(b'{"errors": [{"code": %d, "message": "x"}]}' % code) as url:
        finding = asked(home, host=url)
    assert not finding.ok
    assert str(code) in finding.detail
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (302, b"", "sends us elsewhere (HTTP 302)"),
        (200, b"<html>Log in to the guest network</html>", "answer is not the API's"),
        (403, b"<html>1020</html>", "blocks this machine"),
        (403, b'{"message": "no"}', "does not let us read customers"),
    ],
)
def test_what_is_not_the_api_is_told_apart(home: Home, status: int, body: bytes, said: str) -> None:
    """A redirect, a login page, a firewall's page, the API's own refusal."""
    with answering(body, status, Location=f"https://elsewhere.example/?token={CANARY}") as url:
        finding = asked(home, host=url)
    assert said in finding.detail
    assert CANARY not in repr(finding)


def test_what_a_server_writes_cannot_touch_the_terminal(home: Home) -> None:
    """A request ID with control characters is shown harmless, and not at any length."""
    with answering(b'{"message": "no"}', 403, **{"X-Cap-Requestid": "a\x1b[31m" + "b" * 900}) as url:
        finding = asked(home, host=url)
    assert "\x1b" not in finding.detail
    assert len(finding.detail) < 500
    assert "request a?[31mbbb" in finding.detail


def test_the_pause_between_two_calls_is_the_quotas(home: Home) -> None:
    """The slowest limit counts, a minute at the most."""
    home.settings["quota"]["limits"] = [{"calls": 60, "per_s": 60}, {"calls": 100, "per_s": "1d"}]
    assert api.pause_s(_saved(home), NOW) == 60.0
    home.settings["quota"]["limits"] = [{"calls": 60, "per_s": 60}]
    assert api.pause_s(_saved(home), NOW) == 1.0
