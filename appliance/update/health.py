"""Is a new version to be kept? Judged by what a person would notice: it is there, it hears, it sounds, it connects.

Responsible for: the verdict. Pure. Not for: finding the facts out (``trial``).

What was broken before the update (an unplugged card, a service that is away) need not be well after it: else a
device with a dead microphone could never get the version that heals it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

import msgspec

LIMIT_S = 900.0  # after the start of the machine

Sound = Literal["unknown", "moves", "muted", "fails"]
Link = Literal["unknown", "reached", "absent", "away", "unset"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """How the appliance is. ``muted``: the loudspeaker moves; the microphone is closed by a person and stays closed.

    ``absent``: there is no network, or nothing on it answers; ``unset``: no service is configured; ``away``: others
    answer, and the service does not.
    """

    ready: bool = False
    sound: Sound = "unknown"
    link: Link = "unknown"
    why: str = ""


class Verdict(Enum):
    """What becomes of a version on trial."""

    KEEP = "keep"
    WAIT = "wait"
    RETURN = "return"  # and it is not tried again by itself
    LATER = "later"  # go back, but what failed may not be its fault: it is tried again, a bounded number of times


class Judgement(NamedTuple):
    """The verdict, and why in words."""

    verdict: Verdict
    why: str


def judge(facts: Facts, before: Facts | None, up_s: float) -> Judgement:
    """Judge a version ``up_s`` seconds after the machine started; ``before``: how it was before the update."""
    missing = lacks(facts, before or Facts(ready=True, sound="moves", link="reached"))
    if not missing:
        return Judgement(Verdict.KEEP, told(facts))
    if up_s < LIMIT_S:
        return Judgement(Verdict.WAIT, missing)
    its_fault = not facts.ready or facts.sound == "fails"
    return Judgement(Verdict.RETURN if its_fault else Verdict.LATER, missing)


def lacks(facts: Facts, before: Facts) -> str:
    """Say what was well before and is not now, "" if nothing."""
    if not facts.ready:
        return facts.why or "the appliance does not start"
    if facts.sound == "unknown" or (facts.sound == "fails" and before.sound != "fails"):
        return facts.why or "whether sound moves was not seen"
    if facts.link not in ("reached", "absent", "unset") and (facts.link == "unknown" or before.link != "away"):
        return facts.why or "the service was not reached"
    return ""


def sound_is_well(facts: Facts) -> bool:
    """Say whether what could be tried of microphone and loudspeaker works."""
    return facts.sound in ("moves", "muted")


def told(facts: Facts) -> str:
    """Put facts into words."""
    sound = {
        "moves": "microphone and loudspeaker move",
        "muted": "the loudspeaker moves, the microphone is muted and was not tried",
        "fails": "no sound, as before",
        "unknown": "sound not tried",
    }[facts.sound]
    link = {
        "reached": "the service answers",
        "absent": "there is no network",
        "unset": "no service is configured",
        "away": "the service is away, as before",
        "unknown": "the service was not tried",
    }[facts.link]
    return f"{sound}, {link}"
