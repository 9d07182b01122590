"""A PostgreSQL server of the test's own: a fresh cluster in a folder, on a socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def server_programs() -> Path | None:
    """The folder of the newest server's programs; None where none is installed, or psql is not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    every = [path.parent for path in found] or ([Path(beside).resolve().parent] if beside else [])
    return every[-1] if every and shutil.which("psql") else None


class Postgres:
    """A running server; whoever connects is its superuser."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def psql(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run psql as a user would, `capillary-export` of this environment in its PATH."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["psql", "--no-psqlrc", "--host", self.socket, "--username", "loader", *words, "postgres"],
            input=stdin,
            capture_output=True,
            env={**os.environ, "PATH": path, "PGTZ": "Asia/Kolkata"},
            timeout=100,
            check=False,
        )

    def rows(self, query: str) -> list[list[str]]:
        """What a query finds, as texts."""
        done = self.psql("--tuples-only", "--no-align", "--field-separator", "\t", "--command", query)
        assert done.returncode == 0, done.stderr.decode()
        return [line.split("\t") for line in done.stdout.decode().splitlines()]


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """A server on a Unix socket. It refuses to run as root, so root starts it as somebody else."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        home = Path(folder)
        data = home / "data"
        user = _give_away(home)
        started: list[str | Path] = [
            programs / "pg_ctl",
            "start",
            "--wait",
            "--silent",
            "-D",
            data,
            "-l",
            home / "log",
        ]
        _run(user, programs / "initdb", "-D", data, "-U", "loader", "-A", "trust", "-E", "UTF8", "--no-sync")
        _run(user, *started, "-o", f"-k {home} {OPTIONS}")
        try:
            yield Postgres(home)
        finally:
            _run(user, programs / "pg_ctl", "stop", "--silent", "-D", data, "-m", "immediate")


def _give_away(folder: Path) -> str | None:
    """Whom the server runs as: us, or for root another user, whose the folder is then."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in users else "nobody"
    shutil.chown(folder, user)
    folder.chmod(0o755)
    return user


def _run(user: str | None, *words: str | Path) -> None:
    done = subprocess.run(
        words,
        user=user,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
