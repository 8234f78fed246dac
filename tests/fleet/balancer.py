"""A TCP load balancer: each connection to the next replica, and on to another one if that does not accept it.

Responsible for: that, and no more; what breaks on one side breaks on the other. Not for: HTTP, health checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator


class Balancer:
    """``ports`` may be changed at any time."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._turns = itertools.count()
        self.url = ""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Accepts for the block, on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replica = await self._connect()
        if replica is None:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._pump(reader, replica[1]), self._pump(replica[0], writer))
        except OSError:
            pass
        finally:
            writer.transport.abort()
            replica[1].transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        ports, first = list(self.ports), next(self._turns)
        for offset in range(len(ports)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", ports[(first + offset) % len(ports)])
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copies until one side ends, and then ends the other."""
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
