"""One thing that was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from appliance.errors import ApplianceError
from appliance.logs import one_line, without_secrets


class Mark(Enum):
    """How it is. A note is neither good nor bad: only to be known, or not to be found out by whoever asks."""

    OK = "ok"
    TROUBLE = "trouble"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """``what`` is how it is, ``remedy`` what a person can do about it."""

    mark: Mark
    name: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """Say it in one line, without secrets."""
        words = f"{self.what}; {self.remedy}" if self.remedy else self.what
        return f"{self.mark.value:<8}{self.name}: {without_secrets(one_line(words))}"


def ok(name: str, what: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(Mark.OK, name, what)


def note(name: str, what: str, remedy: str = "") -> Finding:
    """Make a finding that is only to be known."""
    return Finding(Mark.NOTE, name, what, remedy)


def trouble(name: str, what: str, remedy: str) -> Finding:
    """Make a finding that somebody has to do something about."""
    return Finding(Mark.TROUBLE, name, what, remedy)


def failed(name: str, error: ApplianceError) -> Finding:
    """Make the finding of a failure, which brings its remedy."""
    return Finding(Mark.TROUBLE, name, error.message, error.hint or "see the journal: journalctl -u voice-appliance -e")
