"""Putting an answer on the wire, whole or broken."""

import asyncio
import contextlib
import gzip
import socket
import struct

from aiohttp import web

from pipeline.sandbox.answers import Answer

_SLOW_PIECES = 10
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: close sends RST


def whole(answer: Answer, request_id: str, compress: bool = False) -> web.Response:
    """The answer as it should be."""
    headers = {"Content-Type": answer.content_type, "X-Cap-Requestid": request_id, **answer.headers}
    body = answer.body
    if compress and body:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=1, mtime=0)
    return web.Response(status=answer.status, body=body, headers=headers)


async def cut(request: web.Request, answer: Answer, request_id: str, percent: float) -> web.StreamResponse:
    """Announces the whole body, sends a part of it, hangs up."""
    response = await _begin(request, answer, request_id)
    await response.write(answer.body[: int(len(answer.body) * min(percent, 99.0) / 100)])
    if request.transport is not None:
        request.transport.close()
    return response


def reset(request: web.Request) -> web.StreamResponse:
    """Hangs up with RST before a byte is sent. What is returned goes nowhere."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()
    return web.Response()


async def slow(request: web.Request, answer: Answer, request_id: str, length_s: float) -> web.StreamResponse:
    """Sends the body in pieces over a stretch of time."""
    response = await _begin(request, answer, request_id)
    size = len(answer.body) // _SLOW_PIECES + 1
    # A client that has had enough and left is no error of ours.
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(answer.body), size):
            await asyncio.sleep(length_s / _SLOW_PIECES)
            await response.write(answer.body[start : start + size])
        await response.write_eof()
    return response


async def _begin(request: web.Request, answer: Answer, request_id: str) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, headers={"X-Cap-Requestid": request_id, **answer.headers}
    )
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    return response
