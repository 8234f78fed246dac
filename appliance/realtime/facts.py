"""What the protocol core reports besides conversation events: data, and facts for the records.

Responsible for: names of facts that never enter the state machine. Not for: meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from appliance.conversation.events import Event
from appliance.realtime.usage import Tokens


class Stage(Enum):
    """How far the present session is."""

    CLOSED = "closed"
    GREETING = "greeting"  # waiting for session.created
    CONFIGURING = "configuring"  # waiting for session.updated
    READY = "ready"


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Audio of an admitted response: 24 kHz mono s16le."""

    response_id: str
    item_id: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class AudioEnded:
    """No more audio of this item will come."""

    item_id: str


@dataclass(frozen=True, slots=True)
class WordsReceived:
    """More words of an answer, spoken or written."""

    item_id: str
    words: str


@dataclass(frozen=True, slots=True)
class CaptionReceived:
    """What the person said, as transcribed by the server."""

    item_id: str
    words: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """What a response cost."""

    response_id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Configured:
    """The session is configured: the link is up."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The session cannot be used until a person acts."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The session must be replaced."""

    code: str
    message: str


Fact = (
    Event | AudioReceived | AudioEnded | WordsReceived | CaptionReceived | UsageReported | Configured | Refused | Broken
)
