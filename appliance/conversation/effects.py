"""The acts that the conversation orders, named in the imperative. The daemon performs them in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from appliance.conversation.events import ToolCall


@dataclass(frozen=True, slots=True)
class Effect:
    """An act."""


class Sound(Enum):
    """The ear-cons."""

    LISTENING = "listening"
    SENT = "sent"
    TOO_SHORT = "too-short"
    OFFLINE = "offline"
    ERROR = "error"
    MUTED = "muted"
    TIMER = "timer"
    CODE = "code"  # a code follows: listen
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Cue(Effect):
    """Play an ear-con."""

    sound: Sound


@dataclass(frozen=True, slots=True)
class Explain(Effect):
    """Say in words what keeps the service from us, or the code that its owner has to approve; follows an ear-con.

    ``code`` says what it is about; "": what the session said last.
    """

    code: str = ""


@dataclass(frozen=True, slots=True)
class Connect(Effect):
    """Open a session; the session layer waits out its own back-off."""


@dataclass(frozen=True, slots=True)
class Disconnect(Effect):
    """Close the session: nobody needs it now."""


@dataclass(frozen=True, slots=True)
class Reconnect(Effect):
    """Drop the session, which no longer answers; the next need opens a new one."""


@dataclass(frozen=True, slots=True)
class BeginTurn(Effect):
    """Start collecting microphone audio for a turn, empty the server's buffer first."""


@dataclass(frozen=True, slots=True)
class CommitTurn(Effect):
    """The turn is complete: send the rest of it and commit."""


@dataclass(frozen=True, slots=True)
class ClearTurn(Effect):
    """Throw the turn away, here and at the server."""


@dataclass(frozen=True, slots=True)
class SendText(Effect):
    """Add a text message of the person to the conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class SendImage(Effect):
    """Add a picture of the person to the conversation."""

    image_url: str


@dataclass(frozen=True, slots=True)
class RequestResponse(Effect):
    """Ask the model to answer: in words, where it has called tools for long enough."""

    may_call_tools: bool = True


@dataclass(frozen=True, slots=True)
class Admit(Effect):
    """Let the audio of this response through to the loudspeaker."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Interrupt(Effect):
    """Silence the loudspeaker now, cancel the response, truncate each item at the heard position, stop tools."""


@dataclass(frozen=True, slots=True)
class CancelResponse(Effect):
    """Cancel a response of which nothing was played."""

    response_id: str


@dataclass(frozen=True, slots=True)
class RunTool(Effect):
    """Run a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class DeclineTool(Effect):
    """Answer a tool call of an interrupted response without running it: every call must be answered."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class SendToolOutput(Effect):
    """Hand a tool's answer to the model."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class InstallUpdate(Effect):
    """Take the staged update into use."""


@dataclass(frozen=True, slots=True)
class BeginSetup(Effect):
    """Open a Wi-Fi of our own with the set-up page."""


@dataclass(frozen=True, slots=True)
class EndSetup(Effect):
    """Close the set-up page and its Wi-Fi."""


@dataclass(frozen=True, slots=True)
class ForgetAll(Effect):
    """Forget every setting, the identity and the enrolment, and start afresh."""
