"""The API's stand-in for measuring: prepared bodies on loopback, faster than any client.

nginx with Lua, from Debian, where it is there or can be had; else one process of raw asyncio. Beside
`/v2/customers/{id}` it answers `/seen` (calls so far, and when the first came) and `/forget` (starts counting anew).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import bodies, plain_server

PACKAGES = ("nginx-light", "libnginx-mod-http-lua")
APT_TIMEOUT_S = 180
MODULES = Path("/usr/lib/nginx/modules")
LOOPBACK = "127.0.0.1"

NGINX = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 4096;
pid {home}/nginx.pid; error_log {home}/error.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300; default_type application/json;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  init_by_lua_file {home}/init.lua;
  server {{
    listen {address} reuseport backlog=2048; tcp_nodelay on;
    location /v2/customers/ {{ content_by_lua_block {{ answer() }} }}
    location = /seen {{ content_by_lua_block {{ seen() }} }}
    location = /forget {{ content_by_lua_block {{ forget() }} }}
  }}
}}
"""

LUA = r"""
local file = assert(io.open("{home}/bodies", "rb"))
local before, after, sizes = {{}}, {{}}, {{}}
for head, tail in file:read("*a"):gmatch("([^\1\2]*)\1([^\2]*)") do
  before[#before + 1], after[#after + 1], sizes[#sizes + 1] = head, tail, #head + #tail
end
file:close()
local calls, first = 0, 0
function answer()
  if calls == 0 then ngx.update_time(); first = ngx.now() end
  calls = calls + 1
  local id = ngx.var.uri:sub(15)
  local at = tonumber(id) % #before + 1
  ngx.header["Content-Length"] = sizes[at] + #id
  ngx.print(before[at], id, after[at])
end
function seen() ngx.print(string.format('{{"calls": %d, "first_at": %.3f}}', calls, first)) end
function forget() calls, first = 0, 0; ngx.print("{{}}") end
"""


@dataclass(frozen=True)
class Server:
    """A running server."""

    kind: str  # as the results name it
    url: str
    pid: int

    def seen(self) -> tuple[int, float]:
        """How many customers were asked for since `forget`, and when the first was (Unix time; 0: none yet)."""
        found = json.loads(self._ask("/seen"))
        return int(found["calls"]), float(found["first_at"])

    def forget(self) -> None:
        """Count anew."""
        self._ask("/forget")

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            found: bytes = answer.read()
            return found


@contextmanager
def running_server(*, may_install: bool = False, plain: bool = False) -> Iterator[Server]:
    """The fastest server that this machine has, or the plain one; `may_install`: root asks Debian for nginx first."""
    if may_install and not has_nginx() and os.geteuid() == 0 and shutil.which("apt-get"):
        _install_nginx()
    with TemporaryDirectory(prefix="bench-server-") as home:
        bodies.write_bodies(Path(home) / "bodies", bodies.templates())
        server, process = _start(Path(home), plain or not has_nginx())
        try:
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def _start(home: Path, plain: bool) -> tuple[Server, subprocess.Popen[bytes]]:
    """A server that answers. Where nginx is there and does not start, the plain one."""
    kind, process, url = (_start_plain if plain else _start_nginx)(home)
    server = Server(kind, url, process.pid)
    if _answers(server, process):
        return server, process
    process.kill()
    process.wait()
    if plain:
        raise RuntimeError("the bench's server does not start")
    return _start(home, plain=True)


def has_nginx() -> bool:
    """Whether nginx is there, with Lua."""
    return _nginx() is not None and (MODULES / "ngx_http_lua_module.so").exists()


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _install_nginx() -> None:
    """On any trouble there is the other server."""
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, env=environ, capture_output=True, timeout=APT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        print(f"nginx cannot be had ({exc}): measuring with the plain server", file=sys.stderr)


def _start_nginx(home: Path) -> tuple[str, subprocess.Popen[bytes], str]:
    address = f"{LOOPBACK}:{_free_port()}"
    (home / "init.lua").write_text(LUA.format(home=home))
    (home / "nginx.conf").write_text(NGINX.format(home=home, modules=MODULES, address=address))
    nginx = _nginx()
    assert nginx is not None
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    command = [nginx, "-e", str(home / "error.log"), "-p", str(home), "-c", str(home / "nginx.conf")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    return f"nginx {version.rpartition('/')[2].strip()} with Lua", process, f"http://{address}"


def _start_plain(home: Path) -> tuple[str, subprocess.Popen[bytes], str]:
    port = _free_port()
    command = [sys.executable, "-m", plain_server.__name__, str(home / "bodies"), str(port)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)
    return "plain asyncio", process, f"http://{LOOPBACK}:{port}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def _answers(server: Server, process: subprocess.Popen[bytes], patience_s: float = 10.0) -> bool:
    """Wait until it does; False where it ends, or takes too long."""
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < patience_s:
        try:
            server.forget()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def requests_per_second(server: Server, seconds: int = 3) -> float | None:
    """What wrk gets out of it with 64 connections; None where there is no wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    with TemporaryDirectory() as home:
        script = Path(home) / "ids.lua"
        script.write_text(
            f"local id = {bodies.FIRST_ID}\n"
            "request = function() id = id + 1; return wrk.format('GET', '/v2/customers/' .. id) end\n"
        )
        command = [wrk, "-t1", "-c64", f"-d{seconds}s", "-s", str(script), server.url]
        told = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    return float(told.stdout.partition("Requests/sec:")[2].split()[0])


def main() -> int:
    """Serve until Ctrl-C, for a look by hand."""
    parser = argparse.ArgumentParser(prog="python -m bench.server", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="then it ends by itself")
    chosen = parser.parse_args()
    with running_server(may_install=True) as server:
        rate = requests_per_second(server)
        print(f"{server.kind} on {server.url}: {f'{rate:,.0f}' if rate else 'unknown'} requests/s")
        time.sleep(chosen.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
