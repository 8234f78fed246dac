"""A wire between the appliance and a server that can be bad: slow, late, lossy, held, cut, or somebody else's.

Responsible for: real TCP on loopback, and faults as TCP shows them to a program. A lost packet is not a hole in the
stream but a wait for its repetition, so ``loss`` holds a piece back for a repetition time; a dead peer is a socket
that stays open and says nothing. Not for: packets (nobody may need root here), or what is said (the servers).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass

PIECE = 1400  # bytes: about what a packet carries
REPEAT_S = 0.25  # a lost packet is repeated after; each further loss doubles it


@dataclass
class Weather:
    """How bad the wire is. Times in seconds; the default is a perfect one."""

    delay_s: float = 0.0  # each way
    bytes_per_s: float = 0.0  # each way; 0: no limit
    loss: float = 0.0  # share of the pieces that have to be repeated
    held: bool = False  # nothing passes, nobody is told; new connections are taken and hang too
    refused: bool = False  # nobody listens: new connections are reset
    answer: bytes = b""  # somebody else answers, so, in the server's place
    answer_s: float = 0.0  # and takes this long


class Proxy:
    """Listens from :meth:`start` on; ``port`` is its own, ``target`` that of the server behind it.

    All methods on one loop.
    """

    def __init__(self, target: int = 0, seed: int = 1) -> None:
        self.target = target
        self.posts_to = 0  # where requests go that begin with POST, if elsewhere
        self.port = 0
        self.weather = Weather()
        self.taken = 0  # connections so far
        self._rng = random.Random(seed)
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and stop listening."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def set(self, weather: Weather) -> None:
        """Change the weather for what passes from now on."""
        async with self._changed:
            self.weather = weather
            self._changed.notify_all()

    def reset(self) -> None:
        """Cut every connection with a RST, both ways."""
        for writer in list(self._writers):
            _abort(writer)

    def die(self) -> None:
        """Lose every connection as a power cut of the peer does: what is open stays open, and silent for ever.

        New connections work.
        """
        self._dead |= self._writers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.taken += 1
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side went, or we stop
        finally:
            self._tasks.discard(task)
            _abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.refused:
            return
        if self.weather.answer:
            await self._answer(reader, writer)
            return
        first = await reader.read(PIECE) if self.posts_to else b""
        target = self.posts_to if first.startswith(b"POST ") else self.target
        inner, outer = await asyncio.open_connection("127.0.0.1", target)
        outer.write(first)
        ours = {writer, outer}
        self._writers |= ours
        try:
            await asyncio.gather(self._pump(reader, outer, writer), self._pump(inner, writer, outer))
        finally:
            self._writers -= ours
            self._dead -= ours
            _abort(outer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(self.weather.answer_s)
        writer.write(self.weather.answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        """Carry one direction in order; what waits is bounded by the sockets' own buffers."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        carrying = asyncio.create_task(self._carry(line, writer, other))
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(PIECE):
                await line.put((loop.time(), data))
            await line.put((loop.time(), b""))
            await carrying
        finally:
            carrying.cancel()

    async def _carry(
        self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            came_at, data = await line.get()
            await self._pass()
            weather = self.weather
            if (late_s := came_at + weather.delay_s - loop.time()) > 0:
                await asyncio.sleep(late_s)
            if weather.bytes_per_s:
                await asyncio.sleep(len(data) / weather.bytes_per_s)
            await asyncio.sleep(self._repeated_s(weather.loss))
            await self._pass()
            if writer in self._dead or other in self._dead:
                await asyncio.Event().wait()  # until somebody closes us
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def _pass(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self.weather.held)

    def _repeated_s(self, loss: float) -> float:
        wait_s, step_s = 0.0, REPEAT_S
        while self._rng.random() < loss:
            wait_s, step_s = wait_s + step_s, step_s * 2
        return wait_s


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a RST."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def http(status: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """Write a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body
