from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from appliance.errors import ConfigError, DeviceError
from appliance.panel.control import ControlServer
from tests.panel.served import Appliance, Served, serve, until


def test_owner_and_group_only_and_gone_afterwards(path: Path) -> None:
    async def story(_: Served) -> None:
        look()

    found: dict[str, int] = {}

    def look() -> None:
        found.update({entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()})

    before = os.umask(0)
    try:
        serve(path, story)
    finally:
        os.umask(before)
    assert found == {"control.sock": 0o660}
    assert list(path.parent.iterdir()) == []


def test_a_stale_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def story(served: Served) -> None:
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story)


def test_a_served_socket_is_refused_and_left_alone(path: Path) -> None:
    async def story(served: Served) -> None:
        second = ControlServer(path, Appliance())
        with pytest.raises(DeviceError, match=r"control\.sock is already served"):
            await second.start()
        await second.close()
        assert await (await served.connect()).ask({"cmd": "tap"}) == {"ok": True}

    serve(path, story)


def test_a_successor_s_socket_is_not_removed(path: Path) -> None:
    async def story(_: Served) -> None:
        replace()

    def replace() -> None:
        path.unlink()
        path.touch()

    serve(path, story)
    assert path.exists()


def refused(path: Path) -> ConfigError:
    async def start() -> None:
        await ControlServer(path, Appliance()).start()

    with pytest.raises(ConfigError) as caught:
        asyncio.run(start())
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_path_that_cannot_be_a_socket_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    refused(tmp_path / "file")
    refused(tmp_path / "file" / "control.sock")
    refused(tmp_path)
    refused(tmp_path / ("x" * 120))
    assert (tmp_path / "file").read_text() == "precious"


def test_close_does_not_wait_for_a_client_that_reads_nothing(path: Path) -> None:
    async def story(served: Served) -> None:
        slow = socket.socket(socket.AF_UNIX)
        slow.connect(str(path))
        slow.sendall(b'{"cmd":"status","follow":true}\n')
        await until(lambda: served.appliance.followers == 1)
        for _ in range(8):
            served.appliance.records.put_nowait({"event": "x" * 50_000})
        await until(served.appliance.records.empty)
        async with asyncio.timeout(1):
            await served.server.close()
        slow.close()

    serve(path, story)


def test_close_ends_every_connection_at_once(path: Path) -> None:
    async def story(served: Served) -> None:
        clients = [await served.connect() for _ in range(4)]
        await clients[0].ask({"cmd": "status", "follow": True})
        await clients[1].ask({"cmd": "tap"})
        await clients[2].send(b'{"cmd"')
        async with asyncio.timeout(1):
            await served.server.close()
        for client in clients:
            assert await client.ended()

    serve(path, story)
