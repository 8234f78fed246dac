"""Frames a Realtime server may send, and what a broken one may make of them. Pure: a random generator is given.

Responsible for: the corpus (every event type of the GA protocol, with the ids of a conversation that is going on) and
its mutations. Not for: feeding them to anything (``fuzz``).
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
RESPONSES = ("r1", "r2", "r3", "")
ITEMS = ("i1", "i2", "i3", "")
CALLS = ("c1", "c2", "")
CODES = (
    "response_cancel_not_active",
    "input_audio_buffer_commit_empty",
    "conversation_already_has_active_response",
    "cannot_update_voice",
    "rate_limit_exceeded",
    "insufficient_quota",
    "session_expired",
    "server_error",
    "model_not_found",
    "unknown_parameter",
    "nobody_knows",
)
STATUSES = ("completed", "cancelled", "failed", "incomplete", "in_progress", "?")
SOUND = base64.b64encode(bytes(960)).decode()
STRANGE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    2**70,
    "",
    "\ud800",
    "x" * 5000,
    [],
    [[[[]]]],
    {},
    {"type": "error"},
    ["a", None, {}],
    "null",
)
FATAL_CODES = ("insufficient_quota", "model_not_found")


def valid(rng: random.Random) -> Event:
    """Choose a frame as a good server sends it, if perhaps not now."""
    made = rng.choice(MAKERS)(rng)
    return {"event_id": f"ev_{rng.randrange(10**6)}", **made}


def _of_response(rng: random.Random, kind: str, **more: Any) -> Event:
    ids = {"response_id": rng.choice(RESPONSES), "item_id": rng.choice(ITEMS), "output_index": 0, "content_index": 0}
    return {"type": kind, **ids, **more}


def _item(rng: random.Random) -> Event:
    call = {
        "call_id": rng.choice(CALLS),
        "name": rng.choice(("wait", "nothing")),
        "arguments": rng.choice(("{}", "{", "5")),
    }
    kind = rng.choice(("message", "function_call", "function_call_output", "mcp_call", "?"))
    return {"id": rng.choice(ITEMS), "type": kind, "role": "assistant", "status": rng.choice(STATUSES), **call}


def _response(rng: random.Random) -> Event:
    code = rng.choice(CODES)
    details = {"type": "failed", "reason": "turn_detected", "error": {"type": code, "code": code, "message": "no"}}
    tokens = {"total_tokens": 3, "input_token_details": {"cached_tokens_details": None, "text_tokens": 1}}
    items = [_item(rng) for _ in range(rng.randrange(3))]
    return {
        "id": rng.choice(RESPONSES),
        "status": rng.choice(STATUSES),
        "status_details": details,
        "output": items,
        "usage": tokens,
    }


def _error(rng: random.Random) -> Event:
    code = rng.choice(CODES)
    if code in FATAL_CODES and rng.random() < 0.9:
        code = "nobody_knows"  # else most of the time would be spent refused
    named = {"event_id": f"id_{rng.randrange(200)}"} if rng.random() < 0.5 else {}
    return {"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": "no", **named}}


def _plain(kind: str) -> Callable[[random.Random], Event]:
    return lambda _: {"type": kind}


MAKERS: tuple[Callable[[random.Random], Event], ...] = (
    lambda _: {"type": "session.created", "session": {"id": "s"}},
    lambda _: {"type": "session.updated", "session": {}},
    _plain("conversation.created"),
    lambda r: {"type": "conversation.item.added", "item": _item(r), "previous_item_id": None},
    lambda r: {"type": "conversation.item.created", "item": _item(r)},
    lambda r: {"type": "conversation.item.done", "item": _item(r)},
    lambda r: {"type": "conversation.item.truncated", "item_id": r.choice(ITEMS), "audio_end_ms": 5},
    lambda r: {"type": "conversation.item.deleted", "item_id": r.choice(ITEMS)},
    lambda r: {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": r.choice(ITEMS),
        "transcript": "well",
    },
    lambda r: {"type": "input_audio_buffer.speech_started", "item_id": r.choice(ITEMS), "audio_start_ms": 1},
    lambda r: {"type": "input_audio_buffer.speech_stopped", "item_id": r.choice(ITEMS), "audio_end_ms": 2},
    lambda r: {"type": "input_audio_buffer.committed", "item_id": r.choice(ITEMS), "previous_item_id": None},
    _plain("input_audio_buffer.cleared"),
    _plain("input_audio_buffer.timeout_triggered"),
    lambda r: {"type": "response.created", "response": _response(r)},
    lambda r: {"type": "response.output_item.added", "response_id": r.choice(RESPONSES), "item": _item(r)},
    lambda r: {"type": "response.output_item.done", "response_id": r.choice(RESPONSES), "item": _item(r)},
    lambda r: _of_response(r, "response.content_part.added", part={"type": "audio"}),
    lambda r: _of_response(r, "response.output_audio.delta", delta=SOUND),
    lambda r: _of_response(r, "response.audio.delta", delta=SOUND),
    lambda r: _of_response(r, "response.output_audio.done"),
    lambda r: _of_response(r, "response.output_audio_transcript.delta", delta="words "),
    lambda r: _of_response(r, "response.output_text.delta", delta="words "),
    lambda r: _of_response(r, "response.function_call_arguments.done", call_id=r.choice(CALLS), arguments="{}"),
    lambda r: {"type": "response.done", "response": _response(r)},
    lambda _: {"type": "rate_limits.updated", "rate_limits": [{"name": "tokens", "limit": 1, "remaining": 0}]},
    _error,
)


def broken(rng: random.Random) -> str | bytes:
    """Choose a frame, and break it in one to three places, or its bytes, or not at all."""
    event = valid(rng)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        _break(rng, event)
    text = json.dumps(event)
    fate = rng.random()
    if fate < 0.03:
        return text[: rng.randrange(len(text) + 1)]
    if fate < 0.06:
        raw = bytearray(text.encode())
        for _ in range(rng.randrange(1, 6)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw)
    if fate < 0.065:
        return "[" * rng.randrange(3000)
    return text


def _break(rng: random.Random, event: Event) -> None:
    """Take away, rename or replace one field, somewhere in the tree."""
    places = list(_places(event))
    if not places:
        return
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
        case 2 if isinstance(holder, dict):
            holder[str(key)[::-1]] = holder.pop(key)
        case _:
            other, name = rng.choice(places)
            holder[key] = other[name] if not isinstance(other[name], dict | list) else None


def _places(tree: Any) -> Any:
    """Every place of a tree, as its holder and the key in it."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)
