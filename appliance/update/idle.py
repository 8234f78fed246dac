"""Whether an update would be in somebody's way now. Pure: reads the daemon's status (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Mapping

CALM = ("idle", "fault")  # a fault may be what the update heals


def disturbed(status: Mapping[str, object] | None) -> str:
    """Say whom an update would disturb, "" if nobody; ``None``: no daemon runs, and nobody can talk to it.

    Mute and an open microphone (hands-free) do not matter: nobody is in a conversation.
    """
    if status is None:
        return ""
    phase, enrolment, timers = status.get("phase"), status.get("enrolment"), status.get("timers")
    if phase not in CALM:
        return f"it is {phase}"
    if isinstance(enrolment, dict) and enrolment.get("code"):
        return "a code waits to be approved"
    if timers:
        return "a timer runs"
    return "it calibrates" if status.get("led") == "calibrating" else ""


def in_hours(hours: str, hour: int) -> bool:
    """Say whether ``hour`` of the day is in ``hours`` ("02-05": from two until before five; "": always)."""
    if not hours:
        return True
    first, last = (int(part) for part in hours.split("-"))
    return first <= hour < last if first < last else hour >= first or hour < last
