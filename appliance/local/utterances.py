"""What passes in a dialogue: messages, calls, outputs, and the two kinds of reply.

Responsible for: these values and the text forms shared by the rules. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Said:
    """A message: ``role`` is user, assistant or system. ``pictures`` counts the images in it."""

    role: str
    text: str
    pictures: int = 0


@dataclass(frozen=True)
class Called:
    """A function call the assistant made."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Returned:
    """What the device answered to a function call."""

    call_id: str
    output: str


Turn = Said | Called | Returned


@dataclass(frozen=True)
class Say:
    """Speak this."""

    text: str


@dataclass(frozen=True)
class Call:
    """Call this tool of the session."""

    name: str
    arguments: Mapping[str, Any]


def turns_of(turns: Sequence[Turn], role: str) -> list[str]:
    """The texts of one role, oldest first; messages without text are left out."""
    return [turn.text for turn in turns if isinstance(turn, Said) and turn.role == role and turn.text]


def as_sentence(text: str) -> str:
    """The text on one line, ending like a sentence."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def greeting(now: datetime) -> str:
    """Good morning, afternoon or evening."""
    if now.hour < 12:
        return "Good morning."
    return "Good afternoon." if now.hour < 18 else "Good evening."
