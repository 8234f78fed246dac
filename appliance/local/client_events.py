"""Client events: which there are, which fields each may carry, and reading one from a message.

Responsible for: a message to a checked event. Not for: what the event does (``session``).
"""

from __future__ import annotations

import msgspec

from appliance.local.responses import ORDER
from appliance.local.schema import (
    Check,
    Json,
    Refused,
    anything,
    choice,
    integer,
    missing,
    nullable,
    record,
    text,
    wrong_type,
)

_ITEM_ID = text(512)
_EVENTS: dict[str, Check] = {
    "session.update": record({"type": anything, "event_id": anything, "session": anything}, required=["session"]),
    "input_audio_buffer.append": record({"type": anything, "event_id": anything, "audio": text()}, required=["audio"]),
    "input_audio_buffer.commit": record({"type": anything, "event_id": anything}),
    "input_audio_buffer.clear": record({"type": anything, "event_id": anything}),
    "conversation.item.create": record(
        {"type": anything, "event_id": anything, "item": anything, "previous_item_id": nullable(_ITEM_ID)},
        required=["item"],
    ),
    "conversation.item.retrieve": record(
        {"type": anything, "event_id": anything, "item_id": _ITEM_ID}, required=["item_id"]
    ),
    "conversation.item.delete": record(
        {"type": anything, "event_id": anything, "item_id": _ITEM_ID}, required=["item_id"]
    ),
    "conversation.item.truncate": record(
        {
            "type": anything,
            "event_id": anything,
            "item_id": _ITEM_ID,
            "content_index": integer(0),
            "audio_end_ms": integer(0),
        },
        required=["item_id", "content_index", "audio_end_ms"],
    ),
    "response.create": record({"type": anything, "event_id": anything, "response": nullable(ORDER)}),
    "response.cancel": record({"type": anything, "event_id": anything, "response_id": nullable(text(512))}),
}


def parsed(message: str | bytes) -> Json:
    """The JSON object in a message.

    Raises:
        Refused: it is binary or no JSON object.
    """
    if isinstance(message, bytes):
        raise Refused("Expected a text message, got a binary one.", code="invalid_message")
    try:
        event = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise Refused("We could not parse the message as JSON.", code="invalid_json") from None
    if not isinstance(event, dict):
        raise wrong_type("event", "an object")
    return event


def event_id_of(event: Json) -> str | None:
    """The client's id of its event: errors carry it back.

    Raises:
        Refused: it is no string of at most 512 characters.
    """
    event_id = event.get("event_id")
    if event_id is not None:
        text(512)(event_id, "event_id")
    return event_id


def checked(event: Json) -> tuple[str, Json]:
    """The type of the event and its fields.

    Raises:
        Refused: no type, an unknown one, or fields it does not have.
    """
    if "type" not in event:
        raise missing("type")
    kind = str(choice(*_EVENTS)(event["type"], "type"))
    return kind, _EVENTS[kind](event, "")
