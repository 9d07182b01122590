"""Nothing that a night says or leaves beside its tables holds a customer's data or a secret: canaries, and a search of
every output of good, failing and crashing nights."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline import cli
from pipeline.sandbox import Sandbox, known_ids
from pipeline.serving.server import Answers
from tests import snapshot
from tests.conftest import PASSWORD, Home
from tests.test_cli import command

SECRET = "correct-horse-canary"
CANARIES = (
    "Canaria",  # a name
    "919812345678",  # a mobile
    "canaria@canary.test",
    "sig=CANARYSIG",
    "canary-token",
    SECRET,
)
TOLD = "Canaria 919812345678 canaria@canary.test https://img.test/a.png?sig=CANARYSIG Bearer canary-token"
PUBLIC_TABLES = ("profiles", "identifiers", "comm_channels", "custom_fields", "cards", "card_fields")
EVERYTHING = ("--log-format", "json", "--log-level", "debug", "--debug", "--json")


def said_by(home: Home, *words: str) -> str:
    """What every command says about the night, and every file beside journal, parts and tables."""
    said = []
    for one in (("run", *EVERYTHING, *words), ("run", "--log-format", "console", "--log-level", "debug"), ("status",),
                ("status", "--json"), ("plan",), ("report",)):  # fmt: skip
        done = command(one[0], home.config_path, *one[1:])
        said += [done.stdout, done.stderr]
    answers = Answers(home.config())
    for path in ("/", "/status.json", "/metrics"):
        found = answers.to(path)
        assert found is not None
        said.append(found[1].decode())
    hooks = (home.root / "collector" / "hooks").read_text()
    assert '"event"' in hooks
    assert Collecting.bodies
    collected = [one.decode(errors="replace") for one in Collecting.bodies]
    return "\n".join([*said, *collected, *files_of(home)])


def files_of(home: Home) -> Iterator[str]:
    """The texts that a night leaves, private ones but for the answers themselves."""
    places = [home.work, home.export, home.root / "collector"]
    for path in sorted(path for place in places for path in place.rglob("*") if path.is_file()):
        if path.suffix not in (".parquet", ".part", ".sealed", ".open", ".i64", ".known", ".gz"):
            yield f"{path.name}\n{path.read_text(errors='replace')}"


def people(export: Path) -> set[str]:
    """The customers' own words in the tables: names, mobiles, addresses, fields; long enough to be nobody else's."""
    found = set()
    for table in PUBLIC_TABLES:
        for row in snapshot.rows(export, table):
            texts = (
                row.get(name)
                for name in ("first_name", "last_name", "value", "number", "card_number", "email")
            )
            found |= {text for text in texts if isinstance(text, str) and len(text) >= 8}
    return found


def disguises(secret: str) -> list[str]:
    """A password, its MD5 and the header made of it."""
    digest = hashlib.md5(secret.encode()).hexdigest()
    return [digest, base64.b64encode(f"till.01:{digest}".encode()).decode()]


@pytest.fixture
def watched_home(home: Home, collector: str) -> Home:
    """Everything that can tell of a night is on."""
    told = home.root / "collector" / "hooks"
    told.parent.mkdir()
    everything = ["published", "held", "stopped", "failed"]
    home.settings["metrics"] = {"textfile": "collector/x.prom", "otlp": collector}
    home.settings["notify"] = [
        {"on": everything, "command": ["sh", "-c", 'cat >> "$0"; env >> "$0"', str(told)]}
    ]
    home.save()
    return home


class Collecting(BaseHTTPRequestHandler):
    """An OpenTelemetry collector that keeps what it is sent, as bytes."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """Whatever it is."""
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    """Its URL."""
    Collecting.bodies.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Collecting) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_good_nights_tell_nothing_of_anybody(
    watched_home: Home, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Names, mobiles, e-mails, field values, cards and signed URLs stand in the tables alone."""
    home = watched_home
    sandbox = start_sandbox(faults="500=5%, cut=3%, wrong-type=5%, invalid-json=3%, 461-body=2%")
    home.settings["api"]["host"] = sandbox.url
    home.save()
    said = said_by(home)
    there = people(home.export)
    assert len(there) > 50
    assert [text for text in there if text in said] == []
    for text in [*disguises(PASSWORD), "X-Amz-Signature", "Signature=", "sig="]:
        assert text not in said
    assert '"event": "fetch.retry"' in said
    assert "sandbox-" in said  # request IDs are there, and they are nobody's


class Telling(BaseHTTPRequestHandler):
    """An API whose errors tell all they know of a customer."""

    ways: Iterator[tuple[int, Any]] = iter(())

    def do_GET(self) -> None:
        """The next way."""
        status, body = next(self.ways)
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("X-Cap-Requestid", "req-1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


WAYS = [
    (500, {"errors": [{"code": 500, "message": TOLD}]}),
    (200, {"errors": [{"code": 77, "message": TOLD}], "warnings": [{"code": 1, "message": TOLD}]}),
    (200, {"id": TOLD, "errors": TOLD, "message": TOLD}),
    (404, {"message": TOLD, "errors": [{"code": 8015, "message": TOLD}]}),
    (200, f"<html>{TOLD}</html>"),
    (200, '{"id": 1, "name": "' + TOLD),
    (502, TOLD),
    (200, {TOLD: TOLD, "errors": {TOLD: TOLD}}),
    (418, {"errors": [TOLD]}),
]


@pytest.fixture
def telling_server() -> Iterator[Callable[[list[tuple[int, Any]]], str]]:
    """A real server with such answers; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Telling)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def answering(ways: list[tuple[int, Any]]) -> str:
        Telling.ways = cycle(ways)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield answering
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "ways",
    [
        WAYS,
        pytest.param([(401, {"message": TOLD})], marks=pytest.mark.long),
        pytest.param([(403, {"errors": [{"code": 4000, "message": TOLD}]})], marks=pytest.mark.long),
        pytest.param([(429, TOLD)], marks=pytest.mark.long),
    ],
    ids=["mixed", "401", "403", "429"],
)
def test_failing_nights_repeat_no_word_of_the_apis_errors(
    watched_home: Home, telling_server: Callable[..., str], ways: list[tuple[int, Any]]
) -> None:
    """Whatever an error says of a customer, a token or a link, nobody hears it from us; nor the password."""
    home = watched_home
    (home.root / "password").write_text(SECRET)
    home.settings["api"]["host"] = telling_server(ways)
    home.settings["retry"] = {"max_wait_s": 0.05, "max_attempts": 2, "outage_s": 1}
    home.write_ids(known_ids(12))
    home.save()
    said = said_by(home)
    assert [text for text in [*CANARIES, *disguises(SECRET)] if text in said] == []
    assert "night." in said


def test_a_bug_is_told_without_its_text(
    watched_home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An exception that is not ours may quote an answer: type and place are told, with `--debug` the way there."""

    def breaks(*_: object) -> None:
        raise ValueError(TOLD) from KeyError(TOLD)

    monkeypatch.setattr("pipeline.fetch.pool.judge", breaks)
    for words in ([], ["--debug"], list(EVERYTHING), ["--log-format", "console"]):
        assert cli.main(["run", str(watched_home.config_path), *words]) == 1
        said = "\n".join([*capfd.readouterr(), *files_of(watched_home)])
        assert [text for text in CANARIES if text in said] == []
        assert "ValueError" in said
        assert "test_privacy.py" in said
