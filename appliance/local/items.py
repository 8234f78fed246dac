"""The conversation: its items, their order, and what a client may do to them.

Responsible for: ``conversation.item.*`` constraints and the dialogue's view of the items. Not for: events
(``session``) or writing replies (``responses``).
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

from appliance.local.audio import Sound, decode, encode
from appliance.local.schema import (
    Check,
    Json,
    Refused,
    anything,
    choice,
    invalid,
    listing,
    nullable,
    record,
    tagged,
    text,
    wrong_type,
)
from appliance.local.utterances import Called, Returned, Said, Turn

_ALPHABET = string.ascii_letters + string.digits
_ID = text(32, min_chars=1)
_MAX_PICTURE_CHARS = 20 * 2**20


def new_id(prefix: str) -> str:
    """A fresh identifier of at most 32 characters, like the service's."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(21))}"


def _picture(value: object, path: str) -> object:
    url = text(_MAX_PICTURE_CHARS)(value, path)
    if not str(url).startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
        raise invalid(path, "a data URI of a PNG or JPEG image is expected")
    return url


def _base64(value: object, path: str) -> object:
    data = text()(value, path)
    decode_base64(str(data), path)
    return data


def decode_base64(data: str, path: str) -> bytes:
    """The bytes of a base64 string.

    Raises:
        Refused: it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise invalid(path, "base64-encoded audio bytes are expected") from None


_INPUT_TEXT = record({"type": anything, "text": text()}, required=["text"])
_PARTS: dict[str, Check] = {
    "system": tagged({"input_text": _INPUT_TEXT}),
    "user": tagged(
        {
            "input_text": _INPUT_TEXT,
            "input_audio": record(
                {"type": anything, "audio": _base64, "transcript": nullable(text())}, required=["audio"]
            ),
            "input_image": record(
                {"type": anything, "image_url": _picture, "detail": choice("auto", "low", "high")},
                required=["image_url"],
            ),
        }
    ),
    "assistant": tagged({"output_text": _INPUT_TEXT}),
}
_COMMON: dict[str, Check] = {
    "type": anything,
    "id": nullable(_ID),
    "object": choice("realtime.item"),
    "status": nullable(choice("completed", "incomplete", "in_progress")),
}


def _message(role: str) -> Check:
    fields = {**_COMMON, "role": anything, "content": listing(_PARTS[role])}
    return record(fields, required=["content"])


_ITEM = tagged(
    {
        "message": tagged({role: _message(role) for role in _PARTS}, tag="role"),
        "function_call": record(
            {**_COMMON, "call_id": _ID, "name": text(64), "arguments": text()}, required=["name", "arguments"]
        ),
        "function_call_output": record({**_COMMON, "call_id": _ID, "output": text()}, required=["call_id", "output"]),
    }
)


@dataclass
class Item:
    """One item: as clients see it, and what only the server knows."""

    wire: Json
    sounds: list[Sound] = field(default_factory=list)  # what the user said
    heard: asyncio.Future[str] | None = None  # the recogniser's text of it
    spoken_ms: float = 0  # length of the assistant's audio
    spoken: str = ""  # the assistant's words; after a truncation only those that were heard

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.wire["id"])

    def public(self) -> Json:
        """The item without audio, as events carry it."""
        if self.wire["type"] != "message":
            return dict(self.wire)
        content = [{name: part[name] for name in part if name != "audio"} for part in self.wire["content"]]
        return {**self.wire, "content": content}

    def with_audio(self, form: Json) -> Json:
        """The item as ``conversation.item.retrieve`` shows it: what the user said included."""
        shown = self.public()
        sounds = iter(self.sounds)
        for part in shown.get("content", []):
            if part["type"] == "input_audio":
                sound = next(sounds, None)
                part["audio"] = base64.b64encode(encode(sound, form)).decode() if sound is not None else ""
        return shown


def check_item(value: object, path: str, *, input_format: Json) -> Item:
    """An item from a client.

    Args:
        value: its JSON.
        path: how errors name it.
        input_format: of the audio in it.

    Raises:
        Refused: the item breaks a rule, for instance an assistant's ``output_audio``.
    """
    if not isinstance(value, dict):
        raise wrong_type(path, "an object")
    wire: Json = dict(_ITEM(value, path))
    wire["id"] = wire.get("id") or new_id("item")
    wire["object"] = "realtime.item"
    wire["status"] = wire.get("status") or "completed"
    if wire["type"] == "function_call":
        wire.setdefault("call_id", new_id("call"))
    item = Item(wire)
    for index, part in enumerate(wire.get("content", [])):
        if part["type"] != "input_audio":
            continue
        at = f"{path}.content[{index}].audio"
        try:
            item.sounds.append(decode(decode_base64(part.pop("audio"), at), input_format))
        except ValueError:
            raise invalid(at, "16-bit samples are expected, got an odd number of bytes") from None
        part.setdefault("transcript", None)
    return item


class Conversation:
    """The items of the default conversation, in order."""

    def __init__(self) -> None:
        self.id = new_id("conv")
        self.items: list[Item] = []

    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.items[-1].id if self.items else None

    def insert(self, item: Item, previous_item_id: str | None = None) -> str | None:
        """Put the item after another one ("root": to the front; None: at the end); answers that one's id.

        Raises:
            Refused: the id is taken, the other item or the call that is answered does not exist.
        """
        if any(known.id == item.id for known in self.items):
            raise Refused(
                f"Error adding item: an item with the id '{item.id}' already exists in the conversation.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        if item.wire["type"] == "function_call_output":
            self._check_call(str(item.wire["call_id"]))
        if previous_item_id is None:
            index = len(self.items)
        elif previous_item_id == "root":
            index = 0
        else:
            index = self.items.index(self.get(previous_item_id, "create", param="previous_item_id")) + 1
        self.items.insert(index, item)
        return self.items[index - 1].id if index else None

    def _check_call(self, call_id: str) -> None:
        if not any(item.wire["type"] == "function_call" and item.wire.get("call_id") == call_id for item in self.items):
            raise Refused(
                f"Tool call ID '{call_id}' not found in conversation.",
                code="invalid_tool_call_id",
                param="item.call_id",
            )

    def get(self, item_id: str, verb: str, *, param: str = "item_id") -> Item:
        """The item of that id.

        Raises:
            Refused: ``item_<verb>_invalid_item_id``.
        """
        for item in self.items:
            if item.id == item_id:
                return item
        raise Refused(
            f"Error: cannot {verb}: the item with id '{item_id[:64]}' does not exist.",
            code=f"item_{verb}_invalid_item_id",
            param=param,
        )

    def delete(self, item_id: str) -> None:
        """Remove an item.

        Raises:
            Refused: there is none.
        """
        self.items.remove(self.get(item_id, "delete"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut an assistant's audio to what was heard; its transcript goes, as nobody knows where it was cut.

        Raises:
            Refused: no such item, not the assistant's audio, at zero, or beyond its end.
        """
        item = self.get(item_id, "truncate")
        content = item.wire.get("content", [])
        if item.wire.get("role") != "assistant" or not content or content[0]["type"] != "output_audio":
            raise Refused("Only model output audio messages can be truncated.", code="invalid_value", param="item_id")
        if content_index >= len(content):
            raise invalid("content_index", f"the item has {len(content)} content part(s)")
        if audio_end_ms <= 0:
            raise invalid("audio_end_ms", "an item cannot be truncated to nothing, delete it")
        if audio_end_ms > item.spoken_ms:
            raise Refused(
                f"Audio content of {int(item.spoken_ms)}ms is already shorter than {audio_end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        item.spoken = _heard_part(item.spoken, audio_end_ms / item.spoken_ms)
        item.spoken_ms = audio_end_ms
        content[0].pop("transcript", None)


def _heard_part(words: str, share: float) -> str:
    if share >= 1:
        return words
    return words[: int(len(words) * share)].rpartition(" ")[0]


async def turns(items: Iterable[Item]) -> list[Turn]:
    """The items as the dialogue takes them; waits until what was said is recognised."""
    return [turn for item in items for turn in [await _turn(item)] if turn is not None]


async def _turn(item: Item) -> Turn | None:
    kind = item.wire["type"]
    if kind == "function_call":
        return Called(str(item.wire["call_id"]), str(item.wire["name"]), _arguments(item.wire["arguments"]))
    if kind == "function_call_output":
        return Returned(str(item.wire["call_id"]), str(item.wire["output"]))
    content = item.wire["content"]
    if item.wire["role"] == "assistant":
        written = " ".join(part.get("text") or "" for part in content)
        return Said("assistant", item.spoken or written.strip())
    words = [part["text"] for part in content if part["type"] == "input_text"]
    if item.heard is not None:
        words.append(await asyncio.shield(item.heard))
    pictures = sum(part["type"] == "input_image" for part in content)
    return Said(str(item.wire["role"]), " ".join(words), pictures)


def _arguments(encoded: str) -> Json:
    try:
        value = json.loads(encoded)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
