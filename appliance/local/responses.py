"""One response on the wire: its events in the usual order, and an early end at any point.

Responsible for: ``response.*`` events of a single response and the items it writes. Not for: what it says
(``dialogue``), when it may start or is cancelled (``responder``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.local import config
from appliance.local.audio import Sound, encode
from appliance.local.items import Conversation, Item, new_id
from appliance.local.schema import Json, anything, choice, listing, mapping_of, nullable, record, text
from appliance.local.usage import Piece, report, spoken_tokens, text_tokens

Emit = Callable[..., None]
_DELTA_MS = 150

ORDER = record(
    {
        "conversation": choice("auto", "none"),
        "input": nullable(listing(anything)),
        "instructions": text(),
        "output_modalities": config.MODALITIES,
        "audio": record({"output": record({"format": config.FORMAT, "voice": config.VOICE})}),
        "tools": config.TOOLS,
        "tool_choice": config.TOOL_CHOICE,
        "max_output_tokens": config.MAX_OUTPUT_TOKENS,
        "metadata": nullable(mapping_of(text(512), at_most=16, key_chars=64)),
        "reasoning": config.REASONING,
        "parallel_tool_calls": nullable(anything),
        "prompt": config.PROMPT,
    }
)


@dataclass(frozen=True)
class Order:
    """What a response was asked to be: the session's configuration with the request's own over it."""

    instructions: str
    own_instructions: str  # given for this response alone
    tools: list[Json]
    tool_choice: Any
    modality: str
    output: Json  # format, voice, speed
    max_tokens: int | None
    metadata: Json | None

    @classmethod
    def of(cls, session: Json, request: Json) -> Order:
        """Merge a checked ``response.create`` over the effective session configuration."""
        output = {**session["audio"]["output"], **request.get("audio", {}).get("output", {})}
        wanted = {**session, **request}
        limit = wanted["max_output_tokens"]
        modalities = request.get("output_modalities") or session["output_modalities"] or ["audio"]
        return cls(
            instructions=wanted["instructions"],
            own_instructions=request.get("instructions", ""),
            tools=wanted["tools"],
            tool_choice=wanted["tool_choice"],
            modality=modalities[0],
            output=output,
            max_tokens=None if limit == "inf" else int(limit),
            metadata=request.get("metadata"),
        )


class Response:
    """A response being written. Call :meth:`announce` first and :meth:`finish` once."""

    def __init__(self, order: Order, conversation: Conversation | None, pieces: list[Piece], emit: Emit) -> None:
        """Prepare it.

        Args:
            order: what was asked.
            conversation: where its items go; None for an out-of-band response.
            pieces: its prompt, for the bill.
            emit: sends an event, ``emit(type, **fields)``.
        """
        self.id = new_id("resp")
        self.order = order
        self.conversation = conversation
        self.pieces = pieces
        self.spoken_ms = 0.0
        self._emit = emit
        self._item: Item | None = None
        self._words = ""
        self._text_tokens = 0
        self._audio_tokens = 0
        self._output: list[Json] = []

    @property
    def speaks(self) -> bool:
        """Whether it is audio (with a transcript) rather than text."""
        return self.order.modality == "audio"

    def announce(self) -> None:
        """``response.created``."""
        self._emit("response.created", response=self._wire("in_progress", None, None))

    def open_message(self) -> None:
        """The assistant's message and its one content part."""
        self._add({"type": "message", "role": "assistant", "content": []})
        self._words = ""
        self._emit("response.content_part.added", **self._at(content=True), part=self._part())

    def say(self, words: str) -> bool:
        """A piece of the transcript or text; False, and nothing sent, if the token limit does not allow it."""
        kind = "output_audio_transcript" if self.speaks else "output_text"
        tokens = text_tokens(self._words + words)
        if self._exhausted(extra=tokens - self._text_tokens):
            return False
        self._words += words
        self._text_tokens = tokens
        self._emit(f"response.{kind}.delta", **self._at(content=True), delta=words)
        return True

    def deltas(self, sound: Sound) -> list[Sound]:
        """The sound in pieces of a delta's length."""
        size = sound.rate * _DELTA_MS // 1000
        return [Sound(sound.samples[start : start + size], sound.rate) for start in range(0, len(sound.samples), size)]

    def play(self, sound: Sound) -> bool:
        """A piece of audio; False, and nothing sent, if the token limit does not allow it."""
        assert self._item is not None
        length_ms = self._item.spoken_ms + sound.length_ms
        audio_tokens = spoken_tokens(length_ms)
        if self._exhausted(extra=audio_tokens - self._audio_tokens):
            return False
        self._audio_tokens = audio_tokens
        self._item.spoken_ms = self.spoken_ms = length_ms
        delta = base64.b64encode(encode(sound, self.order.output["format"])).decode()
        self._emit("response.output_audio.delta", **self._at(content=True), delta=delta)
        return True

    def _exhausted(self, *, extra: int) -> bool:
        limit = self.order.max_tokens
        return limit is not None and self._text_tokens + self._audio_tokens + extra > limit

    def close_message(self, status: str = "completed") -> None:
        """The message is over: ``status`` completed or incomplete."""
        assert self._item is not None
        if self.speaks:
            self._emit("response.output_audio.done", **self._at(content=True))
            self._emit("response.output_audio_transcript.done", **self._at(content=True), transcript=self._words)
            self._item.wire["content"] = [{"type": "output_audio", "transcript": self._words}]
        else:
            self._emit("response.output_text.done", **self._at(content=True), text=self._words)
            self._item.wire["content"] = [{"type": "output_text", "text": self._words}]
        self._item.spoken = self._words
        self._emit("response.content_part.done", **self._at(content=True), part=self._part())
        self._close_item(status)

    def call(self, name: str, arguments: str) -> None:
        """A whole function call, ``arguments`` being JSON."""
        call_id = new_id("call")
        self._add({"type": "function_call", "name": name, "call_id": call_id, "arguments": ""})
        at = self._at()
        self._emit("response.function_call_arguments.delta", **at, call_id=call_id, delta=arguments)
        self._emit("response.function_call_arguments.done", **at, call_id=call_id, name=name, arguments=arguments)
        assert self._item is not None
        self._item.wire["arguments"] = arguments
        self._text_tokens += text_tokens(name + arguments)
        self._close_item("completed")

    def finish(self, status: str, *, reason: str | None = None, before: list[Piece]) -> Json:
        """End it: closes an open message, sends ``response.done``, answers the usage.

        Args:
            status: completed, cancelled or incomplete.
            reason: of the last two.
            before: the prompt of the response before, for the cached tokens.
        """
        if self._item is not None:
            self.close_message("incomplete")
        usage = report(self.pieces, before, text_out=self._text_tokens, audio_out=self._audio_tokens)
        details = None if status == "completed" else {"type": status, "reason": reason}
        self._emit("response.done", response=self._wire(status, details, usage))
        return usage

    def _add(self, fields: Json) -> None:
        self._item = Item({"id": new_id("item"), "object": "realtime.item", "status": "in_progress", **fields})
        where = {"response_id": self.id, "output_index": len(self._output)}
        self._emit("response.output_item.added", **where, item=self._item.public())
        if self.conversation is not None:
            previous = self.conversation.insert(self._item)
            self._emit("conversation.item.added", previous_item_id=previous, item=self._item.public())

    def _close_item(self, status: str) -> None:
        assert self._item is not None
        item, self._item = self._item, None
        item.wire["status"] = status
        where = {"response_id": self.id, "output_index": len(self._output)}
        self._emit("response.output_item.done", **where, item=item.public())
        self._output.append(item.public())
        if self.conversation is not None and item in self.conversation.items:
            index = self.conversation.items.index(item)
            previous = self.conversation.items[index - 1].id if index else None
            self._emit("conversation.item.done", previous_item_id=previous, item=item.public())

    def _at(self, *, content: bool = False) -> Json:
        assert self._item is not None
        where: Json = {"response_id": self.id, "item_id": self._item.id, "output_index": len(self._output)}
        return {**where, "content_index": 0} if content else where

    def _part(self) -> Json:
        if self.speaks:
            return {"type": "audio", "transcript": self._words}
        return {"type": "text", "text": self._words}

    def _wire(self, status: str, details: Json | None, usage: Json | None) -> Json:
        output = {name: self.order.output[name] for name in ("format", "voice")}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": list(self._output),
            "conversation_id": self.conversation.id if self.conversation is not None else None,
            "output_modalities": [self.order.modality],
            "max_output_tokens": self.order.max_tokens if self.order.max_tokens is not None else "inf",
            "audio": {"output": output},
            "usage": usage,
            "metadata": self.order.metadata,
        }
