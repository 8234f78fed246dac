"""A control server on a real socket, the daemon behind it and its clients."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.panel.control import ControlServer


class Appliance:
    """The daemon's side: remembers what it was told, follows with what is put into ``records``."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.muted = False
        self.records: asyncio.Queue[dict[str, object] | ApplianceError] = asyncio.Queue()
        self.followers = 0

    def press(self) -> None:
        self.told.append(("press", None))

    def release(self) -> None:
        self.told.append(("release", None))

    def tap(self) -> None:
        self.told.append(("tap", None))

    def toggle_mute(self) -> bool:
        self.muted = not self.muted
        return self.muted

    def say(self, text: str) -> None:
        if text == "fail":
            raise ApplianceError("it is muted", hint="unmute it")
        self.told.append(("say", text))

    def show(self, image_url: str) -> None:
        self.told.append(("show", image_url))

    def set_volume(self, percent: int) -> None:
        self.told.append(("volume", percent))

    def try_sound(self) -> None:
        self.told.append(("try-sound", None))

    def stand_still(self) -> None:
        self.told.append(("stand-still", None))

    def status(self) -> dict[str, object]:
        return {"phase": "idle", "ok": "shadowed", "level_dbfs": float("-inf")}

    async def follow(self) -> AsyncIterator[dict[str, object]]:
        self.followers += 1
        try:
            while True:
                record = await self.records.get()
                if isinstance(record, ApplianceError):
                    raise record
                yield record
        finally:
            self.followers -= 1


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: bytes | dict[str, object]) -> Any:
        await self.send(line)
        return await self.answer()

    async def send(self, line: bytes | dict[str, object]) -> None:
        self.writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        await self.writer.drain()

    async def answer(self) -> Any:
        async with asyncio.timeout(10):
            line = await self.reader.readline()
        assert line.endswith(b"\n"), f"the server hung up: {line!r}"
        return json.loads(line)

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            try:
                return not await self.reader.read(1)
            except ConnectionResetError:  # it closed with something of ours unread
                return True

    def close(self) -> None:
        self.writer.close()


Story = Callable[["Served"], Coroutine[Any, Any, None]]


class Served:
    """A server on a real socket and the clients that a story opened."""

    def __init__(self, path: Path, **limits: Any) -> None:
        self.path = path
        self.appliance = Appliance()
        self.server = ControlServer(path, self.appliance, **limits)
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.path, limit=8_000_000))
        self.clients.append(client)
        return client


def serve(path: Path, story: Story, **limits: Any) -> Served:
    async def main() -> Served:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        served = Served(path, **limits)
        await served.server.start()
        try:
            await story(served)
        finally:
            await served.server.close()
            for client in served.clients:
                client.close()
        assert served.appliance.followers == 0, "a follower was left behind"
        return served

    trouble: list[dict[str, Any]] = []
    served = asyncio.run(main())
    gc.collect()
    assert trouble == [], "something failed where nobody looks"
    return served


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited lies behind a socket
            await asyncio.sleep(0.005)
