"""A Realtime server that does as it is told: a real WebSocket on loopback, scripted replies, a full record.

It speaks the GA protocol as far as a client can tell, and its knobs are the ways in which a server or a
downlink can be slow, bursty or silent. It listens to nothing: what is said to it is kept for the test.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Event = dict[str, Any]


@dataclass
class Script:
    """How the server behaves. Audio is 24 kHz mono s16le; times in seconds."""

    reply: bytes = b""
    delta_ms: int = 100
    pace: float = 0.0  # seconds between deltas per second of audio: 0 as fast as possible, 1 real time
    gaps: tuple[float, ...] = ()  # extra waits before deltas, cycled
    think_s: float = 0.0
    open_delay_s: float = 0.0
    refuse_status: int = 0  # HTTP status at the upgrade
    refuse_first: list[int] = field(default_factory=list)  # HTTP statuses of the first upgrades, one each
    models_gone: tuple[str, ...] = ()  # answered with 404 at the upgrade
    ending: Event = field(default_factory=dict)  # of the next response.done: status and what belongs to it
    speechless: bool = False  # the next response has no audio
    words: str = "This is the answer."
    calls: list[Event] = field(default_factory=list)  # function calls of the first response
    remote: list[Event] = field(default_factory=list)  # calls that the server runs in the first response; see _run
    remote_s: float = 0.0  # how long such a call takes
    remote_ends: str = "completed"  # or failed; empty: it never ends
    leave_for: str = ""  # a tool that the first response asks leave for
    restless: bool = False  # each response calls a tool, and says nothing, unless it is asked not to
    obeys: bool = True  # whether such a wish counts
    announce: bool = True  # send response.created
    finish: bool = True  # send response.done
    silent: bool = False  # answer response.create with nothing
    server_vad: bool = False  # end a turn by itself after ``vad_after_ms`` of audio
    vad_after_ms: int = 1500
    errors: dict[str, Event] = field(default_factory=dict)  # error body by client event type, sent once each


@dataclass
class Heard:
    """One event of the client, with its time of arrival (monotonic s) and the number of its connection."""

    at: float
    event: Event
    connection: int = 0


class RealtimeServer:
    """Use as ``async with``; ``url`` is the address to connect to."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.heard: list[Heard] = []
        self.audio: list[tuple[float, bytes]] = []  # microphone audio with its time of arrival
        self.connections: list[ServerConnection] = []
        self.sent_first_delta_at: list[float] = []
        self.latest_s = 0.0  # by how much a delta came later than scripted: this machine had no time for us
        self.responses = 0
        self.models: list[str] = []  # asked for, at each upgrade
        self._server: Server | None = None
        self._speaking: asyncio.Task[None] | None = None

    def begin(self, script: Script) -> None:
        """Begin another story: forget what was heard, behave as ``script`` says."""
        self.script = script
        self.heard, self.audio, self.connections, self.sent_first_delta_at = [], [], [], []
        self.latest_s = 0.0
        self.responses = 0
        self.models = []

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._upgrade, max_size=None, compression=None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1/realtime"

    @property
    def pcm(self) -> bytes:
        """All microphone audio received."""
        return b"".join(chunk for _, chunk in self.audio)

    def kinds(self) -> list[str]:
        """Types of the events received, appends folded into one."""
        found: list[str] = []
        for heard in self.heard:
            kind = str(heard.event.get("type"))
            if kind != "input_audio_buffer.append" or found[-1:] != [kind]:
                found.append(kind)
        return found

    def of(self, kind: str) -> list[Event]:
        """Events of one type."""
        return [h.event for h in self.heard if h.event.get("type") == kind]

    async def until(self, kind: str, count: int = 1, timeout_s: float = 10.0) -> Event:
        """Wait for the ``count``-th event of a type."""
        async with asyncio.timeout(timeout_s):
            while len(self.of(kind)) < count:  # noqa: ASYNC110  # a record is watched, not an event
                await asyncio.sleep(0.005)
        return self.of(kind)[count - 1]

    async def say(self, event: Event) -> None:
        """Send an event to the newest client."""
        await self.connections[-1].send(json.dumps({"event_id": f"ev_{time.monotonic_ns()}", **event}))

    async def hang_up(self, code: int = 1006, reason: str = "") -> None:
        """End the newest connection; 1006 without a word."""
        if code == 1006:
            self.connections[-1].transport.abort()
        else:
            await self.connections[-1].close(code, reason)

    # --- the server's life ---

    async def _upgrade(self, _: ServerConnection, request: Request) -> Response | None:
        if self.script.open_delay_s:
            await asyncio.sleep(self.script.open_delay_s)
        model = parse_qs(urlsplit(request.path).query).get("model", [""])[0]
        self.models.append(model)
        status = self.script.refuse_status
        if self.script.refuse_first:
            status = self.script.refuse_first.pop(0)
        elif model in self.script.models_gone:
            status = 404
        if status or "authorization" not in request.headers:
            return Response(status or 401, "refused", Headers(), b"{}")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        number = len(self.connections)
        await self.say({"type": "session.created", "session": {"id": "sess_1"}})
        with contextlib.suppress(ConnectionClosed):
            async for frame in connection:
                await self._take(json.loads(frame), number)
        if self._speaking is not None and self.connections[-1] is connection:
            self._speaking.cancel()

    async def _take(self, event: Event, connection: int) -> None:
        self.heard.append(Heard(time.monotonic(), event, connection))
        kind = event["type"]
        if (body := self.script.errors.pop(kind, None)) is not None:
            await self.say({"type": "error", "error": {"event_id": event.get("event_id"), **body}})
            return
        match kind:
            case "session.update":
                await self.say({"type": "session.updated", "session": event["session"]})
            case "input_audio_buffer.append":
                await self._append(base64.b64decode(event["audio"]))
            case "input_audio_buffer.commit":
                await self._committed()
            case "input_audio_buffer.clear":
                await self.say({"type": "input_audio_buffer.cleared"})
            case "conversation.item.create":
                await self.say({"type": "conversation.item.added", "item": event["item"]})
            case "conversation.item.delete":
                await self.say({"type": "conversation.item.deleted", "item_id": event["item_id"]})
            case "response.create":
                self._answer((event.get("response") or {}).get("tool_choice", "auto"))
            case "response.cancel":
                await self._cancelled()

    async def _append(self, pcm: bytes) -> None:
        self.audio.append((time.monotonic(), pcm))
        if self.script.server_vad and len(self.pcm) >= self.script.vad_after_ms * 48:
            self.script.server_vad = False
            await self.say({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "item_v"})
            await self.say({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1, "item_id": "item_v"})
            await self._committed()
            self._answer()

    async def _committed(self) -> None:
        item_id = f"item_user_{len(self.heard)}"
        await self.say({"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": None})

    def _answer(self, tool_choice: str = "auto") -> None:
        script = self.script
        if not script.silent:
            self.responses += 1
            if script.restless and not (script.obeys and tool_choice == "none"):
                script.calls = [{"call_id": f"call_{self.responses}", "name": "list_timers", "arguments": "{}"}]
            self._speaking = asyncio.get_running_loop().create_task(self._speak(f"resp_{self.responses}"))

    async def _speak(self, response_id: str) -> None:
        script, item_id = self.script, f"item_{response_id}"
        await asyncio.sleep(script.think_s)
        if script.announce:
            await self.say({"type": "response.created", "response": {"id": response_id, "status": "in_progress"}})
        calls, script.calls = script.calls, []
        remote, script.remote = script.remote, []
        leave_for, script.leave_for = script.leave_for, ""
        for item in remote:
            item |= {"type": "mcp_call", "server_label": "home", "name": "look", "arguments": "{}"}
            await self.say({"type": "response.output_item.done", "response_id": response_id, "item": item})
            await self.say({"type": "response.mcp_call.in_progress", "item_id": item["id"], "output_index": 0})
        if leave_for:
            item = {"id": "leave_1", "type": "mcp_approval_request", "server_label": "home", "name": leave_for}
            item["arguments"] = "{}"
            await self.say({"type": "response.output_item.done", "response_id": response_id, "item": item})
        elif remote:
            pass
        elif calls:
            for call in calls:
                item = {"type": "function_call", "id": f"item_{call['call_id']}", "status": "completed", **call}
                await self.say({"type": "response.output_item.done", "response_id": response_id, "item": item})
        elif not script.speechless:
            await self._stream(response_id, item_id)
        script.speechless = False
        if script.finish:
            await self._done(response_id, "completed")
        await self._run(remote)

    async def _run(self, calls: list[Event]) -> None:
        """Run calls of tools, one after the other."""
        for call in calls if self.script.remote_ends else ():
            await asyncio.sleep(self.script.remote_s)
            kind = f"response.mcp_call.{self.script.remote_ends}"
            await self.say({"type": kind, "item_id": call["id"], "output_index": 0})

    async def _stream(self, response_id: str, item_id: str) -> None:
        script, base = self.script, {"response_id": response_id, "item_id": item_id, "content_index": 0}
        item = {"id": item_id, "type": "message", "role": "assistant"}
        await self.say({"type": "response.output_item.added", "response_id": response_id, "item": item})
        await self.say({"type": "response.output_audio_transcript.delta", "delta": script.words, **base})
        size, began, reply = script.delta_ms * 48, time.monotonic(), script.reply
        for index, at in enumerate(range(0, len(reply), size)):
            due = began + script.pace * at / 48_000
            due += sum(script.gaps[k % len(script.gaps)] for k in range(index + 1)) if script.gaps else 0.0
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if script.pace or script.gaps:
                self.latest_s = max(self.latest_s, time.monotonic() - due)
            if index == 0:
                self.sent_first_delta_at.append(time.monotonic())
            delta = base64.b64encode(reply[at : at + size]).decode()
            await self.say({"type": "response.output_audio.delta", "delta": delta, **base})
        await self.say({"type": "response.output_audio.done", **base})

    async def _done(self, response_id: str, status: str) -> None:
        usage = {
            "total_tokens": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "input_token_details": {"audio_tokens": 15, "text_tokens": 5, "cached_tokens": 0},
            "output_token_details": {"audio_tokens": 8, "text_tokens": 2},
        }
        response = {"id": response_id, "status": status, "output": [], "usage": usage}
        if status == "completed":
            ending, self.script.ending = self.script.ending, {}
            response |= ending
        await self.say({"type": "response.done", "response": response})

    async def _cancelled(self) -> None:
        task, self._speaking = self._speaking, None
        if task is None or task.done():
            body = {"type": "invalid_request_error", "code": "response_cancel_not_active", "message": "none active"}
            await self.say({"type": "error", "error": body})
            return
        task.cancel()
        await self._done(f"resp_{self.responses}", "cancelled")
