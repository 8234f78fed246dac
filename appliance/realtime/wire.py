"""The wire format: strict builders for what we send, lenient structs for what we receive.

Responsible for: bytes <-> structs. Every received field is optional, because servers differ; a wrong type
costs that one field, never the event or the session. Not for: order and meaning (``protocol``).
Source: realtime-api GA event reference.
"""

from __future__ import annotations

import binascii
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

Json = dict[str, Any]
S = TypeVar("S", bound=Struct)

# Beta servers (and compatible ones) still say these.
ALIASES = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "conversation.item.created": "conversation.item.added",
    "conversation.created": "session.created",
}


class Fault(Struct):
    """The body of an ``error`` event or of a failed response."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class Part(Struct):
    """A content part of an item."""

    type: str | None = None
    text: str | None = None
    transcript: str | None = None


class Item(Struct):
    """A conversation item."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[Part] | None = None
    server_label: str | None = None
    output: str | None = None
    error: dict[str, Any] | None = None


class StatusDetails(Struct):
    """Why a response ended as it did."""

    type: str | None = None
    reason: str | None = None
    error: Fault | None = None


class CachedTokens(Struct):
    """Input tokens that the prompt cache served, by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class InputTokens(Struct):
    """Input tokens by kind, the cached ones included."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: CachedTokens | None = None


class OutputTokens(Struct):
    """Output tokens by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None


class Usage(Struct):
    """What a response cost in tokens; any part may be missing."""

    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: InputTokens | None = None
    output_token_details: OutputTokens | None = None


class Response(Struct):
    """A response as announced or finished."""

    id: str | None = None
    status: str | None = None
    status_details: StatusDetails | None = None
    output: list[Item] | None = None
    usage: Usage | None = None
    conversation_id: str | None = None
    metadata: dict[str, Any] | None = None


class Received(Struct):
    """Any server event but audio: the union of the fields that we read."""

    type: str = ""
    response_id: str | None = None
    item_id: str | None = None
    previous_item_id: str | None = None
    delta: str | None = None
    transcript: str | None = None
    text: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    item: Item | None = None
    response: Response | None = None
    error: Fault | None = None


_received = msgspec.json.Decoder(Received)
_encode = msgspec.json.Encoder().encode
# Not JSON, not text (UnicodeError and absurd numbers are ValueErrors), or nested beyond reason.
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


def decode(frame: str | bytes) -> Received | None:
    """Decode one frame; ``None`` for what is no event (not JSON, not an object) or has a field of a wrong type."""
    try:
        return _named(_received.decode(frame))
    except _UNREADABLE:
        return None


def salvage(frame: str | bytes) -> Received | None:
    """Decode what ``decode`` refused as far as it can be used: a field of a wrong type counts as missing."""
    try:
        raw = msgspec.json.decode(frame)
    except _UNREADABLE:
        return None
    return _named(_usable(raw, Received)) if isinstance(raw, dict) else None


def _named(event: Received) -> Received:
    event.type = ALIASES.get(event.type, event.type)
    return event


def _usable(raw: Json, kind: type[S]) -> S:
    made = kind()
    for field in msgspec.structs.fields(kind):
        if (value := _usable_value(raw.get(field.name), field.type)) is not None:
            setattr(made, field.name, value)
    return made


def _usable_value(value: object, kind: Any) -> object:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        pass
    for option in get_args(kind):
        if isinstance(option, type) and issubclass(option, Struct) and isinstance(value, dict):
            return _usable(value, option)
        if get_origin(option) is list and isinstance(value, list):
            return [_usable(entry, get_args(option)[0]) for entry in value if isinstance(entry, dict)]
    return None


def audio_of(delta: str) -> bytes | None:
    """Decode base64 audio; ``None`` when it is not base64."""
    try:
        return binascii.a2b_base64(delta)
    except (binascii.Error, ValueError):
        return None


def encode(event_id: str, kind: str, **fields: object) -> str:
    """Encode a client event; every one carries an id, the only link from an error to its cause."""
    return _encode({"type": kind, "event_id": event_id, **fields}).decode()


def append(event_id: str, pcm: bytes) -> str:
    """Encode ``input_audio_buffer.append``, the hot one: 24 kHz mono s16le as base64."""
    audio = binascii.b2a_base64(pcm, newline=False).decode("ascii")
    return f'{{"type":"input_audio_buffer.append","event_id":"{event_id}","audio":"{audio}"}}'


def user_text(text: str) -> Json:
    """Build a user message of text."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def user_image(image_url: str) -> Json:
    """Build a user message of one picture (data URI, png or jpeg)."""
    return {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": image_url}]}


def assistant_text(text: str) -> Json:
    """Build an assistant message: clients may create these as text only."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def system_text(text: str) -> Json:
    """Build a system message."""
    return {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}


def function_call(call_id: str, name: str, arguments: str) -> Json:
    """Build a function call, for replay."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def function_call_output(call_id: str, output: str) -> Json:
    """Build a tool's answer."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def mcp_denial(item_id: str, request_id: str, reason: str) -> Json:
    """Build the denial of a request for leave to call a tool."""
    answer = {"approval_request_id": request_id, "approve": False, "reason": reason}
    return {"id": item_id, "type": "mcp_approval_response", **answer}
