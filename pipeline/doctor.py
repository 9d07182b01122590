"""What works, what doesn't, and what to do: everything a night needs, tried once."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline.config import Config
from pipeline.errors import ExportError, RefusedError, StoppedError, StorageError, UsageError
from pipeline.fetch import Probe, ask_once
from pipeline.fetch.outcomes import Action
from pipeline.ids import IdReader
from pipeline.night import Options, embed_of, plan_night
from pipeline.night.listing import csv_spec
from pipeline.store.atomic import make_folder, storage_errors
from pipeline.store.snapshots import open_snapshots
from pipeline.store.workspace import Workspace

PROBE_ID = 1
"""An ID that no customer has: the answer «not found» proves that everything in between works."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""
    error: ExportError | None = None


def examine(config: Config, now: datetime) -> list[Finding]:
    """Try everything in turn; what follows from a failure is still tried where that makes sense."""
    findings = [
        _try("IDs", lambda: _ids(config)),
        _try("workspace", lambda: _folder(config.work.path)),
        _try("lock", lambda: _lock(config)),
        _try("output", lambda: _output(config)),
        _try("disk", lambda: _disk(config, now)),
        _try("quota", lambda: _quota(config, now)),
        _try("host", lambda: _host(config)),
        _try("secret", lambda: _secret(config)),
    ]
    if findings[-1].ok and findings[-2].ok:
        findings.append(_try("API", lambda: _api(config, config.secret())))
    return findings


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except ExportError as exc:
        return Finding(what, False, exc.message, exc.hint, exc)


def _ids(config: Config) -> str:
    reader = IdReader(csv_spec(config.ids))
    files = reader.files()
    if config.ids.paths == ["-"]:
        return "from standard input"
    for _ in reader.batches():
        break
    if not len(reader.distinct):
        raise UsageError(
            f"No customer ID in the first rows of {', '.join(files)}.", "Check ids.paths and ids.column."
        )
    return f"{len(files)} files, the first {reader.read:,} rows hold {len(reader.distinct):,} IDs"


def _folder(path: Path) -> str:
    make_folder(path)
    probe = path / f".doctor-{os.getpid()}"
    with storage_errors("write to", path):
        probe.write_bytes(b"x")
        probe.unlink()
    return f"{path} can be written"


def _output(config: Config) -> str:
    snapshots = open_snapshots(config)
    snapshots.check()
    live = snapshots.current()
    return f"{snapshots.url} can be written; {f'{live.snapshot} is live' if live else 'nothing is live yet'}"


def _lock(config: Config) -> str:
    holder = Workspace(config.work.path).holder()
    return "free" if holder is None else f"a run is under way (process {holder})"


def _disk(config: Config, now: datetime) -> str:
    if config.ids.paths == ["-"]:
        return "not estimated: the IDs come from standard input"
    plan = plan_night(config, Options(now=lambda: now))
    output = [] if "://" in config.output.url else [make_folder(Path(config.output.url))]
    places = [config.work.path, *output]
    needed, free = plan.disk_bytes, min(shutil.disk_usage(place).free for place in places)
    if needed > free:
        raise StorageError(
            f"Tonight needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free.",
            "Free some space, or lower work.keep_nights and output.keep_snapshots.",
        )
    return f"tonight needs about {needed / 1e9:.2f} GB, {free / 1e9:.1f} GB are free"


def _quota(config: Config, now: datetime) -> str:
    if config.ids.paths == ["-"]:
        return "the IDs come from standard input"
    plan = plan_night(config, Options(now=lambda: now))
    return f"{plan.due:,} IDs are due, {plan.asked:,} fit tonight, at {plan.calls_per_s * 60:,.0f} calls a minute"


def _host(config: Config) -> str:
    parts = urlsplit(config.api.host)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    began = time.perf_counter()
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=10):
            pass
    except OSError as exc:
        raise StoppedError(
            f"Cannot connect to {parts.hostname}:{port}: {exc.strerror or exc}.",
            "Check api.host, the name server and the firewall; with a proxy, set HTTPS_PROXY.",
        ) from exc
    return f"{parts.hostname}:{port} answers after {(time.perf_counter() - began) * 1000:.0f} ms"


def _secret(config: Config) -> str:
    config.secret()
    return "found"


def _api(config: Config, secret: SecretStr) -> str:
    probe = ask_once(config, secret, embed_of(config), PROBE_ID)
    judged = probe.judged
    if judged.action in (Action.REAUTHENTICATE, Action.REFUSED):
        raise RefusedError(
            f"The API refuses us ({judged.code}: {judged.reason}).",
            "Check api.auth; a 403 means that the till or API client may not read customers.",
        )
    if judged.action is Action.MISCONFIGURED or judged.action is Action.GIVE_UP:
        raise UsageError(
            f"The API refuses the request ({judged.code}: {judged.reason}).",
            "Check api.source, api.account_id, api.embed and api.params.",
        )
    if judged.action is not Action.ACCEPT:
        raise StoppedError(f"The API gives no usable answer ({judged.reason}).", "Try again in some minutes.")
    return f"one probe call: {judged.outcome.word}{_clock_skew(probe)}"


def _clock_skew(probe: Probe) -> str:
    """The server's clock against ours, where they differ by more than a minute."""
    if probe.reply is None or probe.reply.server_time is None:
        return ""
    skew = (datetime.now(UTC) - probe.reply.server_time).total_seconds()
    return "" if abs(skew) < 60 else f"; this machine's clock is {skew:+.0f} s off the server's"
