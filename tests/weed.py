"""A real S3 server for the tests: SeaweedFS, on loopback, in a folder of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow.fs as pafs

BUCKET = "lake"
WAREHOUSE = "warehouse"
"""The bucket of Iceberg tables, which its REST catalog knows."""
WRITER, READER = ("writer", "writers-secret"), ("reader", "readers-secret")
PROGRAM = Path(sys.executable).with_name("weed")
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc"),
    "s3.port.iceberg",
)


class Weed:
    """The server, to be started, killed and started again with the data that it had."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.process: subprocess.Popen[bytes] | None = None
        self._has_been_up = False
        (root / "data").mkdir(parents=True)
        (root / "identities.json").write_text(json.dumps(_identities()))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    @property
    def catalog(self) -> str:
        """The Iceberg REST catalog."""
        return f"http://127.0.0.1:{self.ports['s3.port.iceberg']}"

    def environ(self, who: tuple[str, str] = WRITER) -> dict[str, str]:
        """What a client finds in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": who[0],
            "AWS_SECRET_ACCESS_KEY": who[1],
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Ready when the bucket is."""
        data = self.root / "data"
        words = [
            *(
                str(PROGRAM),
                "mini",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-bucket={BUCKET}",
            ),
            *("-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.iam=false"),
            *(f"-tableBucket={WAREHOUSE}", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
            *(f"-s3.config={self.root / 'identities.json'}", f"-s3.localSocket={self.root / 's3'}"),
            *(f"-filer.localSocket={self.root / 'filer'}",),
            *(f"-{name}={port}" for name, port in self.ports.items()),
        ]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=data)
        self._await()

    def _await(self) -> None:
        ends = time.monotonic() + 40
        while time.monotonic() < ends:
            assert self.process is not None
            assert self.process.poll() is None, (self.root / "log").read_text()[-2000:]
            with suppress(OSError):
                self._try()
                return
            time.sleep(0.05)
        raise AssertionError((self.root / "log").read_text()[-2000:])

    def _try(self) -> None:
        """What was there before is readable, and there is room for more: both come later than the port."""
        files = self.files()
        probes = [f"{BUCKET}/probes/before", f"{BUCKET}/probes/now"]
        for path in probes[not self._has_been_up :]:
            if path == probes[1]:
                with files.open_output_stream(path) as stream:
                    stream.write(b"x" * 100)
            with files.open_input_stream(path) as readable:
                assert readable.read() == b"x" * 100
        files.copy_file(probes[1], probes[0])
        self._has_been_up = True

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def files(self) -> pafs.S3FileSystem:
        """The bucket as another program sees it: not through the library that writes it."""
        return pafs.S3FileSystem(
            access_key=WRITER[0],
            secret_key=WRITER[1],
            endpoint_override=self.endpoint,
            region="us-east-1",
            connect_timeout=2,
            request_timeout=5,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    def read(self, url: str) -> bytes:
        with self.files().open_input_stream(url.removeprefix("s3://")) as stream:
            return bytes(stream.read())

    def names(self, url: str) -> list[str]:
        """Every object beneath a URL, relative to it."""
        top = url.removeprefix("s3://")
        found = self.files().get_file_info(pafs.FileSelector(top, recursive=True, allow_not_found=True))
        return sorted(one.path.removeprefix(f"{top}/") for one in found if one.is_file)

    def pull(self, url: str, into: Path) -> Path:
        """A local copy of everything beneath a URL."""
        for name in self.names(url):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(self.read(f"{url}/{name}"))
        return into


def _identities() -> dict[str, object]:
    def one(who: tuple[str, str], *actions: str) -> dict[str, object]:
        keys = {"accessKey": who[0], "secretKey": who[1]}
        return {"name": who[0], "credentials": [keys], "actions": list(actions)}

    writer = one(WRITER, "Admin", "Read", "Write", "List", "Tagging")
    return {"identities": [writer, one(READER, "Read", "List")]}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
