"""What stands before the provisioning service, and can be unwell: passes connections on, answers 503, or hangs.

Responsible for: one port on loopback, which is the service's address. Not for: what is said through it.
"""

from __future__ import annotations

import asyncio
import contextlib

UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Front:
    """``mood`` is "well", "unwell" or "hangs"."""

    def __init__(self) -> None:
        self.mood = "well"
        self.turned_away = 0
        self._behind: tuple[str, int] = ("127.0.0.1", 0)
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen; returns the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stand_before(self, url: str) -> None:
        """Pass on to the service at ``url``."""
        host, port = url.removeprefix("http://").split(":")
        self._behind = (host, int(port))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.mood != "well":
                self.turned_away += 1
                if self.mood == "hangs":
                    await asyncio.sleep(4)
                await reader.read(65_536)
                writer.write(UNWELL)
            else:
                inner_reader, inner = await asyncio.open_connection(*self._behind)
                back = asyncio.create_task(_pump(inner_reader, writer))
                await _pump(reader, inner)
                await back
        writer.close()

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
