"""`run --serve`: page, status and metrics of a night while it runs, to this machine alone, at no cost to the night."""

from __future__ import annotations

import http.client
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.sandbox import Sandbox
from tests.conftest import Home
from tests.test_cli import command, slow, start, wait_for_calls

__all__ = ["slow"]


@contextmanager
def served(home: Home, slow: Sandbox, calls: int = 40) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A run under way with its port, that picked one itself and said which."""
    home.settings["quota"]["limits"] = [{"calls": 20, "per_s": 1}]
    home.save()
    process = start("run", home.config_path, "--serve", 0)
    try:
        assert process.stderr is not None
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", process.stderr.readline())[1])  # type: ignore[index]
        wait_for_calls(slow, calls)
        yield port, process
    finally:
        process.kill()
        process.communicate()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def tonight(port: int) -> dict[str, Any]:
    """The running night, as the status has it."""
    found: dict[str, Any] = json.loads(ask(port, "/status.json")[2])["nights"][0]
    return found


def progress_beyond(port: int, done: int) -> int:
    """How many are done, once more than these are; it is noted every two seconds."""
    until = time.monotonic() + 30
    while (found := int(tonight(port)["progress"]["done"])) <= done:
        assert time.monotonic() < until
        time.sleep(0.3)
    return found


def test_a_running_night_is_served_whole(home: Home, slow: Sandbox) -> None:
    """The page updates itself and asks nobody else; status and metrics are those of now."""
    with served(home, slow) as (port, _):
        code, headers, page = ask(port, "/")
        assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "setInterval" in page
        assert not re.search(r"(src|href)=\"https?://", page)
        assert tonight(port)["is_running"]
        before = progress_beyond(port, 0)
        code, headers, text = ask(port, "/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        names = {family.name for family in text_string_to_metric_families(text)}
        assert {"capillary_export_running", "capillary_export_calls"} <= names
        progress_beyond(port, before)


def test_only_get_only_our_names_only_what_there_is(home: Home, slow: Sandbox) -> None:
    """A page elsewhere whose name points at 127.0.0.1 sends its own Host, and gets nothing."""
    with served(home, slow) as (port, _):
        assert ask(port, "/status.json", Host="evil.example")[0] == 403
        assert ask(port, "/status.json", Host=f"evil.example:{port}")[0] == 403
        assert ask(port, "/status.json", Host=f"localhost:{port}")[0] == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
            code, headers, _ = ask(port, "/", method)
            assert (code, headers["Allow"]) == (405, "GET")
        for path in ("/journal", "/../password", "//etc/passwd", "/%2e%2e/password", "/status"):
            assert ask(port, path)[0] == 404
        assert "Access-Control-Allow-Origin" not in ask(port, "/")[1]
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            socket.create_connection((_other_address(), port), timeout=2)


def _other_address() -> str:
    """An address of this machine that is not the one served: loopback's whole block reaches us on Linux."""
    return "127.0.0.2"


def test_a_server_that_dies_or_is_flooded_costs_the_night_nothing(home: Home, slow: Sandbox) -> None:
    """Half requests, garbage, a kill: the run goes on and publishes."""
    home.settings["quota"]["limits"] = [{"calls": 60, "per_s": 1}]
    home.save()
    process = start("run", home.config_path, "--serve", 0, "--json")
    assert process.stderr is not None
    port = int(re.search(r":(\d+)/", process.stderr.readline())[1])  # type: ignore[index]
    wait_for_calls(slow, 40)
    open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for number, one in enumerate(open_ones):
        one.sendall(b"GET / HTT" if number % 2 else b"\x00\xff" * 1000 + b"\r\n\r\n")
    assert ask(port, "/status.json")[0] == 200
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "serving.server"], capture_output=True, text=True, check=False
    )
    for pid in children.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    out, said = process.communicate(timeout=90)
    for one in open_ones:
        one.close()
    assert process.returncode == 0, said
    assert children.stdout.split()
    assert json.loads(out)["published"]


def test_the_server_ends_with_its_run(home: Home, slow: Sandbox) -> None:
    """However the run dies, no server stays behind."""
    with served(home, slow) as (port, process):
        assert ask(port, "/metrics")[0] == 200
        process.kill()
        process.wait()
        until = time.monotonic() + 10
        while True:
            try:
                ask(port, "/metrics")
            except OSError:
                break
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_port_that_is_taken_is_told_before_anything_starts(home: Home) -> None:
    """Exit code 2, the port and the remedy; no workspace was made, no call."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("run", home.config_path, "--serve", port)
    assert done.returncode == 2
    assert f"--serve {port}: the port is taken" in done.stderr
    assert "0 for any that is free" in done.stderr
    assert not home.work.exists()


def test_the_servers_process_gets_the_same_config(home: Home) -> None:
    """All of it, and no secret in it."""
    calendar = [{"from": "22:00", "to": "06:00", "limits": [{"calls": 3, "per_s": 60}]}]
    home.settings |= {
        "window": {"until": "05:30", "timezone": "Asia/Kolkata"},
        "quota": {"limits": [{"calls": 3, "per_s": 60}], "calendar": calendar},
        "metrics": {"textfile": "x.prom", "labels": {"export": "a"}},
    }
    home.save()
    packed = pickle.dumps(home.config())
    assert pickle.loads(packed) == home.config()
    assert (home.root / "password").read_bytes() not in packed.replace(b"pipeline.sandbox", b"")


def test_json_lines_name_the_address_too(home: Home, slow: Sandbox) -> None:
    """For whoever reads stderr by machine."""
    process = start("run", home.config_path, "--serve", 0, "--log-format", "json")
    try:
        assert process.stderr is not None
        first: dict[str, Any] = json.loads(process.stderr.readline())
    finally:
        process.kill()
        process.communicate()
    assert first["event"] == "serving.started"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", first["url"])
