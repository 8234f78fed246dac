"""A WebSocket on an asyncio stream, server side, over the sans-I/O core of ``websockets``.

Responsible for: frames to messages, messages to frames, pings and the closing handshake. Not for: the opening
decision (``server``) or what the messages say (``session``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

_MAX_MESSAGE_BYTES = 32 * 2**20  # 15 MiB of audio in base64, and some
_CLOSE_S = 5.0


class WebSocket:
    """One connection. Read :meth:`messages` to its end, whoever closes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = ServerProtocol(max_size=_MAX_MESSAGE_BYTES)

    def open(self, head: bytes, rest: bytes) -> bool:
        """Answer the upgrade request; False if it was no proper one (the refusal has been sent).

        Args:
            head: the whole HTTP request head.
            rest: what came after it.
        """
        self._protocol.receive_data(head)
        requests = [event for event in self._protocol.events_received() if isinstance(event, Request)]
        if requests:
            self._protocol.send_response(self._protocol.accept(requests[0]))
            if rest:
                self._protocol.receive_data(rest)
        self._write()
        return self._protocol.state is State.OPEN

    async def messages(self) -> AsyncIterator[str | bytes]:
        """What the client sends: text as ``str``, binary as ``bytes``; ends with the connection."""
        parts: list[bytes] = []
        is_text = True
        while True:
            for event in self._protocol.events_received():
                if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    continue
                if event.opcode is not Opcode.CONT:
                    is_text = event.opcode is Opcode.TEXT
                parts.append(bytes(event.data))
                if event.fin:
                    data, parts = b"".join(parts), []
                    yield data.decode(errors="replace") if is_text else data
            if self._protocol.state is not State.OPEN:
                return
            await self._read()

    def send(self, text: bytes) -> None:
        """Queue one text message; nothing happens once the connection is closing."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(text)
            self._write()

    async def flush(self) -> None:
        """Wait until the client has taken most of what was queued; returns at once if it is gone."""
        try:
            await self._writer.drain()
        except ConnectionError:
            self._protocol.receive_eof()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and wait a few seconds for the client's answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._write()
        try:
            async with asyncio.timeout(_CLOSE_S):
                while not self._protocol.close_expected() and self._protocol.state is not State.CLOSED:
                    await self._read()
                await self.flush()
        except TimeoutError:
            pass

    async def _read(self) -> None:
        try:
            data = await self._reader.read(2**16)
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._write()

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            if self._writer.is_closing():
                return
            if data:
                self._writer.write(data)
            elif self._writer.can_write_eof():
                self._writer.write_eof()
