"""A WebSocket session under test, on real sockets: everything that it reports, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from appliance.conversation.events import LinkLost, LinkRefused
from appliance.errors import Secret
from appliance.realtime.configuration import Wishes
from appliance.realtime.facts import Configured, Fact
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need, Ticket, Timing
from appliance.realtime.websocket import WebSocketSession

SECRET = "ek_0123456789abcdef"
QUICK = Timing(open_s=0.25, backoff_first_s=0.01, backoff_last_s=0.05, close_s=0.2)
Handler = Callable[[ServerConnection], Awaitable[None]]


class Ceilings(random.Random):
    """Draws the upper end, and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.asked.append((a, b))
        return b


class Link:
    """A session in a task group of its own. Use as ``async with``."""

    def __init__(self, url: str, *, timing: Timing = QUICK, model: str = "gpt-realtime-1.5") -> None:
        self.url, self.model = url, model
        self.facts: list[Fact] = []
        self.on_fact: Callable[[Fact], None] = lambda _: None
        self.sent: list[tuple[float, float]] = []
        self.minted = 0
        self.good_for_s = 0.0  # its tickets
        self.longest_s = math.inf  # sessions of these
        self.fallback_models: tuple[str, ...] = ()
        self.needs: list[Need] = []
        self.ended: list[tuple[str, float, str]] = []
        self.mint: Callable[[], Awaitable[Ticket]] = self.own_mint
        self.rng = Ceilings()
        self.protocol = Protocol(Wishes(model, "marin", "Hi."), (f"va_{n}" for n in itertools.count(1)))
        self._timing = timing
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self.session = WebSocketSession(
            self.protocol,
            self._ticket,
            self._fact,
            lambda captured_at, sent_at: self.sent.append((captured_at, sent_at)),
            self._group.create_task,
            self._timing,
            self.rng,
            lambda ticket, lasted_s, reason: self.ended.append((ticket.session_id, lasted_s, reason)),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.finish()
        await self._group.__aexit__(kind, error, trace)

    async def _ticket(self, need: Need) -> Ticket:
        self.needs.append(need)
        return await self.mint()

    async def own_mint(self) -> Ticket:
        """Mint a ticket for the address of this link."""
        self.minted += 1
        secret = Secret(f"{SECRET}{self.minted}")
        name, others = f"s{self.minted}", self.fallback_models
        return Ticket(self.url, self.model, secret, None, name, self.good_for_s, self.longest_s, others)

    def _fact(self, fact: Fact) -> None:
        self.facts.append(fact)
        self._news.set()
        self.on_fact(fact)

    def ends(self) -> list[Fact]:
        """The events by which an opening can end or a session be lost."""
        return [f for f in self.facts if isinstance(f, Configured | LinkLost | LinkRefused)]

    async def until(self, fact: Fact) -> None:
        """Wait for a fact."""
        async with asyncio.timeout(5):
            while fact not in self.facts:
                self._news.clear()
                await self._news.wait()

    async def end(self, count: int = 1) -> Fact:
        """Wait for the ``count``-th of them."""
        async with asyncio.timeout(5):
            while len(self.ends()) < count:
                self._news.clear()
                await self._news.wait()
        return self.ends()[count - 1]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve WebSockets on loopback; yields the address."""

    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await handler(connection)

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1/realtime"


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Serve fixed bytes to whatever is asked, as something between us and the service would."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def http(status: str, *headers: str, body: str = "") -> bytes:
    """Build an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


async def say(connection: ServerConnection, kind: str, **fields: object) -> None:
    """Send an event."""
    await connection.send(json.dumps({"type": kind, **fields}))


async def set_up(connection: ServerConnection) -> None:
    """Greet and configure as a server does."""
    await say(connection, "session.created")
    assert json.loads(await connection.recv())["type"] == "session.update"
    await say(connection, "session.updated")


async def opened(url: str, *, model: str = "gpt-realtime-1.5", open_s: float = 10.0) -> Link:
    """Try once to open a session at ``url``, and close it again."""
    async with Link(url, model=model, timing=replace(QUICK, open_s=open_s)) as link:
        link.session.open()
        await link.end()
    return link
