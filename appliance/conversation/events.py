"""The facts that the conversation is told, named in the past tense.

Responsible for: one frozen class a fact. Not for: bytes of audio (they never enter the machine) or time
(a timer that ran out is a fact like any other).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SETUP_MS, FORGET_FROM_MS, FORGET_UNTIL_MS = 5_000, 10_000, 17_000  # of the button: what a long hold asks for
ENROLMENT_PENDING = "enrolment_pending"  # the code of a refusal that the service's owner is about to lift


@dataclass(frozen=True, slots=True)
class Event:
    """A fact. Subclasses carry only what a decision needs."""


@dataclass(frozen=True, slots=True)
class TalkPressed(Event):
    """The button went down."""


@dataclass(frozen=True, slots=True)
class TalkHeld(Event):
    """The button stayed down long enough to be push-to-talk."""


@dataclass(frozen=True, slots=True)
class TalkHeldLong(Event):
    """The button stayed down for five seconds; ``fresh``: the machine was switched on moments ago."""

    fresh: bool


@dataclass(frozen=True, slots=True)
class TalkHeldOn(Event):
    """The button stayed down for ten seconds: let go from now on, it asks to forget everything."""


@dataclass(frozen=True, slots=True)
class TalkHeldOut(Event):
    """The button stayed down for seventeen seconds: that was no wish, it may be stuck."""


@dataclass(frozen=True, slots=True)
class TalkReleased(Event):
    """The button came up after ``held_ms``; the turn holds ``captured_ms`` of audio so far."""

    held_ms: int
    captured_ms: int


@dataclass(frozen=True, slots=True)
class VoiceStarted(Event):
    """The local detector hears a talker."""


@dataclass(frozen=True, slots=True)
class VoiceEnded(Event):
    """The local detector heard the end of what was said."""


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """The server's detector hears a talker."""


@dataclass(frozen=True, slots=True)
class SpeechStopped(Event):
    """The server's detector heard the end of the turn; it commits and answers by itself."""


@dataclass(frozen=True, slots=True)
class MuteToggled(Event):
    """The person flipped the mute."""


@dataclass(frozen=True, slots=True)
class TextSaid(Event):
    """The person typed instead of speaking."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageShown(Event):
    """The person showed a picture, as a data URI; what they say next may be about it."""

    image_url: str


@dataclass(frozen=True, slots=True)
class TurnRejected(Event):
    """The server found the committed turn too short to be one."""


@dataclass(frozen=True, slots=True)
class ResponseStarted(Event):
    """The server announced a response."""

    response_id: str


@dataclass(frozen=True, slots=True)
class AudioStarted(Event):
    """The first audio of an admitted response was queued for the loudspeaker."""

    response_id: str


class Outcome(Enum):
    """How a response ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ResponseFinished(Event):
    """The server finished a response, however it ended."""

    response_id: str
    outcome: Outcome = Outcome.COMPLETED


@dataclass(frozen=True, slots=True)
class ResponseRefused(Event):
    """The server would not begin the response that was asked for."""

    code: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call of the model: ``arguments`` is the JSON text as received."""

    call_id: str
    name: str
    arguments: str
    remote: bool = False  # the server runs it and keeps its output: only the end is told


@dataclass(frozen=True, slots=True)
class ToolRequested(Event):
    """The model asked for a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolFinished(Event):
    """A tool has its answer, or its failure in words."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class TimerRang(Event):
    """A timer that the person asked for ran out."""


@dataclass(frozen=True, slots=True)
class PlaybackDrained(Event):
    """Nothing of the reply is left to sound, or the rest of it does not come."""


@dataclass(frozen=True, slots=True)
class PhaseTimeout(Event):
    """The phase timer of ``mirror`` ran out."""


@dataclass(frozen=True, slots=True)
class LinkOpened(Event):
    """The session is configured: audio may be sent."""


@dataclass(frozen=True, slots=True)
class LinkLost(Event):
    """The session broke (``was_up``), or an attempt to open one failed."""

    was_up: bool


@dataclass(frozen=True, slots=True)
class LinkRefused(Event):
    """The service refuses us until a person acts: key, quota, model."""

    code: str


@dataclass(frozen=True, slots=True)
class Enrolled(Event):
    """The service's owner approved this device."""


@dataclass(frozen=True, slots=True)
class EnrolmentEnded(Event):
    """The code was not approved in time, or the owner said no; the next press asks for another."""

    code: str


@dataclass(frozen=True, slots=True)
class UpdateStaged(Event):
    """New software or configuration was checked and waits to be taken into use."""


@dataclass(frozen=True, slots=True)
class DeviceFailed(Event):
    """The microphone or the loudspeaker cannot be used."""


@dataclass(frozen=True, slots=True)
class DeviceRestored(Event):
    """Microphone and loudspeaker can be used again."""


class Ailment(Enum):
    """What is wrong with a microphone that can be read."""

    ZERO = "zero"  # nothing but zeros: muted in hardware, not connected, wrong channel
    CLIPPED = "clipped"  # driven into clipping: gain too high, loudspeaker too near


@dataclass(frozen=True, slots=True)
class MicrophoneAiled(Event):
    """The microphone cannot hear properly."""

    ailment: Ailment


@dataclass(frozen=True, slots=True)
class MicrophoneHealed(Event):
    """The microphone hears again."""


@dataclass(frozen=True, slots=True)
class DuplexLost(Event):
    """The appliance cannot tell its own voice from a talker's: the microphone has to be closed while it speaks."""


@dataclass(frozen=True, slots=True)
class DuplexRestored(Event):
    """The own voice can be cancelled again."""


@dataclass(frozen=True, slots=True)
class CalibrationStarted(Event):
    """A short sound is played and heard to learn the loop from loudspeaker to microphone; the microphone is open."""


@dataclass(frozen=True, slots=True)
class CalibrationEnded(Event):
    """The loop is known, or was left for later."""


@dataclass(frozen=True, slots=True)
class SettingsRefused(Event):
    """The settings on the card cannot be used; what there was before holds."""


@dataclass(frozen=True, slots=True)
class SettingsTaken(Event):
    """New settings hold since this start, and there is a network: somebody waits to hear how it goes."""


@dataclass(frozen=True, slots=True)
class FoundReady(Event):
    """With new settings the service was reached: all is well."""


@dataclass(frozen=True, slots=True)
class FoundUnreachable(Event):
    """At its start it cannot work: no network is known, or the service was not reached; ``code`` says which."""

    code: str


@dataclass(frozen=True, slots=True)
class SetupFailed(Event):
    """What was entered on the set-up page did not lead to a network; the page is open again."""


@dataclass(frozen=True, slots=True)
class SetupEnded(Event):
    """The set-up page is closed; ``done``: its settings are in use."""

    done: bool
