"""Clients that are slow on purpose: they must not keep devices out, and must not stay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.provisioning import admission, connections
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Running, enrolled

HEAD = (
    b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nIdempotency-Key: key-00000001\r\nContent-Type: application/json\r\n"
    b"Content-Length: 30000\r\n\r\n{"
)
TRICKLES = {
    "says nothing": (b"", b""),
    "stops in its headers": (b"GET / HTTP/1.1\r\nHost:", b" x"),
    "stops in its body": (HEAD, b" "),
    "stops in a page's form": (HEAD.replace(b"/v1/sessions", b"/sign-in"), b" "),
}


@contextlib.asynccontextmanager
async def stranger(running: Running, first: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first)
    try:
        yield reader, writer
    finally:
        writer.close()


def test_those_who_do_not_finish_take_no_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with (
            enrolled(tmp_path, capsys, upstream) as (running, device, known),
            contextlib.AsyncExitStack() as many,
        ):
            for _ in range(3):
                await many.enter_async_context(stranger(running, HEAD))
            await asyncio.sleep(0.1)
            await device.ask_session(known.token)
            assert (await device.ask_session(known.token)).status == 201

    monkeypatch.setattr(admission.Admission.__init__, "__defaults__", (2,))
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.parametrize("how", TRICKLES)
def test_a_request_becomes_whole_in_time_or_ends(
    how: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, _, __):
            first, more = TRICKLES[how]
            async with stranger(running, first) as (reader, writer):

                async def trickle() -> None:
                    while more:
                        writer.write(more)
                        await asyncio.sleep(0.02)

                trickling = asyncio.create_task(trickle())
                async with asyncio.timeout(10):
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                trickling.cancel()

    monkeypatch.setattr(connections, "WHOLE_WITHIN_S", 0.3)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize("piece", [b"x" * 1_000, b"x" * 100_000, b"x: y\r\n" * 500])
def test_a_head_that_is_too_long_ends_the_connection(
    piece: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with (
            enrolled(tmp_path, capsys, upstream) as (running, _, __),
            stranger(running, b"GET / HTTP/1.1\r\nHost: x\r\nX: ") as (reader, writer),
        ):
            sent = 0
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof() and sent < 1_000_000:
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)
                    await asyncio.sleep(0.002)
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            assert sent <= connections.HEAD_AT_MOST + 4 * len(piece) + 100_000

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_requests_that_come_before_their_turn_are_answered_in_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        three = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3
        async with (
            enrolled(tmp_path, capsys, upstream) as (running, _, __),
            stranger(running, three + b"GET / HT") as (reader, ___),
        ):
            async with asyncio.timeout(20):
                said = await reader.read()  # the fourth never becomes whole
            assert said.count(b"HTTP/1.1 200 OK") == 3

    monkeypatch.setattr(connections, "WHOLE_WITHIN_S", 0.3)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_connection_that_is_used_stays_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with (
            enrolled(tmp_path, capsys, upstream) as (running, device, _),
            device.client.connect(running.url) as connection,
        ):
            for _ in range(3):
                answer = await connection.request("GET", f"{running.url}/healthz", headers={})
                assert answer.status == 200
                await asyncio.sleep(0.15)  # three of them are longer than a request may take
            assert connection._streams is not None

    monkeypatch.setattr(connections, "WHOLE_WITHIN_S", 0.3)
    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
