"""A Realtime server in virtual time, in the memory of the test: real frames, scripted answers, a record of its own.

Responsible for: the server's side of the GA protocol as far as a client can tell, and the ways in which one fails.
Not for: sockets. What it is sent goes to ``record`` as it comes in.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from websockets.exceptions import ConnectionClosedError
from websockets.protocol import State

from appliance.errors import LinkLost

Event = dict[str, Any]
Ending = Literal["answer", "silent", "failed", "incomplete", "unannounced", "unfinished", "tool", "cut", "refused"]
DELTA_MS = 200
SHORTEST_BYTES = 4800
LOUD = 400.0  # RMS above which the server takes sound for a voice
ENDS_AFTER_MS = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """How the next response goes."""

    how: Ending = "answer"
    think_s: float = 0.3
    reply_s: float = 2.0
    pace: float = 0.2  # seconds a second of audio
    tool: tuple[str, Event] = ("list_timers", {})


def _tone(ms: int) -> str:
    at = np.arange(24 * ms) / 24_000
    return base64.b64encode((3000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()).decode()


class Wire:
    """The client's end of a connection: what its transport uses of ``websockets``' ``ClientConnection``."""

    def __init__(self, server: Server, number: int) -> None:
        self.number = number
        self.close_code: int | None = None
        self.close_reason = ""
        self.server_vad = False
        self.active: str | None = None  # the response that is being given
        self.buffer = 0  # bytes of the turn so far
        self.voice_ms = self.quiet_ms = 0.0
        self._server = server
        self._incoming: deque[str] = deque()
        self._pings: deque[asyncio.Future[None]] = deque()
        self._news = asyncio.Event()

    @property
    def state(self) -> State:
        return State.OPEN if self.close_code is None else State.CLOSED

    @property
    def transport(self) -> Wire:
        return self

    def get_extra_info(self, _: str) -> Wire:
        return self

    def getsockopt(self, *_: int) -> bytes:
        raise OSError("memory has no socket, and tells nothing of what was acknowledged")

    async def ping(self) -> asyncio.Future[None]:
        if self.close_code is not None:
            raise ConnectionClosedError(None, None)
        pong: asyncio.Future[None] = self._server.loop.create_future()
        self._pings.append(pong)
        self._server.answer(self._pong)
        return pong

    def _pong(self) -> None:
        while self._pings:
            if not (ping := self._pings.popleft()).done():
                ping.set_result(None)

    async def send(self, text: str) -> None:
        if self.close_code is not None:
            raise ConnectionClosedError(None, None)
        self._server.later(0.0, lambda: self._server.take(self, json.loads(text)))

    def deliver(self, event: Event) -> None:
        if self.close_code is None:
            self._incoming.append(json.dumps({"event_id": "ev", **event}))
            self._news.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            while self._incoming:
                yield self._incoming.popleft()
            if self.close_code is not None:
                return
            self._news.clear()
            await self._news.wait()

    def hang_up(self, code: int = 1006, reason: str = "") -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self._news.set()
            while self._pings:
                if not (ping := self._pings.popleft()).done():
                    ping.set_exception(ConnectionClosedError(None, None))

    def abort(self) -> None:
        self.hang_up()

    async def close(self) -> None:
        self.hang_up(1000)


class Server:
    """One server; ``plan`` says how each response goes, ``late_s`` is the way of a frame."""

    def __init__(self, plan: Callable[[], Plan], *, late_s: float = 0.02) -> None:
        self.loop = asyncio.get_running_loop()
        self.plan, self.late_s = plan, late_s
        self.record: Callable[[Event], None] = lambda _: None
        self.counts: Counter[str] = Counter()
        self.audio: Callable[[bytes], None] = lambda _: None
        self.unreachable = False
        self.stalled = False
        self.wire: Wire | None = None
        self._wires = self._responses = self._items = 0
        self._delta = _tone(DELTA_MS)

    def later(self, after_s: float, act: Callable[[], None]) -> None:
        self.loop.call_later(self.late_s + after_s, act)

    def answer(self, act: Callable[[], object]) -> None:
        """Answer a ping, as a server does that lives."""
        if not self.stalled:
            self.loop.call_later(2 * self.late_s, act)

    async def connect(self) -> Wire:
        """Open a connection.

        Raises:
            LinkLost: the server cannot be reached.
        """
        await asyncio.sleep(2 * self.late_s)
        if self.unreachable:
            raise LinkLost("cannot reach the service", hint="is the network up?")
        self._wires += 1
        self.wire = Wire(self, self._wires)
        self.counts["connections"] += 1
        self.say(self.wire, {"type": "session.created", "session": {}})
        return self.wire

    def say(self, wire: Wire, event: Event, after_s: float = 0.0) -> None:
        """Tell a client something."""
        if not self.stalled:
            self.later(after_s, lambda: wire.deliver(event))

    def hang_up(self, code: int = 1006, reason: str = "") -> None:
        """End the newest connection."""
        if self.wire is not None:
            self.wire.hang_up(code, reason)

    def fail(self, code: str) -> None:
        """Complain about nothing in particular."""
        if self.wire is not None:
            error = {"type": "invalid_request_error", "code": code, "message": code}
            self.say(self.wire, {"type": "error", "error": error})

    # --- what the client says ---

    def take(self, wire: Wire, event: Event) -> None:
        self.counts[event["type"]] += 1
        self.record(event)
        if event["type"] == "input_audio_buffer.append":
            self._append(wire, base64.b64decode(event["audio"]))
        if self.stalled:
            return
        match event["type"]:
            case "session.update":
                self._configure(wire, event["session"])
            case "input_audio_buffer.commit":
                self._commit(wire, event)
            case "input_audio_buffer.clear":
                wire.buffer = 0
            case "response.create":
                self._create(wire, event)
            case "response.cancel":
                self._cancel(wire)

    def _configure(self, wire: Wire, session: Event) -> None:
        detection = session.get("audio", {}).get("input", {}).get("turn_detection")
        wire.server_vad = detection is not None
        self.say(wire, {"type": "session.updated", "session": {}})

    def _append(self, wire: Wire, pcm: bytes) -> None:
        self.audio(pcm)
        wire.buffer += len(pcm)
        if wire.server_vad:
            self._listen(wire, np.frombuffer(pcm, "<i2").astype(np.float32), len(pcm) / 48)

    def _listen(self, wire: Wire, sound: np.ndarray[Any, np.dtype[np.float32]], ms: float) -> None:
        """Find voices as a server that ends turns does, coarsely."""
        if float(np.sqrt(np.mean(sound**2))) > LOUD:
            if not wire.voice_ms:
                self.say(wire, {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "v"})
            wire.voice_ms, wire.quiet_ms = wire.voice_ms + ms, 0.0
        elif wire.voice_ms:
            wire.quiet_ms += ms
            if wire.quiet_ms > ENDS_AFTER_MS:
                wire.voice_ms = wire.quiet_ms = 0.0
                self.say(wire, {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1, "item_id": "v"})
                self._committed(wire)
                self._answer(wire, self.plan())

    def _commit(self, wire: Wire, event: Event) -> None:
        if wire.buffer < SHORTEST_BYTES:
            self._complain(wire, event, "input_audio_buffer_commit_empty")
        else:
            self._committed(wire)

    def _complain(self, wire: Wire, event: Event, code: str) -> None:
        self.say(wire, {"type": "error", "error": {"event_id": event["event_id"], "code": code, "message": code}})

    def _committed(self, wire: Wire) -> None:
        self._items += 1
        wire.buffer = 0
        self.say(wire, {"type": "input_audio_buffer.committed", "item_id": f"item_u{self._items}"})

    # --- answers ---

    def _create(self, wire: Wire, event: Event) -> None:
        plan = self.plan()
        busy = "conversation_already_has_active_response"
        code = busy if wire.active else "rate_limit_exceeded" if plan.how == "refused" else ""
        if code:
            self._complain(wire, event, code)
        else:
            self._answer(wire, plan)

    def _answer(self, wire: Wire, plan: Plan) -> None:
        self.counts[f"plan_{plan.how}"] += 1
        if plan.how == "silent":
            return
        self._responses += 1
        name = wire.active = f"resp_{self._responses}"
        if plan.how != "unannounced":
            body = {"id": name, "status": "in_progress"}
            self.say(wire, {"type": "response.created", "response": body}, plan.think_s)
        if plan.how == "tool":
            call, arguments = plan.tool
            item = {"type": "function_call", "id": f"it_{name}", "call_id": f"call_{name}", "name": call}
            item |= {"arguments": json.dumps(arguments), "status": "completed"}
            self.say(wire, {"type": "response.output_item.done", "response_id": name, "item": item}, plan.think_s)
            self.later(plan.think_s, lambda: self._done(wire, name, "completed"))
            return
        self.later(plan.think_s, lambda: self._speak(wire, name, plan, 0))

    def _speak(self, wire: Wire, name: str, plan: Plan, at_ms: int) -> None:
        """Send the next delta, and come back for the one after it."""
        if wire.active != name or wire.close_code is not None:
            return
        base = {"response_id": name, "item_id": f"item_{name}", "content_index": 0}
        if at_ms >= plan.reply_s * 1000:
            if plan.how == "cut":
                wire.hang_up()
            elif plan.how != "unfinished":
                self.say(wire, {"type": "response.output_audio.done", **base})
                self._done(wire, name, plan.how if plan.how in ("failed", "incomplete") else "completed")
            return
        if at_ms == 0:
            item = {"id": base["item_id"], "type": "message", "role": "assistant"}
            self.say(wire, {"type": "response.output_item.added", "response_id": name, "item": item})
            self.say(wire, {"type": "response.output_audio_transcript.delta", "delta": "So it is. ", **base})
        self.say(wire, {"type": "response.output_audio.delta", "delta": self._delta, **base})
        self.later(plan.pace * DELTA_MS / 1000, lambda: self._speak(wire, name, plan, at_ms + DELTA_MS))

    def _done(self, wire: Wire, name: str, status: str) -> None:
        if wire.active == name:
            wire.active = None
            self.say(wire, {"type": "response.done", "response": {"id": name, "status": status, "output": []}})

    def _cancel(self, wire: Wire) -> None:
        if wire.active is None:
            error = {"code": "response_cancel_not_active", "message": "none"}
            self.say(wire, {"type": "error", "error": error})
        else:
            self._done(wire, wire.active, "cancelled")
