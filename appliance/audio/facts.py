"""What the audio thread tells the event loop. Times are monotonic seconds, rates in Hz.

Responsible for: the messages. Audio crosses threads as immutable bytes only.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.conversation.events import Ailment
from appliance.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Captured:
    """Microphone audio let through by the gate: 24 kHz mono s16le. ``captured_at`` is its first sample's time."""

    turn: int
    pcm: bytes
    captured_at: float


@dataclass(frozen=True, slots=True)
class TurnTail:
    """The gate closed; all audio of ``turn`` has been reported. ``voice_ended_at`` is the true end of speech."""

    turn: int
    voice_ended_at: float | None


@dataclass(frozen=True, slots=True)
class VoiceBegan:
    """The detector is sure of a talker, who began at ``onset_at``."""

    onset_at: float


@dataclass(frozen=True, slots=True)
class VoiceStopped:
    """The talker has been silent for the end-of-turn time; the last voiced sound was at ``ended_at``."""

    ended_at: float


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The first sample of a reply sounds at ``sounds_at``; its first delta had been pushed at ``pushed_at``."""

    pushed_at: float
    sounds_at: float


@dataclass(frozen=True, slots=True)
class Drained:
    """The reply has sounded to its end, or starved for good; ``pushes`` says which pushes it had seen."""

    pushes: int
    heard_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Flushed:
    """The loudspeaker is silent; ``heard_ms`` by item, ``silent_at`` when the fade ends."""

    heard_ms: dict[str, float]
    silent_at: float


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A device failed; the audio thread goes on trying to get it back."""

    error: DeviceError


@dataclass(frozen=True, slots=True)
class DeviceBack:
    """The devices can be opened again."""


@dataclass(frozen=True, slots=True)
class VoiceSuspected:
    """There may be a talker over the reply since ``at``: the loudspeaker was ducked, the detector decides."""

    at: float


@dataclass(frozen=True, slots=True)
class VoiceCleared:
    """The suspicion was nothing: the loudspeaker comes back. A confirmed one is a :class:`VoiceBegan`."""

    at: float


@dataclass(frozen=True, slots=True)
class EchoUncontrolled:
    """The own voice cannot be told from a talker's any more: ``reason`` in words, ``hint`` what to do about it."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class MicrophoneAiled:
    """The microphone delivers nothing but zeros, or is driven into clipping."""

    ailment: Ailment


@dataclass(frozen=True, slots=True)
class MicrophoneHealed:
    """The microphone delivers sound again."""


AudioFact = (
    Captured
    | TurnTail
    | VoiceBegan
    | VoiceStopped
    | VoiceSuspected
    | VoiceCleared
    | ReplyStarted
    | Drained
    | Flushed
    | DeviceLost
    | DeviceBack
    | EchoUncontrolled
    | MicrophoneAiled
    | MicrophoneHealed
)
