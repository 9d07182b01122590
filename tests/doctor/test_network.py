"""The way to the API: each thing that can be wrong with it is told apart, with a remedy of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from pipeline.doctor import Level, examine, network
from pipeline.errors import Exit
from pipeline.sandbox import Sandbox
from tests.conftest import Home, calls_seen
from tests.doctor.conftest import the
from tests.doctor.tls import context_of, serving, trust

ROOT = Path(__file__).parent.parent.parent
NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this machine trusts, for once."""
    made = trustme.CA()
    monkeypatch.setenv("SSL_CERT_FILE", trust(made, tmp_path))
    return made


def at(home: Home, port: int, host: str = "localhost") -> Home:
    home.settings["api"]["host"] = f"https://{host}:{port}"
    home.save()
    return home


def test_a_good_certificate_is_found_good(home: Home, authority: trustme.CA) -> None:
    """Signed by whom we trust, for this host, in time."""
    with serving(context_of(authority.issue_cert("localhost"))) as port:
        tls = the(at(home, port).config(), "TLS")
    assert tls.level is Level.OK
    assert "TLSv1" in tls.detail


def test_an_expired_certificate_names_the_day_and_our_clock(home: Home, authority: trustme.CA) -> None:
    """It may be the certificate, it may be this machine's clock: both dates are shown."""
    ended = NOW - timedelta(days=3)
    leaf = authority.issue_cert("localhost", not_before=ended - timedelta(days=30), not_after=ended)
    with serving(context_of(leaf)) as port:
        tls = the(at(home, port).config(), "TLS")
    assert not tls.ok
    assert "expired (since " in tls.detail
    assert str(ended.year) in tls.detail
    assert "clock" in tls.remedy


def test_a_certificate_from_tomorrow_is_not_called_expired(home: Home, authority: trustme.CA) -> None:
    """That is what a clock that is behind looks like."""
    begins = NOW + timedelta(days=2)
    leaf = authority.issue_cert("localhost", not_before=begins, not_after=begins + timedelta(days=9))
    with serving(context_of(leaf)) as port:
        tls = the(at(home, port).config(), "TLS")
    assert "is not valid yet (from " in tls.detail


def test_a_certificate_that_ends_soon_is_a_warning(home: Home, authority: trustme.CA) -> None:
    """Nights run until then; somebody should know before."""
    leaf = authority.issue_cert(
        "localhost", not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=5)
    )
    with serving(context_of(leaf)) as port:
        tls = the(at(home, port).config(), "TLS")
    assert tls.level is Level.WARN
    assert "5 days" in tls.detail or "4 days" in tls.detail


def test_a_certificate_for_another_host_tells_for_whom_it_is(home: Home, authority: trustme.CA) -> None:
    """A typing mistake in the host, or something that answers in its place."""
    with serving(context_of(authority.issue_cert("other.example"))) as port:
        tls = the(at(home, port).config(), "TLS")
    assert not tls.ok
    assert "not for localhost, but for other.example" in tls.detail


def test_an_unknown_authority_is_told_as_such(home: Home) -> None:
    """A firewall that looks into TLS is the usual cause, and SSL_CERT_FILE the remedy."""
    with serving(context_of(trustme.CA().issue_cert("localhost"))) as port:
        findings = examine(at(home, port).config(), NOW)
    tls = next(one for one in findings if one.what == "TLS")
    assert not tls.ok
    assert "signed by nobody whom this machine trusts" in tls.detail
    assert "SSL_CERT_FILE" in tls.remedy
    assert "API" not in [one.what for one in findings], "no call is made where there is no way"


def test_a_port_without_tls_is_told_as_such(home: Home, sandbox: Sandbox) -> None:
    """https to a port that speaks plain HTTP."""
    port = urlsplit(sandbox.url).port
    assert port is not None
    tls = the(at(home, port).config(), "TLS")
    assert "does not speak TLS" in tls.detail
    assert calls_seen(sandbox) == 0


def test_a_connection_that_is_cut_in_the_handshake_is_told_as_such(home: Home) -> None:
    """Neither a certificate nor a protocol is to blame."""
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def cut() -> None:
            for _ in range(2):
                rude.accept()[0].close()

        threading.Thread(target=cut, daemon=True).start()
        tls = the(at(home, rude.getsockname()[1]).config(), "TLS")
    assert tls.detail.startswith("No TLS with localhost")
    assert tls.error is not None
    assert tls.error.exit_code is Exit.STOPPED


def test_a_closed_port_is_refused(home: Home, unused_tcp_port: int) -> None:
    """And a proxy in the environment is named, because calls go by none."""
    home.settings["api"]["host"] = f"http://127.0.0.1:{unused_tcp_port}"
    home.save()
    host = the(home.config(), "host")
    assert not host.ok
    assert "refuses the connection" in host.detail
    assert "proxy" not in host.remedy


def test_a_proxy_that_is_set_is_told_to_be_of_no_use(
    home: Home, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address may hold a password, and is not shown."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary@proxy.example")
    home.settings["api"]["host"] = f"http://127.0.0.1:{unused_tcp_port}"
    home.save()
    host = the(home.config(), "host")
    assert "HTTPS_PROXY is set, but calls to the API go by no proxy" in host.remedy
    assert "canary" not in repr(host)


def test_a_host_that_swallows_connections_is_told_apart_from_one_that_refuses(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener whose queue is full does what a firewall does."""
    monkeypatch.setattr(network, "TIMEOUT_S", 0.3)
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(deaf.getsockname())
        home.settings["api"]["host"] = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        home.save()
        host = the(home.config(), "host")
    assert "no answer within" in host.detail
    assert "firewall" in host.remedy


def test_a_name_that_nobody_has_is_told_before_anything_is_tried(home: Home) -> None:
    """`.invalid` is nobody's, for ever (RFC 2606); without a name server that cannot be told for certain."""
    findings = examine(at(home, 443, "no-such-host.invalid").config(), NOW)
    name = findings[-1]
    assert name.what == "name"
    assert not name.ok
    assert "no-such-host.invalid" in name.detail
    assert name.remedy


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [(socket.EAI_NONAME, "There is no host", 2), (socket.EAI_AGAIN, "name server does not say", 3)],
)
def test_no_such_name_and_no_name_server_are_two_things(number: int, said: str, code: int) -> None:
    """One is a mistake in the config, the other the network's trouble."""
    error = network._no_name("api.example", socket.gaierror(number, "x"))
    assert said in error.message
    assert error.exit_code == code


def test_doctor_reaches_an_api_by_tls(home: Home, sandbox: Sandbox, tmp_path: Path) -> None:
    """The whole way as a user has it: name, connection, certificate, call."""
    authority = trustme.CA()
    with serving(context_of(authority.issue_cert("localhost")), upstream=urlsplit(sandbox.url).port) as port:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "doctor", str(at(home, port).config_path)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={**os.environ, "SSL_CERT_FILE": trust(authority, tmp_path)},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 call made" in done.stdout
    assert calls_seen(sandbox) == 1
