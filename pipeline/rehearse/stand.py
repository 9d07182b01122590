"""Where a rehearsal plays: a temporary folder with a list, a config and the sandbox beside it; nothing of it stays."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import BasicAuthConfig, Config
from pipeline.errors import ExportError
from pipeline.outcome import Outcome
from pipeline.processes import module_command
from pipeline.sandbox import SandboxConfig, customer_id
from pipeline.sandbox.customers import Base, Fate
from pipeline.store.atomic import storage_errors
from pipeline.store.workspace import Workspace

PREFIX = "capillary-rehearsal-"
LARGEST_BASE = 20
"""The sandbox's base is at the most so many times the sample, however rare a fate is wanted."""
_FATES = {
    Outcome.EXPORTED: Fate.REGULAR,
    Outcome.PARTIAL: Fate.PARTIAL,
    Outcome.DELETED: Fate.DELETED,
    Outcome.MERGED: Fate.MERGED,
}
_KEPT = ("quota", "plan", "retry", "snapshot")
"""Sections that the rehearsal takes over whole. What writes or calls elsewhere is none of them."""
_KEPT_OUTPUT = ("tables", "compression", "keep_offsets")


@dataclass(frozen=True)
class Stand:
    """The folder of one rehearsal."""

    root: Path

    @property
    def config(self) -> Path:
        """The sample night's config."""
        return self.root / "rehearsal.yaml"

    @property
    def workspace(self) -> Workspace:
        """The sample night's workspace."""
        return Workspace(self.root / "work")


@contextmanager
def stand() -> Iterator[Stand]:
    """A folder that is gone afterwards, whatever happens; what killed rehearsals left is swept first."""
    with storage_errors("make a folder in", tempfile.gettempdir()):
        _sweep(Path(tempfile.gettempdir()))
        root = Path(tempfile.mkdtemp(prefix=PREFIX))
        held = os.open(root / "held", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield Stand(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.close(held)


def _sweep(temporary: Path) -> None:
    """Folders of ours that no living process holds."""
    for path in temporary.glob(f"{PREFIX}*/held"):
        with suppress(OSError), path.open("r+b") as file:
            if path.stat().st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)


def base_size(ids: int, verdicts: Mapping[Outcome, float]) -> int:
    """How many customers the sandbox needs so that a sample of so many IDs finds the fates it wants."""
    rarest = max(verdicts.get(one, 0.0) for one in (Outcome.PARTIAL, Outcome.DELETED, Outcome.MERGED))
    return round(ids * min(LARGEST_BASE, max(1.2, 1.2 * rarest / 0.005)))


def write_list(path: Path, ids: int, verdicts: Mapping[Outcome, float], day: date, seed: int) -> None:
    """A CSV of so many IDs whose fates in the sandbox are those of the last nights' IDs, in no order."""
    size = base_size(ids, verdicts)
    base = Base(size, seed)
    wanted = {fate: round(ids * verdicts.get(one, 0.0)) for one, fate in _FATES.items()}
    strangers = round(ids * verdicts.get(Outcome.ABSENT, 0.0))
    wanted[Fate.REGULAR] = max(0, ids - strangers - sum(wanted.values()) + wanted[Fate.REGULAR])
    found: list[int] = []
    for k in range(size):
        fate = base.fate(k, day)
        if wanted.get(fate, 0) > 0:
            wanted[fate] -= 1
            found.append(customer_id(k))
    strangers += sum(wanted.values())
    found += [customer_id(size + number) for number in range(strangers)]
    random.Random(seed).shuffle(found)  # noqa: S311 - an order, not a secret
    path.write_text("customer_id\n" + "".join(f"{one}\n" for one in found))


def write_config(place: Stand, config: Config, url: str) -> None:
    """Tonight's config, but for whom it asks, as whom, and where things lie. No secret of the user's is in it."""
    given = config.model_dump(mode="json", by_alias=True)
    sandbox = SandboxConfig()
    is_basic = isinstance(config.api.auth, BasicAuthConfig)
    (place.root / "secret").write_text(sandbox.password if is_basic else sandbox.oauth_secret)
    auth = (
        {"kind": "basic", "till": sandbox.till, "password_file": "secret"}
        if is_basic
        else {"kind": "oauth", "key": sandbox.oauth_key, "secret_file": "secret"}
    )
    api = {**given["api"], "host": url, "auth": auth, "source": "INSTORE", "account_id": None}
    settings: dict[str, Any] = {name: given[name] for name in _KEPT}
    settings |= {
        "api": api,
        "ids": {"paths": ["ids.csv"]},
        "window": {"timezone": given["window"]["timezone"]},
        "work": {"path": "work"},
        "output": {name: given["output"][name] for name in _KEPT_OUTPUT} | {"url": "export"},
    }
    place.config.write_text(yaml.safe_dump(settings, allow_unicode=True))


@contextmanager
def sandbox(customers: int, faults: str, seed: int, day: date) -> Iterator[str]:
    """The sandbox in a process of its own; gives its URL. It ends with the block, and with us."""
    words = ["--customers", str(customers), "--faults", faults, "--seed", str(seed), "--day", f"{day}"]
    with subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        module_command("pipeline.rehearse.stage", *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url.startswith("http://127.0.0.1"):
                raise ExportError("The sandbox did not start.")
            yield url
        finally:
            process.kill()
