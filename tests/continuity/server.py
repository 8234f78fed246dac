"""A model of the Realtime server, sans I/O: one conversation a session, and a book of what a client does wrong.

It takes the client's events one by one, says what it has to say, and makes its responses step by step, so that a test
can break the line between any two of them. Audio of a turn is known by the value of its samples.
"""

from __future__ import annotations

import base64
import itertools
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

Json = dict[str, Any]
MS = 48  # bytes of a millisecond
SHORTEST_MS = 100
SILENCE_MS = 200  # by which the server's detector ends a turn
CHUNK_MS = 20
WORD_MS = 100
_numbers = itertools.count(1)


@dataclass
class Said:
    """An item of the conversation: ``what`` names it, ``text`` is what of it there is."""

    kind: str
    what: str
    text: str = ""
    ms: int = 0


@dataclass
class Server:
    """One session. ``outbox`` is what goes to the client."""

    chance: Random
    tool_chance: float = 0.3
    remote_chance: float = 0.0  # that it calls a tool of its own side, or asks leave to
    captions: bool = True
    items: dict[str, Said] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    outbox: deque[Json] = field(default_factory=deque)
    buffer: bytes = b""
    active: str = ""
    updates: int = 0
    vad: bool = False
    _plan: deque[Json] = field(default_factory=deque)
    _speaking: bool = False

    def __post_init__(self) -> None:
        self._say("session.created", session={})

    def _say(self, kind: str, **fields: Any) -> None:
        self.outbox.append({"type": kind, "event_id": f"ev_{next(_numbers)}", **fields})

    def _error(self, event: Json, code: str) -> None:
        self.faults.append(f"{event['type']}: {code}")
        body = {"type": "invalid_request_error", "code": code, "message": code, "event_id": event["event_id"]}
        self._say("error", error=body)

    def take(self, event: Json) -> None:
        """Take one event of the client."""
        if not self.updates and event["type"] != "session.update":
            self.faults.append(f"{event['type']} before session.update")
        getattr(self, "_" + event["type"].replace(".", "_"))(event)

    # --- what the client says ---

    def _session_update(self, event: Json) -> None:
        self.updates += 1
        given = event["session"]["audio"]["input"]
        if "turn_detection" in given:
            self.vad = given["turn_detection"] is not None
        self._say("session.updated", session=event["session"])

    def _input_audio_buffer_append(self, event: Json) -> None:
        pcm = base64.b64decode(event["audio"])
        for at in range(0, len(pcm), CHUNK_MS * MS):
            self.buffer += pcm[at : at + CHUNK_MS * MS]
            self._detect()

    def _detect(self) -> None:
        voiced = any(self.buffer)
        if voiced and self.vad and not self._speaking:
            self._speaking = True
            self._say("input_audio_buffer.speech_started", item_id="", audio_start_ms=0)
        if self._speaking and self.vad and not any(self.buffer[-SILENCE_MS * MS :]):
            self._speaking = False
            self._say("input_audio_buffer.speech_stopped", item_id="", audio_end_ms=0)
            self._commit()
            self._stop_answering("turn_detected")
            self._answer()

    def _input_audio_buffer_commit(self, event: Json) -> None:
        if len(self.buffer) < SHORTEST_MS * MS:
            self._error(event, "input_audio_buffer_commit_empty")
        else:
            self._commit()

    def _commit(self) -> None:
        values = {self.buffer[at] for at in range(0, len(self.buffer), 2)} - {0}
        voiced = sum(1 for at in range(0, len(self.buffer), 2) if self.buffer[at]) // (MS // 2)
        item_id, names = f"item_{next(_numbers)}", "+".join(f"turn {value}" for value in sorted(values))
        self.items[item_id] = Said("audio", names, ms=voiced)
        self.buffer, self._speaking = b"", False
        self._say("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        if self.captions and self.chance.random() < 0.8:
            kind = "conversation.item.input_audio_transcription.completed"
            self._say(kind, item_id=item_id, content_index=0, transcript=names)

    def _input_audio_buffer_clear(self, _: Json) -> None:
        self.buffer, self._speaking = b"", False
        self._say("input_audio_buffer.cleared")

    def _conversation_item_create(self, event: Json) -> None:
        item = event["item"]
        item_id = item.get("id") or f"item_{next(_numbers)}"
        if item_id in self.items:
            self._error(event, "item_id_taken")
            return
        match item["type"]:
            case "message":
                part = item["content"][0]
                self.items[item_id] = Said(item["role"], str(part.get("text") or part.get("image_url")))
            case "function_call":
                if self._find("call", item["call_id"]):
                    self._error(event, "call_told_twice")
                self.items[item_id] = Said("call", item["call_id"])
            case "function_call_output":
                if not self._find("call", item["call_id"]) or self._find("output", item["call_id"]):
                    self._error(event, "output_of_no_open_call")
                self.items[item_id] = Said("output", item["call_id"], item["output"])
        self._say("conversation.item.added", item={"id": item_id})

    def _find(self, kind: str, what: str) -> Said | None:
        return next((said for said in self.items.values() if (said.kind, said.what) == (kind, what)), None)

    def _conversation_item_truncate(self, event: Json) -> None:
        said = self.items.get(event["item_id"])
        if said is None or said.kind != "assistant" or not 0 < event["audio_end_ms"] <= said.ms:
            self._error(event, "item_truncate_invalid_item_id")
        else:
            said.ms = event["audio_end_ms"]
            said.text = " ".join(said.text.split()[: round(said.ms / WORD_MS)])

    def _conversation_item_delete(self, event: Json) -> None:
        if self.items.pop(event["item_id"], None) is None:
            self._error(event, "item_delete_invalid_item_id")

    def _response_create(self, event: Json) -> None:
        if self.active:
            self._error(event, "conversation_already_has_active_response")
        elif self.buffer and any(self.buffer):
            self._error(event, "asked_before_the_turn_was_committed")
        else:
            self._answer()

    def _response_cancel(self, event: Json) -> None:
        if event.get("response_id", self.active) != self.active:
            return
        self._stop_answering("client_cancelled")  # cancelling what just ended is a race, and harmless

    def _stop_answering(self, reason: str) -> None:
        if self.active:
            self._plan.clear()
            response = {"id": self.active, "status": "cancelled", "status_details": {"reason": reason}, "output": []}
            self._say("response.done", response=response)
            self.active = ""

    # --- what it answers ---

    def _answer(self) -> None:
        self.active = f"resp_{next(_numbers)}"
        base = {"response_id": self.active}
        self._plan.append({"type": "response.created", "response": {"id": self.active, "status": "in_progress"}})
        if self.remote_chance and self._last_is_a_question() and self.chance.random() < self.remote_chance:
            self._call_remote(base)
            return
        if self.chance.random() < self.tool_chance and self._last_is_a_question():
            call_id = f"call_{next(_numbers)}"
            call = {"type": "function_call", "id": f"item_{call_id}", "call_id": call_id, "name": "wait"}
            done = {"type": "response.output_item.done", "item": {**call, "arguments": "{}", "status": "completed"}}
            self._plan.append({**base, **done})
        else:
            self._speak(base)
        self._plan.append({"type": "response.done", "response": {"id": self.active, "status": "completed"}})

    def _call_remote(self, base: Json) -> None:
        """Call a tool of its own side: the call may end before its response does, or after."""
        item: Json = {"type": "mcp_call", "id": f"item_{next(_numbers)}", "server_label": "home", "name": "look"}
        leave = self.chance.random() < 0.3
        item["type"] = "mcp_approval_request" if leave else "mcp_call"
        self._plan.append({**base, "type": "response.output_item.done", "item": item | {"arguments": "{}"}})
        end = {"type": "response.mcp_call.completed", "item_id": item["id"]}
        done = {"type": "response.done", "response": {"id": self.active, "status": "completed"}}
        self._plan += [done] if leave else [end, done] if self.chance.random() < 0.5 else [done, end]

    def _last_is_a_question(self) -> bool:
        return bool(self.items) and next(reversed(self.items.values())).kind in ("audio", "user")

    def _speak(self, base: Json) -> None:
        item_id, name = f"item_{next(_numbers)}", f"answer{next(_numbers)}"
        self._plan.append({**base, "type": "response.output_item.added", "item": {"id": item_id, "type": "message"}})
        base = {**base, "item_id": item_id, "content_index": 0}
        audio = base64.b64encode(bytes(WORD_MS * MS)).decode()
        for number in range(self.chance.randint(1, 8)):
            words = {"type": "response.output_audio_transcript.delta", "delta": f"{name} " if not number else "word "}
            self._plan.append({**base, **words})
            self._plan.append({**base, "type": "response.output_audio.delta", "delta": audio})
        self._plan.append({**base, "type": "response.output_audio.done"})

    @property
    def answering(self) -> bool:
        return bool(self._plan)

    def go_on(self) -> None:
        """Say the next thing of the response."""
        event = self._plan.popleft()
        match event["type"]:
            case "response.output_item.added":
                self.items[event["item"]["id"]] = Said("assistant", "")
            case "response.output_audio_transcript.delta":
                said = self.items[event["item_id"]]
                said.text += event["delta"]
                said.what = said.text.split()[0]
            case "response.output_audio.delta":
                self.items[event["item_id"]].ms += WORD_MS
            case "response.output_item.done":
                self.items[event["item"]["id"]] = Said("call", event["item"].get("call_id", ""))
            case "response.done":
                self.active = ""
        self._say(event.pop("type"), **event)
