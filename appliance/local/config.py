"""The session object: its defaults, what a client may set, and how an update merges into it.

Responsible for: ``session.update`` and the ``session`` of a mint request, all or nothing. Not for: acting on
the configuration (``session``, ``responses``) or for the wire around it.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from appliance.local.schema import (
    Check,
    Json,
    Refused,
    anything,
    boolean,
    by_kind,
    choice,
    integer,
    invalid,
    listing,
    mapping_of,
    missing,
    nullable,
    number,
    record,
    tagged,
    text,
    unknown_parameter,
)

DEFAULT_INSTRUCTIONS = (
    "You are a small voice assistant that runs on the device itself. Answer in one to three sentences and say "
    "so when you cannot do something."
)
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
SESSION_MINUTES = 60

_SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Json = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}

FORMAT = tagged(
    {
        "audio/pcm": record({"type": anything, "rate": choice(24000)}),
        "audio/pcmu": record({"type": anything}),
        "audio/pcma": record({"type": anything}),
    }
)
VOICE = by_kind(string=choice(*VOICES), mapping=record({"id": text(128)}, required=["id"]))
MODALITIES = listing(choice("audio", "text"), at_most=1)
_FUNCTION = record(
    {
        "type": anything,
        "name": text(64, min_chars=1),
        "description": text(),
        "parameters": nullable(mapping_of(anything)),
    },
    required=["name"],
)
_MCP = record(
    {
        "type": anything,
        "server_label": text(256, min_chars=1),
        "server_url": text(),
        "server_description": nullable(text()),
        "connector_id": text(),
        "authorization": nullable(text()),
        "headers": nullable(mapping_of(text())),
        "allowed_tools": anything,
        "require_approval": anything,
        "defer_loading": boolean,
    },
    required=["server_label"],
)
TOOLS = listing(tagged({"function": _FUNCTION, "mcp": _MCP}), at_most=128)
TOOL_CHOICE = by_kind(
    string=choice("auto", "none", "required"),
    mapping=tagged(
        {
            "function": record({"type": anything, "name": text(64)}, required=["name"]),
            "mcp": record(
                {"type": anything, "server_label": text(256), "name": nullable(text(64))}, required=["server_label"]
            ),
        }
    ),
)
MAX_OUTPUT_TOKENS = by_kind(string=choice("inf"), integers=integer(1, 4096))
REASONING = record({"effort": choice("minimal", "low", "medium", "high", "xhigh")})
PROMPT = nullable(
    record({"id": text(), "version": nullable(text()), "variables": nullable(mapping_of(anything))}, required=["id"])
)
_TRANSCRIPTION = record(
    {
        "model": text(128),
        "language": nullable(text(32)),
        "languages": nullable(listing(text(32))),
        "keywords": nullable(listing(text(256))),
        "prompt": nullable(text()),
        "delay": nullable(choice("minimal", "low", "medium", "high", "xhigh")),
    }
)
_TURN_DETECTION = tagged(
    {
        "server_vad": record(
            {
                "type": anything,
                "threshold": number(0, 1),
                "prefix_padding_ms": integer(0, 10_000),
                "silence_duration_ms": integer(0, 10_000),
                "idle_timeout_ms": nullable(integer(5_000, 30_000)),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
        "semantic_vad": record(
            {
                "type": anything,
                "eagerness": choice("low", "medium", "high", "auto"),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
    }
)
_NOISE_REDUCTION = tagged(
    {kind: record({"type": anything, "strength": nullable(number(0, 1))}) for kind in ("near_field", "far_field")}
)
_TRUNCATION = by_kind(
    string=choice("auto", "disabled"),
    mapping=tagged(
        {
            "retention_ratio": record(
                {
                    "type": anything,
                    "retention_ratio": number(0, 1),
                    "token_limits": nullable(record({"post_instructions": integer(0)})),
                },
                required=["retention_ratio"],
            )
        }
    ),
)
_FIELDS: dict[str, Check] = {
    "type": anything,
    "model": text(128),
    "output_modalities": MODALITIES,
    "instructions": text(),
    "audio": record(
        {
            "input": record(
                {
                    "format": FORMAT,
                    "noise_reduction": nullable(_NOISE_REDUCTION),
                    "transcription": nullable(_TRANSCRIPTION),
                    "turn_detection": nullable(_TURN_DETECTION),
                }
            ),
            "output": record({"format": FORMAT, "voice": VOICE, "speed": number(0.25, 1.5)}),
        }
    ),
    "include": nullable(listing(choice("item.input_audio_transcription.logprobs"))),
    "max_output_tokens": MAX_OUTPUT_TOKENS,
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": boolean,
    "reasoning": REASONING,
    "tracing": nullable(
        by_kind(
            string=choice("auto"),
            mapping=record({"workflow_name": text(), "group_id": text(), "metadata": mapping_of(anything)}),
        )
    ),
    "truncation": _TRUNCATION,
    "prompt": PROMPT,
}
_SESSION = record(_FIELDS)
_REASONING_MODEL = re.compile(r"gpt-realtime-2(?!\d)")
_SERVED_MODEL = re.compile(r"gpt-realtime(?!-(whisper|translate))(-[\w.]+)*")


def is_served(model: str) -> bool:
    """True for the names of the vendor's conversation models: they all get the same local dialogue."""
    return _SERVED_MODEL.fullmatch(model) is not None


def can_reason(model: str) -> bool:
    """True for models whose sessions take ``reasoning`` and ``parallel_tool_calls``."""
    return _REASONING_MODEL.match(model) is not None


def defaults(model: str, *, session_id: str, expires_at: int) -> Json:
    """The effective configuration of a session nobody has configured. ``expires_at`` in unix seconds."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
        "include": None,
        "max_output_tokens": "inf",
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
    }


def check(patch: Any, *, path: str = "session", model: str | None = None) -> Json:
    """The patch, checked field by field.

    Args:
        patch: what the client sent.
        path: how errors name the object.
        model: the session's model; None while it is only being chosen.

    Raises:
        Refused: with the code and parameter path the Realtime API gives.
    """
    if isinstance(patch, dict):
        if "type" not in patch:
            raise missing(f"{path}.type")
        choice("realtime")(patch["type"], f"{path}.type")
    checked: Json = _SESSION(patch, path)
    name = checked.get("model", model)
    if name is not None and not is_served(name):
        raise Refused(f"The model '{name[:64]}' does not exist.", code="model_not_found", param=f"{path}.model")
    if model is not None and name != model:
        raise invalid(f"{path}.model", "the model of a session cannot be changed")
    for field in ("reasoning", "parallel_tool_calls"):
        if field in checked and name is not None and not can_reason(name):
            raise unknown_parameter(f"{path}.{field}")
    return checked


def merged(current: Json, patch: Json, *, voice_is_fixed: bool = False) -> Json:
    """A new effective configuration: ``patch`` (checked) over ``current``; nothing is changed in place.

    Args:
        current: the effective configuration so far.
        patch: what :func:`check` returned.
        voice_is_fixed: whether audio has been spoken, after which the voice stays.

    Raises:
        Refused: ``cannot_update_voice``.
    """
    result = copy.deepcopy(current)
    result.update({name: value for name, value in patch.items() if name != "audio"})
    audio = patch.get("audio", {})
    for side in ("input", "output"):
        result["audio"][side].update(copy.deepcopy(audio.get(side, {})))
    detection = audio.get("input", {}).get("turn_detection")
    if detection is not None:
        before = current["audio"]["input"]["turn_detection"]
        base = _SERVER_VAD if detection["type"] == "server_vad" else _SEMANTIC_VAD
        kept = before if before is not None and before["type"] == detection["type"] else base
        result["audio"]["input"]["turn_detection"] = {**kept, **detection}
    for side in ("input", "output"):
        if result["audio"][side]["format"]["type"] == "audio/pcm":
            result["audio"][side]["format"]["rate"] = 24000
    if voice_is_fixed and result["audio"]["output"]["voice"] != current["audio"]["output"]["voice"]:
        raise Refused(
            "Cannot update a conversation's voice if assistant audio is present.",
            code="cannot_update_voice",
            param="session.audio.output.voice",
        )
    return result
