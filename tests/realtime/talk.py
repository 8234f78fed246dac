"""What the tests of the protocol share: one conversation driven by hand, and the yardstick of what it may send."""

from __future__ import annotations

import base64
import itertools
import json
import sys
from functools import cache
from typing import Any

from openai.types import realtime as params
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import is_typeddict

from appliance.conversation import events as ev
from appliance.realtime.configuration import Wishes
from appliance.realtime.facts import AudioReceived, Fact, Stage
from appliance.realtime.protocol import Protocol

Json = dict[str, Any]
MS = 48  # bytes of a millisecond: 24 kHz mono s16le
TOOL: Json = {
    "type": "function",
    "name": "set_timer",
    "description": "Set a timer.",
    "parameters": {"type": "object", "properties": {"minutes": {"type": "number"}}},
}
KINDS = {
    "session.update": params.SessionUpdateEventParam,
    "input_audio_buffer.append": params.InputAudioBufferAppendEventParam,
    "input_audio_buffer.commit": params.InputAudioBufferCommitEventParam,
    "input_audio_buffer.clear": params.InputAudioBufferClearEventParam,
    "conversation.item.create": params.ConversationItemCreateEventParam,
    "conversation.item.truncate": params.ConversationItemTruncateEventParam,
    "conversation.item.delete": params.ConversationItemDeleteEventParam,
    "response.create": params.ResponseCreateEventParam,
    "response.cancel": params.ResponseCancelEventParam,
}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


@cache
def _forbid_unknown_keys() -> None:
    """Make every TypedDict of the vendor's package refuse keys that it does not declare."""
    for name, module in list(sys.modules.items()):
        if name.startswith("openai.types"):
            for value in vars(module).values():
                if is_typeddict(value):
                    value.__pydantic_config__ = ConfigDict(extra="forbid")


def checked(text: str) -> Json:
    """Validate one frame against the vendor's types; returns it decoded."""
    _forbid_unknown_keys()
    event: Json = json.loads(text)
    _adapter(event["type"]).validate_python(_without_documented_nulls(event))
    assert 0 < len(event["event_id"]) <= 512
    item = event.get("item")
    if item:
        assert len(item.get("id", "")) <= 32
        assert len(item.get("call_id", "")) <= 32
    return event


def _without_documented_nulls(event: Json) -> Json:
    """Leave out two fields that the types forget but document as "can be set to null to turn off"."""
    copy: Json = json.loads(json.dumps(event))
    given = copy.get("session", {}).get("audio", {}).get("input", {})
    for name in ("noise_reduction", "transcription"):
        if name in given and given[name] is None:
            del given[name]
    return copy


class Talk:
    """A protocol, its server's mouth, and all that it sent. Admits responses unless told otherwise."""

    def __init__(self, *, admits: bool = True, **wishes: Any) -> None:
        wanted: Json = {"model": "gpt-realtime-1.5", "voice": "marin", "instructions": "Be brief."}
        self.protocol = Protocol(Wishes(**(wanted | wishes)), (f"va_{n}" for n in itertools.count(1)))
        self.admits = admits
        self.sent: list[Json] = []
        self.facts: list[Fact] = []

    def open(self) -> Talk:
        """Bring a session up."""
        self.protocol.connected(self.protocol.wishes.model)
        self.say("session.created")
        self.pump()
        self.say("session.updated")
        assert self.protocol.stage is Stage.READY
        return self

    def say(self, kind: str, **fields: object) -> list[Fact]:
        """Let the server send an event; returns the facts in it."""
        return self.take(json.dumps({"type": kind, **fields}))

    def take(self, frame: str | bytes) -> list[Fact]:
        """Let the server send a frame, acting on each fact as the engine does."""
        found: list[Fact] = []
        for fact in self.protocol.receive(frame):
            found.append(fact)
            if self.admits and isinstance(fact, ev.ResponseStarted):
                self.protocol.admit(fact.response_id)
        self.facts += found
        return found

    def pump(self) -> list[Json]:
        """Take out all there is to send; returns it."""
        new: list[Json] = []
        while (frame := self.protocol.next_frame()) is not None:
            new.append(checked(frame.text))
            assert (frame.captured_at is not None) == (new[-1]["type"] == "input_audio_buffer.append")
        self.sent += new
        return new

    def kinds(self) -> list[str]:
        """Take out all there is to send; returns the types."""
        return [event["type"] for event in self.pump()]

    # --- the server's usual sentences ---

    def turn(self, ms: int = 200) -> Talk:
        """Let the person speak a whole turn and ask for an answer."""
        self.protocol.begin_turn()
        for at in range(0, ms, 20):
            self.protocol.append(bytes(20 * MS), at / 1000)
        self.protocol.end_turn()
        assert self.protocol.turn_complete() == []
        self.protocol.request_response()
        return self

    def created(self, response_id: str = "resp_1") -> list[Fact]:
        return self.say("response.created", response={"id": response_id})

    def audio(self, ms: float, item: str = "item_1", response_id: str = "resp_1") -> list[Fact]:
        delta = base64.b64encode(bytes(int(ms * MS) // 2 * 2)).decode()
        return self.say("response.output_audio.delta", response_id=response_id, item_id=item, delta=delta)

    def audio_done(self, item: str = "item_1", response_id: str = "resp_1") -> list[Fact]:
        return self.say("response.output_audio.done", response_id=response_id, item_id=item)

    def words(self, words: str, item: str = "item_1", response_id: str = "resp_1") -> list[Fact]:
        return self.say("response.output_audio_transcript.delta", response_id=response_id, item_id=item, delta=words)

    def done(self, response_id: str = "resp_1", status: str = "completed", **more: object) -> list[Fact]:
        return self.say("response.done", response={"id": response_id, "status": status, **more})

    def error(self, code: str | None = None, message: str = "", **more: object) -> list[Fact]:
        return self.say("error", error={"type": "invalid_request_error", "code": code, "message": message, **more})


def pcm_of(events: list[Json]) -> bytes:
    """Join the microphone audio of sent events."""
    appends = (e for e in events if e["type"] == "input_audio_buffer.append")
    return b"".join(base64.b64decode(e["audio"]) for e in appends)


def heard(facts: list[Fact]) -> bytes:
    """Join the audio that was let through."""
    return b"".join(f.pcm for f in facts if isinstance(f, AudioReceived))
