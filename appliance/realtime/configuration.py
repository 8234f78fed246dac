"""The session object that we ask for, and what to leave out when a server refuses it.

Responsible for: building ``session.update`` payloads from settings and model capabilities. Not for: sending.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.realtime import models
from appliance.realtime.profile import NO_PROFILE, Path, Profile
from appliance.realtime.wire import Json

PCM = {"type": "audio/pcm", "rate": 24_000}
# What ``reduced`` leaves out, and of a profile's settings what it keeps.
BEYOND_THE_CORE = "speed, noise_reduction, captions, max_output_tokens, truncation, reasoning, prompt, tool_choice"
CORE: tuple[Path, ...] = (("instructions",), ("audio", "output", "voice"))
WISHES: dict[Path, str] = {  # what of the owner's stands against a setting of the profile
    ("instructions",): "instructions",
    ("max_output_tokens",): "max_output_tokens",
    ("audio", "input", "noise_reduction"): "noise_reduction",
    ("audio", "input", "transcription"): "captions",
    ("audio", "output", "voice"): "voice",
    ("audio", "output", "speed"): "speed",
}
FOR_REASONING: tuple[Path, ...] = (("reasoning",), ("parallel_tool_calls",))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the owner wants of a session."""

    model: str
    voice: str
    instructions: str
    turn_detection: str = "local"  # local | server_vad | semantic_vad
    output: str = "audio"
    speed: float = 1.0
    noise_reduction: str = "none"
    captions: str = ""  # a transcription model, or empty for none
    max_output_tokens: int | str = "inf"
    tools: tuple[Json, ...] = ()
    own: frozenset[str] = frozenset()  # names of those above that the owner wrote down: a profile does not change them


def session(
    wishes: Wishes, *, model: str, server_vad: bool, reduced: bool = False, profile: Profile = NO_PROFILE
) -> Json:
    """Build the session object for ``model``: what the owner wrote, else the profile's, else our defaults.

    ``reduced`` leaves out everything that a lesser server may not know: a rejected update applies nothing of
    it, and a session that is not configured must not be used.
    """
    built = _ours(wishes, model=model, server_vad=server_vad, reduced=reduced)
    if profile.binds_tools:
        del built["tools"]
    able = models.capabilities(model)
    for path, value in profile.settings.items():
        kept = WISHES.get(path) in wishes.own or (reduced and path not in CORE)
        if not kept and (able.reasoning or path not in FOR_REASONING):
            _put(built, path, value)
    return built


def _put(built: Json, path: Path, value: object) -> None:
    *above, name = path
    for step in above:
        built = built[step]
    built[name] = value


def _ours(wishes: Wishes, *, model: str, server_vad: bool, reduced: bool) -> Json:
    audio_in: Json = {"format": PCM, "turn_detection": turn_detection(wishes, server_vad=server_vad)}
    audio_out: Json = {"format": PCM, "voice": wishes.voice}
    built: Json = {
        "type": "realtime",
        "instructions": wishes.instructions,
        "output_modalities": [wishes.output],
        "audio": {"input": audio_in, "output": audio_out},
        "tools": list(wishes.tools),
    }
    if reduced:
        return built
    able = models.capabilities(model)
    built["tool_choice"] = "auto"
    built["max_output_tokens"] = wishes.max_output_tokens
    audio_out["speed"] = wishes.speed
    audio_in["noise_reduction"] = None if wishes.noise_reduction == "none" else {"type": wishes.noise_reduction}
    audio_in["transcription"] = {"model": wishes.captions} if wishes.captions else None
    if able.long_context_truncation:
        # Bounds the cost of long conversations and keeps the prompt cache for several turns.
        built["truncation"] = {"type": "retention_ratio", "retention_ratio": 0.8}
    return built


def turn_detection(wishes: Wishes, *, server_vad: bool) -> Json | None:
    """Build the turn detection: ``None`` while the device itself ends the turns."""
    if wishes.turn_detection == "local" or not server_vad:
        return None
    return {"type": wishes.turn_detection, "create_response": True, "interrupt_response": True}


def turn_detection_update(wishes: Wishes, *, server_vad: bool) -> Json:
    """Build the smallest session object that switches the turn detection."""
    return {
        "type": "realtime",
        "audio": {"input": {"turn_detection": turn_detection(wishes, server_vad=server_vad)}},
    }
