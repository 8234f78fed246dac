"""What stands before a plain server and speaks TLS for it: bytes through, nothing else. Its certificate can change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path


class TlsFront:
    """Listens on localhost from the start, so that its address can be told to the server behind it."""

    def __init__(self) -> None:
        self.plain_port = 0
        self._server: asyncio.Server | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.url = ""
        self.port = 0

    async def start(self, public: Path, private: Path) -> None:
        self._context.load_cert_chain(public, private)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{self.port}"

    def show(self, public: Path, private: Path) -> None:
        """Show another certificate to whoever connects from now on."""
        self._context.load_cert_chain(public, private)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self.plain_port)
        await asyncio.gather(_pump(reader, outer), _pump(inner, writer))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
