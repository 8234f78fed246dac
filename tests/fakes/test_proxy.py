"""The wire does to a stream what it says it does, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.proxy import Proxy, Weather, http

Story = Callable[[Proxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def through(story: Story, weather: Weather | None = None) -> None:
    """Tell a story on a connection through the wire to an echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = Proxy(server.sockets[0].getsockname()[1])
        await proxy.start()
        await proxy.set(weather or Weather())
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        async with asyncio.timeout(10):
            await story(proxy, reader, writer)
        writer.close()
        await proxy.stop()
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_what_goes_in_comes_out_in_order_under_loss_and_delay() -> None:
    sent = bytes(range(256)) * 40

    async def story(_: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent

    through(story, Weather(delay_s=0.01, loss=0.1))


def test_delay_and_rate_cost_what_they_say() -> None:
    async def story(_: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(bytes(2000))
        await reader.readexactly(2000)
        assert loop.time() - began > 2 * (0.05 + 2000 / 20_000) - 0.1

    through(story, Weather(delay_s=0.05, bytes_per_s=20_000))


def test_a_held_wire_tells_nobody_and_goes_on() -> None:
    async def story(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.set(Weather(held=True))
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        await proxy.set(Weather())
        assert await reader.readexactly(5) == b"hello"

    through(story)


def test_a_dead_peer_stays_silent_while_a_new_connection_works() -> None:
    async def story(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.die()
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        again, other = await asyncio.open_connection("127.0.0.1", proxy.port)
        other.write(b"c")
        assert await again.readexactly(1) == b"c"
        other.close()

    through(story)


def test_a_reset_is_one() -> None:
    async def story(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)

    through(story)


def test_somebody_else_answers() -> None:
    async def story(_: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).endswith(b"log in here")

    through(story, Weather(answer=http("200 OK", b"log in here", kind="text/html")))
