"""Servers on loopback whose certificates are wrong on purpose, and one that is right and leads to the sandbox."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trustme


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's side of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trust(authority: trustme.CA, folder: Path) -> str:
    """A file for SSL_CERT_FILE, which makes a machine trust this authority."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@contextmanager
def serving(context: ssl.SSLContext | None, upstream: int | None = None) -> Iterator[int]:
    """A port that speaks TLS (or takes whatever comes, without a context); what arrives goes to the port `upstream`."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if upstream is None:
            with suppress(OSError, ssl.SSLError):
                await reader.read(1)
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", upstream)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    ready, held = threading.Event(), dict[str, Any]()

    async def serve() -> None:
        held["loop"], held["stop"] = asyncio.get_running_loop(), asyncio.Event()
        # A client that refuses the certificate is what is tested, and no news.
        held["loop"].set_exception_handler(lambda *_: None)
        async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as server:
            held["port"] = server.sockets[0].getsockname()[1]
            ready.set()
            await held["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield held["port"]
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join(10)
