"""Tokens: what a response would have been billed for.

Responsible for: the ``usage`` numbers: user audio one token per 100 ms, assistant audio one per 50 ms, text
about one per four characters, and the cached part, which is the longest unchanged prefix. Not for: prices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.local.items import Item
from appliance.local.schema import Json

_PICTURE_TOKENS = {"low": 85, "auto": 765, "high": 765}


def text_tokens(text: str) -> int:
    """About one token per four characters."""
    return math.ceil(len(text) / 4)


def spoken_tokens(length_ms: float) -> int:
    """Tokens of the assistant's audio."""
    return math.ceil(length_ms / 50)


def heard_tokens(length_ms: float) -> int:
    """Tokens of the user's audio."""
    return math.ceil(length_ms / 100)


@dataclass(frozen=True)
class Piece:
    """One stretch of the prompt: what it is, exactly, and what it costs."""

    key: str
    text: int = 0
    audio: int = 0
    image: int = 0


def prompt(instructions: str, tools: Sequence[Json], items: Sequence[Item]) -> list[Piece]:
    """The model's input in order; the keys tell whether a piece changed."""
    declared = json.dumps(tools, sort_keys=True) if tools else ""
    head = [Piece(f"instructions {instructions}", text_tokens(instructions))]
    head.append(Piece(f"tools {declared}", text_tokens(declared)))
    return head + [_item_piece(item) for item in items]


def _item_piece(item: Item) -> Piece:
    kind = item.wire["type"]
    if kind == "function_call":
        return Piece(item.id, text_tokens(str(item.wire["name"]) + str(item.wire["arguments"])))
    if kind == "function_call_output":
        return Piece(item.id, text_tokens(str(item.wire["output"])))
    content = item.wire["content"]
    written = sum(text_tokens(part.get("text") or "") for part in content)
    image = sum(_PICTURE_TOKENS[part.get("detail", "auto")] for part in content if part["type"] == "input_image")
    if item.wire["role"] == "assistant" and item.spoken_ms:
        # A truncated item is another one to the cache.
        return Piece(f"{item.id} {item.spoken_ms}", text_tokens(item.spoken), spoken_tokens(item.spoken_ms))
    return Piece(item.id, written, sum(heard_tokens(sound.length_ms) for sound in item.sounds), image)


def report(pieces: Sequence[Piece], before: Sequence[Piece], *, text_out: int, audio_out: int) -> Json:
    """The ``usage`` of a response.

    Args:
        pieces: its prompt.
        before: the prompt of the response before it, whose common beginning is cached.
        text_out: text tokens written, transcript included.
        audio_out: audio tokens spoken.
    """
    same = 0
    while same < min(len(pieces), len(before)) and pieces[same] == before[same]:
        same += 1
    cached = pieces[:same]
    total = [sum(values) for values in zip(*((p.text, p.audio, p.image) for p in pieces), strict=True)]
    saved = [sum(p.text for p in cached), sum(p.audio for p in cached), sum(p.image for p in cached)]
    return {
        "total_tokens": sum(total) + text_out + audio_out,
        "input_tokens": sum(total),
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": total[0],
            "audio_tokens": total[1],
            "image_tokens": total[2],
            "cached_tokens": sum(saved),
            "cached_tokens_details": {
                "text_tokens": saved[0],
                "audio_tokens": saved[1],
                "image_tokens": saved[2],
            },
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }
