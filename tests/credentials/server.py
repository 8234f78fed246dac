"""A loopback server that answers each connection with scripted bytes and remembers what it heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

HANG = b"hang"


@dataclass
class Scripted:
    """``answers`` are raw bytes, one a request; an empty one closes the connection, HANG says nothing."""

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


def http(status: int, content: object, **headers: str) -> bytes:
    """A whole answer; JSON unless ``content`` is bytes."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


@contextlib.asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    said = Scripted()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                said.heard.append(head + await reader.readexactly(length))
                answer = said.answers.pop(0) if said.answers else b""
                if answer == HANG:
                    said.hung.set()
                    await reader.read()
                    break
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
                if not answer.startswith(b"HTTP/1.1"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            said.gone.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    said.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield said
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)
