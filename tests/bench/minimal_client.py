"""The yardstick: a push-to-talk client as one writes it in an afternoon with ``openai`` and ``sounddevice``.

Responsible for: holding a conversation and no more, without any deliberate slowness. It says nothing while it
runs; the lines ``press`` and ``release`` on its standard input are the button. The server is named by
``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import threading
from typing import Any

import sounddevice
from openai import AsyncOpenAI

RATE = 24_000
BLOCK = RATE // 50  # 20 ms
PCM = {"type": "audio/pcm", "rate": RATE}
SESSION: dict[str, Any] = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "audio": {"input": {"format": PCM, "turn_detection": None}, "output": {"format": PCM, "voice": "marin"}},
}


class Client:
    """One conversation."""

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.connection, self.loop = connection, loop
        self.microphone: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.talking = self.responding = False
        self.lock = threading.Lock()
        self.pending = bytearray()  # audio of the reply that was not yet handed to the sound card
        self.item_id = self.silenced_id = ""
        self.played_bytes = 0
        card = {"samplerate": RATE, "blocksize": BLOCK, "channels": 1, "dtype": "int16", "latency": "low"}
        device = os.environ.get("MINIMAL_DEVICE")
        self.input = sounddevice.RawInputStream(device=device, callback=self.record, **card)
        self.output = sounddevice.RawOutputStream(device=device, callback=self.play, **card)

    def record(self, data: Any, *_: object) -> None:
        if self.talking:
            self.loop.call_soon_threadsafe(self.microphone.put_nowait, bytes(data))

    def play(self, out: Any, *_: object) -> None:
        with self.lock:
            chunk = bytes(self.pending[: len(out)])
            del self.pending[: len(out)]
            self.played_bytes += len(chunk)
        out[:] = chunk.ljust(len(out), b"\0")

    async def press(self) -> None:
        self.talking = True
        with self.lock:
            interrupted = self.item_id if self.pending or self.responding else ""
            played_bytes = self.played_bytes
            self.pending.clear()
        if interrupted:
            self.silenced_id = interrupted
            self.output.abort()  # at once, with what the card had not played yet
            heard_ms = max(0, int(played_bytes / (RATE * 2) * 1000 - self.output.latency * 1000))
            self.output.start()
            if self.responding:
                await self.connection.response.cancel()
            await self.connection.conversation.item.truncate(
                item_id=interrupted, content_index=0, audio_end_ms=heard_ms
            )

    async def send(self) -> None:
        while True:
            block = await self.microphone.get()
            if block is not None:
                await self.connection.input_audio_buffer.append(audio=base64.b64encode(block).decode())
            else:
                await self.connection.input_audio_buffer.commit()
                await self.connection.response.create()

    async def receive(self) -> None:
        async for event in self.connection:
            if event.type == "response.output_audio.delta" and event.item_id != self.silenced_id:
                with self.lock:
                    if event.item_id != self.item_id:
                        self.item_id, self.played_bytes = event.item_id, 0
                    self.pending += base64.b64decode(event.delta)
            elif event.type == "response.created":
                self.responding = True
            elif event.type == "response.done":
                self.responding = False

    async def obey(self) -> None:
        lines = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            if line.strip() == b"press":
                await self.press()
            elif line.strip() == b"release":
                self.talking = False
                self.microphone.put_nowait(None)


async def main() -> None:
    async with AsyncOpenAI().realtime.connect(model="gpt-realtime") as connection:
        client = Client(connection, asyncio.get_running_loop())
        await connection.session.update(session=SESSION)  # type: ignore[arg-type]  # a plain dict will do
        with client.input, client.output:
            tasks = [asyncio.create_task(work) for work in (client.send(), client.receive())]
            await client.obey()
            for task in tasks:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
