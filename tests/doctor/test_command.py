"""`doctor` as people and scripts see it: its lines, its JSON, its exit code; and that no secret is among them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import pytest

from pipeline.sandbox import Sandbox
from tests.conftest import Home, calls_seen
from tests.test_cli import command

CANARY = "canary-5ecret"


def test_a_healthy_config_is_told_in_lines(home: Home, sandbox: Sandbox) -> None:
    """One line a finding, and at the end whether a night can run and what it cost."""
    (home.root / "password").chmod(0o600)
    done = command("doctor", home.config_path)
    assert done.returncode == 0, done.stderr
    assert "A night can run. The API was called 1 time." in done.stdout
    for what in (
        "config",
        "machine",
        "IDs",
        "workspace",
        "lock",
        "output",
        "disk",
        "quota",
        "TLS",
        "API",
        "clock",
    ):
        assert f" {what} " in done.stdout
    assert calls_seen(sandbox) == 1


def test_json_has_level_and_exit_code_beside_what_it_always_had(home: Home) -> None:
    """Scripts hang on what, ok, detail and remedy."""
    (home.root / "password").write_text("wrong")
    done = command("doctor", home.config_path, "--json")
    told = json.loads(done.stdout)
    assert {"what", "ok", "detail", "remedy", "level", "exit_code"} == set(told["findings"][0])
    assert (done.returncode, told["exit_code"], told["calls"]) == (5, 5, 1)
    (failing,) = [one for one in told["findings"] if not one["ok"]]
    assert (failing["what"], failing["level"], failing["exit_code"]) == ("API", "fails", 5)


def test_the_first_failure_gives_the_exit_code_and_the_others_are_told(home: Home) -> None:
    """Storage trouble (7) is found before the missing password (2)."""
    (home.root / "file").write_text("")
    home.settings["output"] = {"url": "file/inside"}
    home.save()
    (home.root / "password").unlink()
    done = command("doctor", home.config_path)
    assert done.returncode == 7
    assert "2 things must be put right: output, secret (exit code 7)" in done.stdout
    assert "The API was not called" in done.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_mistakes_in_the_config_are_findings_too(home: Home, as_json: bool) -> None:
    """All of them, in the same shape, with exit code 2."""
    home.settings["quota"]["max_in_fligt"] = 3
    home.settings["window"] = {"until": "25:99"}
    home.save()
    done = command("doctor", home.config_path, *(["--json"] if as_json else []))
    assert done.returncode == 2
    assert "did you mean max_in_flight" in done.stdout
    assert "HH:MM" in done.stdout
    if as_json:
        assert json.loads(done.stdout)["findings"][0]["what"] == "config"


@pytest.mark.parametrize(
    "fault", ["401-xml", *[pytest.param(one, marks=pytest.mark.long) for one in ("", "waf-403", "500")]]
)
def test_nothing_secret_is_printed(home: Home, start_sandbox: Callable[..., Sandbox], fault: str) -> None:
    """Neither the password nor its MD5 nor the header made of it, whatever the API says, `--debug` or not."""
    sandbox = start_sandbox(password=CANARY, faults=fault)
    home.settings["api"]["host"] = sandbox.url
    home.save()
    (home.root / "password").write_text(CANARY)
    digest = hashlib.md5(CANARY.encode(), usedforsecurity=False).hexdigest()
    header = base64.b64encode(f"till.01:{digest}".encode()).decode()
    for words in ([], ["--json"], ["--debug"]):
        done = command("doctor", home.config_path, *words)
        for secret in (CANARY, digest, header):
            assert secret not in done.stdout + done.stderr
