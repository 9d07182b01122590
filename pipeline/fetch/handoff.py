"""The door to the second process: packed replies go out in frames, word comes back when they are durable.

Frames are bounded in number: when the disk or the normalizer is slow, `put` waits, and with it the workers.
On the wire: `records:u32 bytes:u32 payload` out; JSON lines back: {"durable": n}, {"sealed": …},
{"error": …}, {"finished": …}.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import msgspec

from pipeline.errors import ExportError, HelperError, JournalError, StorageError
from pipeline.events import Tell, tell_nobody
from pipeline.stats import Tally

FRAME_RECORDS = 256
FRAME_BYTES = 1 << 20
FLUSH_S = 0.2
FRAMES_UNDER_WAY = 8
HEAD = struct.Struct("<II")
FINISH = HEAD.pack(0, 0)
"""A frame of nothing: no more will come."""

_ERRORS: dict[str, type[ExportError]] = {"StorageError": StorageError, "JournalError": JournalError}


class Handoff:
    """Gathers packed records into frames and sends them; run `serve` beside the workers."""

    def __init__(self, sock: socket.socket, tally: Tally, tell: Tell = tell_nobody) -> None:
        self._sock = sock
        self._tally = tally
        self._tell = tell
        self._waiting: list[tuple[bytes, int]] = []  # packed records that belong together, and their number
        self._waiting_bytes = 0
        self._slots = asyncio.Semaphore(FRAMES_UNDER_WAY)
        self._sending = asyncio.Lock()
        self._finished = asyncio.Event()
        self._broken: ExportError | None = None

    async def open(self) -> None:
        """Take the socket into the running loop."""
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # as large as the system lets it be
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * FRAME_BYTES)
        self._outgoing = self._sock.dup()
        self._outgoing.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock)

    async def put(self, packed: bytes, records: int = 1) -> None:
        """Hand over a packed record, or several that must not be parted.

        Waits while too much is under way; raises what broke the other side.
        """
        if self.add(packed, records):
            await self.flush()

    def add(self, packed: bytes, records: int = 1) -> bool:
        """The same without waiting: where it gives True, a frame is full, and `flush` is to follow."""
        if self._broken is not None:
            raise self._broken
        self._waiting.append((packed, records))
        self._waiting_bytes += len(packed)
        return len(self._waiting) >= FRAME_RECORDS or self._waiting_bytes >= FRAME_BYTES

    async def flush(self) -> None:
        """Send what has gathered."""
        async with self._sending:
            while self._waiting:
                self._raise_if_broken()
                await self._slots.acquire()  # first: whoever is cancelled here has taken no records yet
                taken = self._take_a_frame()
                head = HEAD.pack(
                    sum(records for _, records in taken), sum(len(packed) for packed, _ in taken)
                )
                await self._send(b"".join([head, *(packed for packed, _ in taken)]))

    def _take_a_frame(self) -> list[tuple[bytes, int]]:
        """The oldest records, up to the one that makes the frame full: a journal's frame has its limit.

        While all slots are taken more gathers than a frame holds; frames that grew with it would cost a death more.
        """
        count = size = records = 0
        while count < len(self._waiting) and size < FRAME_BYTES and records < FRAME_RECORDS:
            packed, together = self._waiting[count]
            size, records, count = size + len(packed), records + together, count + 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        return taken

    async def finish(self) -> None:
        """Send the rest, say that it was all, and wait until the other side has done its work."""
        await self.flush()
        await self._send(FINISH)
        await self._finished.wait()
        self._raise_if_broken()

    async def serve(self) -> None:
        """Flush now and then, and listen; ends when the other side has finished or broken."""
        flusher = asyncio.create_task(self._flush_now_and_then())
        try:
            while line := await self._reader.readline():
                self._heard(msgspec.json.decode(line))
        except (ConnectionError, ValueError, msgspec.DecodeError):
            pass  # told below: the other side is gone, or out of its mind
        finally:
            flusher.cancel()
            self._other_side_ended()

    def close(self) -> None:
        """Let go of the socket."""
        self._loop.remove_writer(self._outgoing)
        self._outgoing.close()
        self._writer.close()

    async def _send(self, data: bytes) -> None:
        """All of it. The stream's own writer would move the rest again and again, of what does not fit in at once."""
        self._raise_if_broken()
        try:
            await self._loop.sock_sendall(self._outgoing, data)
        except ConnectionError:
            await self._finished.wait()  # the listener learns why
            self._raise_if_broken()
        except BaseException:  # after half a frame nothing may follow
            self._broken = self._broken or HelperError(
                "The last frame was cut short.", "`run` goes on with it."
            )
            raise

    async def _flush_now_and_then(self) -> None:
        with contextlib.suppress(ExportError):  # whoever hands over next is told
            while True:
                await asyncio.sleep(FLUSH_S)
                await self.flush()

    def _heard(self, message: dict[str, Any]) -> None:
        if "durable" in message:
            self._tally.durable += message["durable"]
            self._slots.release()
        elif "sealed" in message:
            self._tell("chunk.sealed", **message["sealed"])
        elif "error" in message:
            kind = _ERRORS.get(message["error"], StorageError)
            self._broken = kind(message["message"], message["hint"])
        elif "finished" in message:
            self._finished.set()

    def _other_side_ended(self) -> None:
        """Whoever waits for a slot or for the end must not wait for ever."""
        if not self._finished.is_set() and self._broken is None:
            self._broken = HelperError(
                "The normalizing process ended unexpectedly (out of memory?).",
                "Nothing that was acknowledged is lost: `run` goes on where it stopped.",
            )
        self._finished.set()
        for _ in range(FRAMES_UNDER_WAY):
            self._slots.release()

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken
