"""A Realtime client for tests: every event it receives is checked against the vendor's own types."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect

from appliance.local import minting
from appliance.local.server import Backend, serving
from tests.fakes.speech import FakeListener, FakeTalker

Json = dict[str, Any]
QUESTION = Path(minting.__file__).parent / "questions" / "seven-times-six.wav"
NOW = datetime(2026, 11, 22, 15, 5, tzinfo=UTC)
KEY = "sk-test"

_TYPES: dict[str, type[BaseModel]] = {
    get_args(cls.model_fields["type"].annotation)[0]: cls for cls in get_args(get_args(RealtimeServerEvent)[0])
}


def checked(event: Json) -> Json:
    """The event, if the vendor's types declare it and each of its fields."""
    model = _TYPES[event["type"]].model_validate(event)
    assert not model.model_extra, f"undeclared fields in {event['type']}: {model.model_extra}"
    return event


class Client:
    """One session seen from the device."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Json] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def configure(self, **session: Any) -> Json:
        """Update the session; answers ``session.updated`` or the error."""
        await self.send("session.update", session={"type": "realtime", **session})
        return await self.until("session.updated", "error")

    async def append(self, audio: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def write(self, text: str, **fields: Any) -> Json:
        """Create a user message; answers ``conversation.item.done`` or the error."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **fields}
        await self.send("conversation.item.create", item=item)
        return await self.until("conversation.item.done", "error")

    async def ask(self, text: str, **response: Any) -> Json:
        """Write and have it answered; answers the response of ``response.done``."""
        await self.write(text)
        await self.send("response.create", response=response)
        done = await self.until("response.done")
        reply: Json = done["response"]
        return reply

    async def receive(self) -> Json:
        async with asyncio.timeout(10):
            event = checked(json.loads(await self.socket.recv()))
        self.seen.append(event)
        return event

    async def until(self, *kinds: str) -> Json:
        while True:
            event = await self.receive()
            if event["type"] in kinds:
                return event
            assert event["type"] != "error", event

    async def error(self) -> Json:
        error: Json = (await self.until("error"))["error"]
        return error

    def kinds(self, *, since: str = "") -> list[str]:
        """The types received, repeats of deltas folded, from the last ``since`` on."""
        names: list[str] = []
        for event in self.seen:
            if event["type"] == since:
                names.clear()
            if not names or names[-1] != event["type"] or not event["type"].endswith("delta"):
                names.append(event["type"])
        return names

    def audio(self) -> bytes:
        """All audio received."""
        deltas = [event["delta"] for event in self.seen if event["type"] == "response.output_audio.delta"]
        return b"".join(base64.b64decode(delta) for delta in deltas)


class Bench:
    """A backend with fakes on a loopback port."""

    def __init__(self, backend: Backend, port: int, listener: FakeListener, talker: FakeTalker) -> None:
        self.backend = backend
        self.port = port
        self.listener = listener
        self.talker = talker

    @contextlib.asynccontextmanager
    async def session(self, *, bearer: str = KEY, query: str = "?model=gpt-realtime-1.5") -> AsyncIterator[Client]:
        url = f"ws://127.0.0.1:{self.port}/v1/realtime{query}"
        headers = {"Authorization": f"Bearer {bearer}"}
        async with connect(url, additional_headers=headers, max_size=None, compression=None, close_timeout=2) as socket:
            client = Client(socket)
            await client.until("session.created")
            yield client


@contextlib.asynccontextmanager
async def bench(
    *, heard: list[str] | None = None, mint: minting.Mint | None = None, **options: Any
) -> AsyncIterator[Bench]:
    listener, talker = FakeListener(heard or []), FakeTalker()
    backend = Backend(mint or minting.Mint(lambda: 1_000_000.0), listener, talker, now=lambda: NOW, **options)
    async with serving(backend, "127.0.0.1", 0) as port:
        yield Bench(backend, port, listener, talker)


def in_session(story: Callable[[Client], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a story told by one client without turn detection."""

    async def tell(_bench: Bench, client: Client) -> None:
        await story(client)

    on_bench(tell, **options)


def on_bench(story: Callable[[Bench, Client], Coroutine[Any, Any, None]], **options: Any) -> None:
    """The same for a story that also drives the fakes."""

    async def tell() -> None:
        async with bench(**options) as stage, stage.session() as client:
            await client.configure(audio={"input": {"turn_detection": None}})
            await story(stage, client)

    asyncio.run(tell())
