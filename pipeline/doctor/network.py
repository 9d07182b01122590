"""The way to the API, step by step: its name, a connection, its certificate. No call is made here."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, fine, harmless, warned
from pipeline.errors import ExportError, StoppedError, UsageError

TIMEOUT_S = 10.0
ENDS_SOON_DAYS = 14
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

# What OpenSSL calls the reasons (x509_vfy.h).
NOT_YET_VALID, EXPIRED, SELF_SIGNED = 9, 10, 18
WRONG_NAMES = (62, 64)  # of a host, of an address
UNTRUSTED = (SELF_SIGNED, 19, 20, 21)
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: dates are passed over, so that an expired certificate can be read and told of."""


def look_at_name(case: Case) -> Iterator[Finding]:
    """Whether the host's name leads to addresses."""
    host, port = _target(case)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as exc:
        raise _no_name(host, exc) from exc
    addresses = sorted({str(one[4][0]) for one in found})
    yield fine("name", f"{host} is {', '.join(addresses[:4])}{' …' if len(addresses) > 4 else ''}")


def _no_name(host: str, exc: Exception) -> ExportError:
    if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_AGAIN:
        return StoppedError(
            f"The name server does not say what {host} is (it may be away).",
            "Try again in a minute. Else see that this machine or container has a name server that it can reach "
            "(/etc/resolv.conf).",
        )
    return UsageError(
        f"There is no host {host}, says the name server.",
        "Check api.host: clusters are eu.api…, us.api…, apac2.api…, and so on; ask Capillary which is yours.",
    )


def look_at_host(case: Case) -> Iterator[Finding]:
    """Whether something takes a connection there."""
    host, port = _target(case)
    began = time.perf_counter()
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S):
            pass
    except OSError as exc:
        raise StoppedError(*_unreachable(host, port, exc)) from exc
    yield fine(
        "host", f"{host}:{port} takes connections, after {(time.perf_counter() - began) * 1000:.0f} ms"
    )


def _unreachable(host: str, port: int, exc: OSError) -> tuple[str, str]:
    if isinstance(exc, ConnectionRefusedError):
        told, remedy = "it refuses the connection", "Check host and port in api.host."
    elif isinstance(exc, TimeoutError):
        told = f"no answer within {TIMEOUT_S:.0f} s"
        remedy = "A firewall swallows the packets: have this machine's way out to it opened."
    else:
        told = exc.strerror or type(exc).__name__
        remedy = "Check this machine's network, and its way out."
    if proxy := next((name for name in PROXIES if os.environ.get(name)), None):
        remedy += f" {proxy} is set, but calls to the API go by no proxy."
    return f"Cannot connect to {host}:{port}: {told}.", remedy


def look_at_tls(case: Case) -> Iterator[Finding]:
    """Whether the certificate is good: in time, for this host, by somebody whom this machine trusts."""
    host, port = _target(case)
    if urlsplit(case.config.api.host).scheme == "http":
        yield fine("TLS", "not used: the host is this machine itself")
        return
    try:
        certificate, version = _shake_hands(host, port, ssl.create_default_context())
    except ssl.SSLCertVerificationError as exc:
        raise _bad_certificate(host, port, exc) from exc
    except (OSError, ssl.SSLError) as exc:
        raise _no_handshake(host, port, exc) from exc
    days = (_ends(certificate) - case.now).days
    told = f"{version}, the certificate is good for {days:,} days more"
    if days < ENDS_SOON_DAYS:
        remedy = (
            "It is the host's to renew. If it is not in time, calls fail from then on: tell its operators."
        )
        yield warned("TLS", f"{told}.", remedy)
    else:
        yield fine("TLS", told)


def _target(case: Case) -> tuple[str, int]:
    parts = urlsplit(case.config.api.host)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _shake_hands(host: str, port: int, context: ssl.SSLContext) -> tuple[dict[str, Any], str]:
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert() or {}, secured.version() or "TLS"


def _ends(certificate: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)


def _bad_certificate(host: str, port: int, exc: ssl.SSLCertVerificationError) -> ExportError:
    code = exc.verify_code
    if code in (EXPIRED, NOT_YET_VALID):
        seen = _seen_anyway(host, port)
        what, at = ("expired", "notAfter") if code == EXPIRED else ("is not valid yet", "notBefore")
        when = f" ({'since' if code == EXPIRED else 'from'} {harmless(str(seen[at]))})" if at in seen else ""
        return StoppedError(
            f"The certificate of {host} {what}{when}.",
            f"See that this machine's clock is right: it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. "
            "If it is, only the host's operators can help.",
        )
    if code in WRONG_NAMES:
        names = ", ".join(
            harmless(str(name)) for _, name in _seen_anyway(host, port).get("subjectAltName", ())[:5]
        )
        return UsageError(
            f"The certificate there is not for {host}, but for {names or 'no host'}.",
            "Check api.host. If it is right, something between here and there answers in its place.",
        )
    if code in UNTRUSTED:
        return UsageError(
            f"The certificate of {host} is signed by nobody whom this machine trusts"
            f"{' (it signed itself)' if code == SELF_SIGNED else ''}.",
            "Install the system's certificates (ca-certificates). Where a firewall of yours looks into TLS, let "
            "SSL_CERT_FILE name a file with its certificate in it.",
        )
    return UsageError(
        f"The certificate of {host} is not accepted: {harmless(exc.verify_message)}.", "Tell its operators."
    )


def _seen_anyway(host: str, port: int) -> dict[str, Any]:
    """The certificate, its signature proved but neither its dates nor its names; to tell of it, never to use it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_flags |= NO_CHECK_TIME
    try:
        return _shake_hands(host, port, context)[0]
    except (OSError, ssl.SSLError):
        return {}


def _no_handshake(host: str, port: int, exc: OSError) -> ExportError:
    reason = getattr(exc, "reason", None) or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return UsageError(
            f"{host}:{port} takes connections, but does not speak TLS.",
            "Check the port in api.host; https is on 443 as a rule.",
        )
    told = harmless(reason or exc.strerror or type(exc).__name__).replace("_", " ").lower()
    return StoppedError(
        f"No TLS with {host}:{port}: {told}.",
        "A firewall may cut such connections; try from another machine to know whose trouble it is.",
    )
