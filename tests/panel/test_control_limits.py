from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.panel import control
from appliance.panel.picture import MAX_PICTURE_BYTES, read_picture
from tests.panel.served import Served, serve, until
from tests.panel.test_picture import PNG


def test_an_endless_line_costs_its_connection_only(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(b"x" * 3_000_000)
        answer = await client.answer()
        assert "longer than" in answer["error"]
        assert await client.ended()
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story)


def test_the_largest_picture_fits_into_a_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(PNG.ljust(MAX_PICTURE_BYTES, b"\0"))
    picture = read_picture(tmp_path / "large.png")

    async def story(served: Served) -> None:
        client = await served.connect()
        for _ in range(3):
            assert await client.ask({"cmd": "show", "image_url": picture}) == {"ok": True}

    assert serve(path, story).appliance.told == [("show", picture)] * 3


def test_few_long_lines_at_a_time_bound_the_memory(path: Path) -> None:
    async def story(served: Served) -> None:
        hoarders = [await served.connect() for _ in range(control.LONG_LINES_AT_ONCE)]
        for hoarder in hoarders:
            await hoarder.send(b"x" * 200_000)
        await asyncio.sleep(0.05)
        refused = await served.connect()
        await refused.send(b"x" * 200_000)
        assert "busy" in (await refused.answer())["error"]
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}
        hoarders[0].close()
        await until(lambda: served.server._long_lines == 1)
        late = await served.connect()
        await late.send(b"x" * 200_000)
        assert "not a JSON object" in (await late.ask(b"\n"))["error"]

    serve(path, story)


def test_beyond_the_cap_a_connection_is_told_so_and_closed(path: Path) -> None:
    async def story(served: Served) -> None:
        guests = [await served.connect() for _ in range(3)]
        for guest in guests:
            await guest.ask({"cmd": "tap"})
        refused = await served.connect()
        assert "too many connections" in (await refused.answer())["error"]
        assert await refused.ended()
        guests[0].close()
        await until(lambda: len(served.server._connections) == 2)
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story, max_connections=3)


def test_thousands_of_connections(path: Path) -> None:
    async def story(served: Served) -> None:
        patient = await served.connect()
        await patient.ask({"cmd": "tap"})
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(40):
            crowd = [socket.socket(socket.AF_UNIX) for _ in range(50)]
            for visitor in crowd:
                visitor.setblocking(False)
                with contextlib.suppress(BlockingIOError):  # the backlog is full
                    visitor.connect(str(path))
            assert await patient.ask({"cmd": "tap"}) == {"ok": True}
            for visitor in crowd:
                visitor.close()
        await until(lambda: len(served.server._connections) == 1 and not served.server._refusals)
        assert len(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208

    serve(path, story)


def test_silence_costs_the_connection(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        await client.send(b'{"cmd":"press"')
        assert "nothing came for 0.1 s" in (await client.answer())["error"]
        assert await client.ended()

    serve(path, story, idle_s=0.1)


def test_a_client_that_reads_no_answers_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WRITE_S", 0.1)

    async def story(served: Served) -> None:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.setblocking(False)
        question = b'{"cmd":"zzz"}\n' * 1000
        sent = 0
        async with asyncio.timeout(10):
            try:
                while True:
                    with contextlib.suppress(BlockingIOError):
                        sent += deaf.send(question)
                    await asyncio.sleep(0.001)
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert sent > 10_000
        deaf.close()
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_garbage_never_stops_the_server(path: Path, pieces: list[bytes]) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        for piece in pieces:
            await client.send(piece)
        client.writer.write_eof()
        async with asyncio.timeout(10):
            for line in (await client.reader.read()).splitlines():
                assert json.loads(line)["ok"] is False
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story)
